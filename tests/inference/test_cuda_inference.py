"""The line of a GPU, run on the CPU by the same code, and on a GPU where there is one: against HostInference."""

import gc
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import needs
from device_toys import Blobs, Blueness
from fakes import FakeDetector, frames_of, picture
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from nv12_toys import BT709_LIMITED, nv12_frame, textured
from torch import Tensor

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.eager import EagerEngine
from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.inference.base import ModelOutputs
from realtime_polyp.inference.cuda import DEVICE_TRACK, CudaInference
from realtime_polyp.inference.cuda_graphs import keep_best
from realtime_polyp.inference.cuda_streams import (
    CpuStreams,
    CpuTask,
    CudaStreams,
    DeviceStreams,
    Run,
    StreamTask,
    idle_share,
)
from realtime_polyp.inference.host import HostInference
from realtime_polyp.inference.staging import StagingBuffer, StagingPool, layout_slices
from realtime_polyp.models.detector import Detector, DetectorConfig
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.segmenter import Segmenter, SegmenterConfig
from realtime_polyp.nv12 import nv12_of
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.telemetry.trace import Trace

with_gpu = needs("cuda")
DEVICES = ["cpu", pytest.param("cuda", marks=with_gpu)]
DETECTOR_SIZE, SEGMENTER_SIZE = (64, 96), (96, 96)
LEVEL = 1.5 / 255  # what one level of a pixel may change in the answers of the toys below, and a little rounding
BOX_PX = 0.2


def toys(device: str = "cpu") -> tuple[Any, Any]:
    detector = EagerEngine(Blobs(), "blobs", "detector", DETECTOR_SIZE, device)
    return detector, EagerEngine(Blueness(), "blueness", "segmenter", SEGMENTER_SIZE, device)


def streams_on(device: str, *, timed: bool = False) -> DeviceStreams:
    return CudaStreams(timed=timed) if device == "cuda" else CpuStreams()


def inference_of(device: str = "cpu", streams: DeviceStreams | None = None, **options: Any) -> CudaInference:
    return CudaInference(*toys(device), **{"streams": streams or streams_on(device), "buckets": (1, 2, 4)} | options)


def scenes(count: int, *, first: int = 0) -> tuple[list[NDArray[np.uint8]], list[FieldOfView]]:
    """Pictures of several sizes with fields of several shapes."""
    sizes = [(241, 180), (160, 128), (97, 141)]
    images = [textured(sizes[index % 3], first + index) for index in range(count)]
    return images, [
        FieldOfView(index % 2, 3, image.shape[1] - index % 3, image.shape[0] - 7) for index, image in enumerate(images)
    ]


def assert_alike(found: ModelOutputs, expected: ModelOutputs, *, box_px: float = BOX_PX, level: float = LEVEL) -> None:
    assert found.detector_placements == expected.detector_placements
    assert found.segmenter_placements == expected.segmenter_placements
    assert (found.predictions is None) == (expected.predictions is None)
    assert (found.probability is None) == (expected.probability is None)
    if found.predictions is not None and expected.predictions is not None:
        assert_near(found.predictions[0], expected.predictions[0], box_px)
        assert_near(found.predictions[1], expected.predictions[1], level)
    if found.probability is not None and expected.probability is not None:
        assert_near(found.probability, expected.probability, level)


def assert_near(found: NDArray[np.float32], expected: NDArray[np.float32], most: float) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() <= most


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_it_answers_as_the_host_does(device: str, count: int) -> None:
    """Batches that fill a bucket, that do not, and that are larger than any."""
    images, fields = scenes(count)
    for hflip in ([], [index % 2 == 1 for index in range(count)]):
        expected = HostInference(*toys()).submit(images, fields, hflip=hflip).result()
        assert expected.probability is not None and expected.probability.std() > 0.1  # there is something to get wrong
        assert [one.hflip for one in expected.detector_placements] == (hflip or [False] * count)
        assert_alike(inference_of(device).submit(images, fields, hflip=hflip).result(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("absent", ["detector", "segmenter", "both"])
def test_a_model_may_be_absent(device: str, absent: str) -> None:
    images, fields = scenes(2)
    present = [None if absent in (task, "both") else toys(device)[index] for index, task in enumerate(TASKS)]
    inference = CudaInference(*present, streams=streams_on(device), buckets=(2,))
    assert_alike(inference.submit(images, fields).result(), HostInference(*present).submit(images, fields).result())


TASKS = ("detector", "segmenter")


@pytest.mark.parametrize("device", DEVICES)
def test_the_project_s_own_kind_of_models_agrees_too(device: str) -> None:
    torch.manual_seed(0)
    backbone = LiteConfig(width=0.25, depth=0.3)
    neck = NeckConfig(channels=16, levels=4, relu_before_extra=True)
    detector = Detector(DetectorConfig(backbone=backbone, size=(64, 96), neck=neck))
    segmenter = Segmenter(SegmenterConfig(backbone=backbone, size=(64, 96), width=12, bases=3))
    engines: list[Any] = [
        EagerEngine(detector, "toy", "detector", (64, 96), device),
        EagerEngine(segmenter, "toy", "segmenter", (64, 96), device),
    ]
    images = [np.full((64, 96, 3), 40 * index, np.uint8) + picture(index, (96, 64)) // 8 for index in range(3)]
    fields = [whole(image) for image in images]  # of the models' size: pixels are equal to the bit
    found = CudaInference(*engines, streams=streams_on(device), buckets=(4,)).submit(images, fields).result()
    assert_alike(found, HostInference(*engines).submit(images, fields).result(), box_px=1e-2, level=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_a_pipeline_on_it_sees_what_a_pipeline_on_the_host_sees(device: str) -> None:
    config = PipelineConfig(score_threshold=0.75)
    plain = Pipeline(*toys(), config)
    quick = Pipeline(*toys(device), config, inference=inference_of(device))
    quick.warm_up()
    frames = frames_of(24)
    seen = 0
    for start in range(0, len(frames), 3):
        batch = frames[start : start + 3]
        for one, other in zip(quick.analyse(batch), plain.analyse(batch), strict=True):
            assert one.field_of_view == other.field_of_view and one.signal == other.signal
            assert_near(one.detections.boxes, other.detections.boxes, 1)
            assert one.mask is not None and other.mask is not None
            assert_near(one.mask.probability, other.mask.probability, 0.02)
            seen += len(one.detections)
    assert seen > 5


@pytest.mark.parametrize("device", DEVICES)
def test_nv12_gives_nearly_the_answers_of_rgb(device: str) -> None:
    frame = nv12_frame(textured((241, 180)), *BT709_LIMITED)
    from realtime_polyp.sources.picture import RgbConverter  # needs av

    nv12, rgb, fields = nv12_of(frame, "bt709"), RgbConverter()(frame), [FieldOfView(17, 3, 200, 178)]
    inference = inference_of(device)
    found, expected = inference.submit([nv12], fields).result(), inference.submit([rgb], fields).result()
    assert_alike(found, expected, box_px=0.5, level=0.02)


# candidates


@pytest.mark.parametrize("device", DEVICES)
def test_only_the_best_candidates_leave_the_device(device: str) -> None:
    images, fields = scenes(3)
    found = inference_of(device, most_candidates=9).submit(images, fields).result().predictions
    every = HostInference(*toys()).submit(images, fields).result().predictions
    assert found is not None and every is not None and found[0].shape == (3, 9, 4)
    for boxes, scores, all_boxes, all_scores in zip(*found, *every, strict=True):
        best = np.sort(all_scores)[::-1][:9]
        assert_near(scores, best.copy(), LEVEL)
        apart = np.abs(boxes[:, None] - all_boxes[None]).max(-1)
        assert (apart.min(1) <= BOX_PX).all()


def test_boxes_stay_with_their_scores() -> None:
    scores = torch.rand(2, 50, generator=torch.Generator().manual_seed(0))
    boxes = scores[..., None] * torch.tensor([1.0, 2.0, 3.0, 4.0])
    kept, best = keep_best(boxes, scores, 8)
    assert torch.equal(best, scores.sort(1, descending=True).values[:, :8])
    assert torch.equal(kept, best[..., None] * torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert keep_best(boxes, scores, 50)[1] is scores  # nothing to cut


# two batches under way


class FixedStreams(CpuStreams):
    """Captured work answers at fixed addresses, as CUDA graphs do; all work is noted with what it waited for."""

    def __init__(self) -> None:
        self.queued: list[tuple[CpuTask, Sequence[StreamTask]]] = []

    def task(self, stream: str, name: str, after: Sequence[StreamTask] = ()) -> CpuTask:
        work = super().task(stream, name, after)
        self.queued.append((work, after))
        return work

    def capture(self, stream: str, run: Run) -> Run:
        fixed = tuple(answer.clone() for answer in run())

        def replay() -> tuple[Tensor, ...]:
            for one, other in zip(fixed, run(), strict=True):
                one.copy_(other)
            return fixed

        return replay

    def before(self, work: CpuTask) -> set[str]:
        """The names of all that must be over when this work begins, as events and the order within streams have it."""
        at = next(index for index, (one, _) in enumerate(self.queued) if one is work)
        direct = list(self.queued[at][1]) + [one for one, _ in self.queued[:at] if one.stream == work.stream][-1:]
        return {one.name for one in direct}.union(*(self.before(one) for one in direct))  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cpu", "fixed", pytest.param("cuda", marks=with_gpu)])
def test_two_batches_under_way_do_not_mix(device: str) -> None:
    inference = inference_of(device.replace("fixed", "cpu"), FixedStreams() if device == "fixed" else None)
    batches = [scenes(count, first=10 * count) for count in (1, 3, 2, 4, 1, 2)]
    host = HostInference(*toys())
    pending = inference.queue(*batches[0])
    found = []
    for batch in batches[1:]:
        started = inference.queue(*batch)
        found.append(pending.result())
        pending = started
    found.append(pending.result())
    for answers, batch in zip(found, batches, strict=True):
        assert_alike(answers, host.submit(*batch).result())


@pytest.mark.parametrize("device", DEVICES)
def test_answers_and_pictures_are_nobody_s_buffers(device: str) -> None:
    images, fields = scenes(2)
    expected = HostInference(*toys()).submit(images, fields).result()
    inference = inference_of(device)
    collect = inference.queue(images, fields)
    for image in images:
        image[:] = 0  # the source may reuse its memory as soon as the batch is begun
    found = collect.result()
    for _ in range(3):
        inference.submit(*scenes(2, first=50)).result()
    assert_alike(found, expected)


def test_a_third_batch_is_refused_and_none_is_collected_twice() -> None:
    inference = inference_of()
    first, second = inference.queue(*scenes(1)), inference.queue(*scenes(2))
    with pytest.raises(RuntimeError, match="2 batches are in flight, as many as there are buffers: collect one"):
        inference.queue(*scenes(1))
    first.result(), second.result()
    with pytest.raises(RuntimeError, match="collected already"):
        second.result()
    inference.submit(*scenes(1)).result()


def test_a_failure_leaves_the_buffers_free() -> None:
    inference = inference_of()
    images, fields = scenes(2)
    for _ in range(3):  # more often than there are buffers
        with pytest.raises(ValueError, match="zip"):
            inference.queue(images, fields[:1])
    assert_alike(inference.submit(images, fields).result(), HostInference(*toys()).submit(images, fields).result())


@pytest.mark.parametrize("device", DEVICES)
def test_the_picture_may_grow_and_shrink(device: str) -> None:
    inference, host = inference_of(device), HostInference(*toys())
    for size in [(120, 90), (640, 480), (97, 65), (800, 600)]:
        images = [textured(size)]
        fields = [whole(image) for image in images]
        assert_alike(inference.submit(images, fields).result(), host.submit(images, fields).result())


def test_any_thread_may_use_it_one_after_the_other() -> None:
    inference = inference_of()
    images, fields = scenes(2)
    found: list[ModelOutputs] = []
    thread = threading.Thread(target=lambda: found.append(inference.submit(images, fields).result()))
    thread.start()
    thread.join(20)
    assert_alike(found[0], inference.submit(images, fields).result())


# order and times


def test_work_waits_for_what_it_reads_and_for_nothing_else() -> None:
    streams = FixedStreams()
    inference = inference_of(streams=streams)
    streams.queued.clear()
    inference.submit(*scenes(2)).result()
    tasks = {work.name: work for work, _ in streams.queued}
    assert {work.stream for work in tasks.values()} == {"copy", "prepare", "detector", "segmenter", "download"}
    assert streams.before(tasks["upload"]) == set()
    assert streams.before(tasks["prepare"]) == {"upload"}
    assert streams.before(tasks["detector"]) == streams.before(tasks["segmenter"]) == {"upload", "prepare"}
    assert streams.before(tasks["download"]) == {"upload", "prepare", "detector", "segmenter"}


def test_the_next_upload_waits_for_no_model() -> None:
    streams = FixedStreams()
    inference = inference_of(streams=streams)
    streams.queued.clear()
    collect = inference.queue(*scenes(1))
    already = len(streams.queued)
    collect_too = inference.queue(*scenes(1))
    upload, prepared = (work for work, _ in streams.queued[already : already + 2])
    assert upload.name == "upload" and streams.before(upload) == {"upload"}
    assert prepared.name == "prepare" and streams.before(prepared) == {"upload", "prepare"}
    collect.result(), collect_too.result()


def test_waiting_for_work_that_was_not_queued_is_a_mistake_that_shows() -> None:
    streams = CpuStreams()
    never = streams.task("copy", "upload")
    with pytest.raises(RuntimeError, match="prepare waits for upload, which has not been queued"):
        streams.task("prepare", "prepare", [never])


@pytest.mark.parametrize("device", DEVICES)
def test_the_trace_shows_every_lane_at_its_time(device: str) -> None:
    trace = Trace()
    inference = inference_of(device, streams_on(device, timed=True), trace=trace)
    began_s = time.perf_counter()
    inference.submit(*scenes(2)).result()
    ended_s = time.perf_counter()
    spans = {span.name: span for span in trace.spans()}
    assert set(spans) == {"upload", "prepare", "detector", "segmenter", "download"}
    assert {span.track for span in spans.values()} >= {DEVICE_TRACK + "detector", DEVICE_TRACK + "segmenter"}
    slack_s = 0.0 if device == "cpu" else 1e-3
    for span in spans.values():
        assert began_s - slack_s <= span.start_s <= span.end_s <= ended_s + slack_s
        assert span.arguments == {"frames": 2}
    assert spans["upload"].end_s <= spans["prepare"].start_s + slack_s
    assert max(spans[task].end_s for task in TASKS) <= spans["download"].start_s + slack_s


def test_stages_are_told_as_they_end() -> None:
    laps: list[str] = []
    found = inference_of().submit(*scenes(2)).result()
    laps += [one.stage for one in found.stage_times]
    assert laps == ["prepare", "models"]


# wrong use


def test_an_engine_that_answers_to_the_host_is_refused() -> None:
    with pytest.raises(EngineError, match="engine fake of fake runs on cpu .*--device cpu"):
        CudaInference(FakeDetector(), None, streams=CpuStreams())


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 4 images, got 0"):
        inference_of().submit([], []).result()


# the books


@given(st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple), max_size=5))
def test_arrays_lie_one_behind_the_other(shapes: list[tuple[int, ...]]) -> None:
    covered = [at for place in layout_slices(shapes) for at in range(place.start, place.stop)]
    assert covered == list(range(sum(int(np.prod(shape)) for shape in shapes)))


def test_a_ring_lends_each_slot_once() -> None:
    buffers = [StagingBuffer(CpuStreams(), [(8, 8)], 1, 4) for _ in range(2)]
    ring = StagingPool(buffers)
    first, second = ring.take(), ring.take()
    assert {id(first), id(second)} == {id(buffer) for buffer in buffers}
    ring.release(first)
    assert ring.take() is first
    ring.release(second)
    with pytest.raises(RuntimeError, match="collected already"):
        ring.release(second)


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)).map(lambda s: (s[0], s[0] + s[1])), max_size=8)


@given(SPANS)
def test_idle_is_what_no_span_covers(spans: list[tuple[int, int]]) -> None:
    seconds = range(min((s for s, _ in spans), default=0), max((e for _, e in spans), default=0))
    idle = [at for at in seconds if not any(start <= at < end for start, end in spans)]
    assert idle_share(spans) == pytest.approx(len(idle) / len(seconds) if len(seconds) else 0.0)


# on a GPU alone


@with_gpu
def test_a_graph_says_what_the_calls_said_that_it_was_captured_from() -> None:
    images, fields = scenes(4)
    graphed = inference_of("cuda", CudaStreams(graphs=True)).submit(images, fields).result()
    plain = inference_of("cuda", CudaStreams(graphs=False)).submit(images, fields).result()
    assert_alike(graphed, plain, box_px=1e-4, level=1e-6)


@with_gpu
@pytest.mark.filterwarnings("error:.*without a CUDA graph")
def test_it_stays_right_while_other_threads_use_the_gpu() -> None:
    over = threading.Event()

    def disturb() -> None:
        while not over.is_set():
            torch.arange(1 << 20, device="cuda").flip(0).sort()  # without random numbers: a capture owns their state

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        inference, host = inference_of("cuda"), HostInference(*toys())
        for first in range(20):
            batch = scenes(1 + first % 4, first=first)
            assert_alike(inference.submit(*batch).result(), host.submit(*batch).result())
    finally:
        over.set()
        thread.join(20)


@with_gpu
def test_what_cannot_be_captured_runs_without_a_graph_and_says_so() -> None:
    class Asking(Blueness):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels) * (1.0 if pixels.sum().item() >= 0 else 0.0)

    engine: Any = EagerEngine(Asking(), "asking", "segmenter", SEGMENTER_SIZE, "cuda")
    with pytest.warns(UserWarning, match="segmenter runs without a CUDA graph"):
        inference = CudaInference(None, engine, streams=CudaStreams(), buckets=(1,))
    batch = scenes(1)
    assert_alike(inference.submit(*batch).result(), HostInference(None, toys()[1]).submit(*batch).result())


@with_gpu
def test_no_memory_is_taken_once_it_runs() -> None:
    inference = inference_of("cuda")
    inference.submit(*scenes(4)).result()
    gc.collect()
    before = torch.cuda.memory_reserved()
    for first in range(10):
        inference.submit(*scenes(4, first=first)).result()
    assert torch.cuda.memory_reserved() == before
