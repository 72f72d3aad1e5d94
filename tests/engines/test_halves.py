"""A joint model in the line: two engines that share each run, and never the outcome of other pixels."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import frames_of
from numpy.typing import NDArray
from static_toys import SIZE, assert_same, eager_of, installed, pixels_of

from realtime_polyp import engines, runtime
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import open_detector, open_engine, open_segmenter
from realtime_polyp.engines.base import BaseEngine, EngineError, Task
from realtime_polyp.engines.halves import JointHalf, engines_of, halves_of, other_half, roles_of
from realtime_polyp.engines.weights import Weights, find_weights
from realtime_polyp.inference.checked import ModelOutputError
from realtime_polyp.inference.cuda import CudaInference
from realtime_polyp.inference.cuda_streams import CpuStreams
from realtime_polyp.inference.host import HostInference
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.runtime import RuntimeConfig, open_runtime

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside OpenVINO's converter


class Counting(BaseEngine):
    """A joint engine that answers with the mean of each picture, and counts what it runs and collects."""

    name, model, task, device, key = "fake", "both", "joint", "cpu", "k"
    overlaps = True

    def __init__(self, *, fails: bool = False, answer: Any = None) -> None:
        self.size, self.runs, self.collected = SIZE, 0, 0
        self._fails, self._answer = fails, answer

    def __call__(self, pixels: NDArray[np.uint8]) -> Any:
        return self.start(pixels)()

    def start(self, pixels: NDArray[np.uint8]) -> Callable[[], Any]:
        self.runs += 1
        return lambda: self._collect(pixels)

    def _collect(self, pixels: NDArray[np.uint8]) -> Any:
        self.collected += 1
        if self._fails:
            raise RuntimeError("out of memory")
        if self._answer is not None:
            return self._answer
        level = pixels.mean(axis=(1, 2, 3)).astype(np.float32) / 255
        boxes = np.tile(np.array([2, 3, 20, 30], np.float32), (len(pixels), 1, 1))
        return boxes, level[:, None], np.tile(level[:, None, None], (1, SIZE[0] // 4, SIZE[1] // 4))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    with installed("toy-both", tmp_path_factory.mktemp("weights")) as found:
        yield found


@pytest.fixture
def known(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy can be opened by its name."""
    monkeypatch.setattr(engines, "find_weights", lambda model, task=None: find_weights(model, task, weights.folder))


def test_one_batch_is_run_once_for_both_halves_and_collected_once() -> None:
    engine = Counting()
    detector, segmenter = halves_of(engine)
    assert (detector.task, segmenter.task, detector.model, segmenter.size) == ("detector", "segmenter", "both", SIZE)
    pixels = pixels_of(2)
    boxes, masks = detector.start(pixels), segmenter.start(pixels)
    probability, (places, scores) = masks(), boxes()  # in any order
    assert (engine.runs, engine.collected) == (1, 1)
    assert places.shape == (2, 1, 4) and np.allclose(scores[:, 0], probability[:, 0, 0])
    segmenter(pixels)
    detector(pixels)
    assert engine.runs == 2  # the segmenter may be asked first, too


def test_other_pixels_are_never_answered_with_an_earlier_outcome() -> None:
    engine = Counting()
    detector, segmenter = halves_of(engine)
    first, second = pixels_of(1), 255 - pixels_of(1)
    detector(first)
    assert segmenter(second)[0, 0, 0] == pytest.approx(second.mean() / 255)
    assert segmenter(first.copy())[0, 0, 0] == pytest.approx(first.mean() / 255)  # equal, but another array: run again
    detector(first)
    detector(first)  # the same half twice: a benchmark, or a frame that stands still
    assert engine.runs == 5


def test_threads_do_not_take_each_other_s_outcome() -> None:
    engine = Counting()
    detector, segmenter = halves_of(engine)
    pixels = pixels_of(1)
    detector(pixels)
    other = threading.Thread(target=segmenter, args=(pixels,))
    other.start()
    other.join()
    assert engine.runs == 2
    segmenter(pixels)
    assert engine.runs == 2


def test_a_failure_reaches_both_halves_and_a_strange_answer_is_told_as_it_is() -> None:
    detector, segmenter = halves_of(Counting(fails=True))
    pixels = pixels_of(1)
    boxes, masks = detector.start(pixels), segmenter.start(pixels)
    for collect in (boxes, masks):
        with pytest.raises(RuntimeError, match="out of memory"):
            collect()
    inference = HostInference(*halves_of(Counting(answer=(np.zeros((1, 1), np.float32),))))
    frames = frames_of(1)
    with pytest.raises(ModelOutputError, match="not a pair of boxes and scores"):
        Pipeline(inference.detector, inference.segmenter, inference=inference).analyse(frames)


def test_what_an_engine_is_in_the_line() -> None:
    engine = Counting()
    detector, segmenter = roles_of(engine)
    assert engines_of(detector, segmenter) == [engine]
    assert engines_of(detector, halves_of(engine)[1]) == [engine]
    assert engines_of(detector, None) == [detector] and engines_of(None, segmenter) == [segmenter]
    assert engines_of(detector, halves_of(Counting())[1])[0] is detector  # of two opened models
    half = other_half(detector, "both")
    assert half is not None and half.task == "segmenter" and half.engine is engine
    assert other_half(detector, "lowrank-lite2") is None and other_half(None, "both") is None
    plain: Any = Counting()
    plain.task = "segmenter"
    assert roles_of(plain) == (None, plain) and other_half(plain, "both") is None


def test_a_joint_model_is_opened_whole_or_as_the_half_that_is_asked_for(known: None) -> None:
    whole = open_engine("toy-both", None, "eager", "cpu")
    detector, segmenter = open_detector("toy-both", "eager", "cpu"), open_segmenter("toy-both", "eager", "cpu")
    assert (whole.task, detector.task, segmenter.task) == ("joint", "detector", "segmenter")
    assert whole.key == detector.key == segmenter.key  # one record of the accuracy gate
    pixels = pixels_of(2)
    boxes, scores, probability = whole(pixels)
    assert np.array_equal(detector(pixels)[0], boxes) and np.array_equal(detector(pixels)[1], scores)
    assert np.array_equal(segmenter(pixels), probability)
    with pytest.raises(EngineError, match="unknown detector"):
        open_detector("toy-neither")


def test_openvino_compiles_both_halves_into_one_graph(known: None, weights: Weights) -> None:
    engine = open_engine("toy-both", None, "openvino", "cpu", hint="throughput")
    assert_same(engine(pixels_of(3)), eager_of(weights)(pixels_of(3)), box_px=0.05, probability=1e-3)
    detector, segmenter = halves_of(engine)
    pixels = pixels_of(2)
    boxes, masks = detector.start(pixels), segmenter.start(pixels)
    assert_same((*boxes(), masks()), eager_of(weights)(pixels_of(2)), box_px=0.05, probability=1e-3)


def test_the_line_of_a_gpu_runs_it_once_and_answers_as_the_host_does(weights: Weights) -> None:
    """With the streams of the CPU; flipped and unflipped frames in one batch."""
    joint = eager_of(weights)
    line = CudaInference(*halves_of(joint), streams=CpuStreams(), buckets=(1, 2), most_candidates=50)
    images = [frame.image for frame in frames_of(2)]
    fields = [runtime_field(image) for image in images]
    flips = [False, True]
    found = line.submit(images, fields, hflip=flips).result()
    expected = HostInference(*halves_of(joint)).submit(images, fields, hflip=flips).result()
    assert found.predictions is not None and expected.predictions is not None
    assert found.predictions[0].shape == (2, 50, 4) and len(line._models) == 1
    assert found.probability is not None and expected.probability is not None
    assert np.abs(found.probability - expected.probability).max() < 0.05  # the two letterboxes differ by a level
    assert found.detector_placements == expected.detector_placements == expected.segmenter_placements
    best = expected.predictions[1].max(1)
    assert np.allclose(found.predictions[1].max(1), best, atol=0.05)


def runtime_field(image: NDArray[np.uint8]) -> Any:
    from realtime_polyp.field_of_view import whole

    return whole(image)


def test_the_runtime_opens_one_engine_for_one_name(
    known: None, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []

    def watch(task: Task, open_: Any) -> Any:
        def counted(model: str, *arguments: Any, hint: str, **options: Any) -> Any:
            opened.append((task, hint))
            return open_(model, *arguments, hint=hint, **options)

        return counted

    monkeypatch.setattr(runtime, "open_detector", watch("detector", open_detector))
    monkeypatch.setattr(runtime, "open_segmenter", watch("segmenter", open_segmenter))
    config = RuntimeConfig(detector="toy-both", segmenter="toy-both", engine="eager", device="cpu", live=True)
    line = open_runtime(config)
    assert opened == [("detector", "latency")]  # alone on all cores
    assert isinstance(line.detector, JointHalf) and isinstance(line.segmenter, JointHalf)
    runs = []
    monkeypatch.setattr(line.detector.engine, "_infer", watched(line.detector.engine._infer, runs))
    frames = frames_of(5)
    pipeline = line.pipeline(warm=False)
    results = [*pipeline.analyse(frames[:3]), *pipeline.analyse(frames[3:])]
    assert len(results) == len(runs) == 5 and all(result.mask is not None for result in results)

    apart = HostInference(open_detector("toy-both", "eager", "cpu"), open_segmenter("toy-both", "eager", "cpu"))
    again = Pipeline(apart.detector, apart.segmenter, line.pipeline_config, inference=apart).analyse(frames)
    for one, other in zip(results, again, strict=True):
        assert np.array_equal(one.detections.boxes, other.detections.boxes)
        assert one.mask is not None and other.mask is not None
        assert np.array_equal(one.mask.probability, other.mask.probability)
    assert isinstance(line.pipeline_config, PipelineConfig)


def watched(run: Callable[[Any], Any], seen: list[int]) -> Callable[[Any], Any]:
    def counted(pixels: Any) -> Any:
        seen.append(len(pixels))
        return run(pixels)

    return counted


def test_an_int8_graph_of_both_must_have_three_outputs(weights: Weights, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    from realtime_polyp.engines.eager import load_module
    from realtime_polyp.engines.openvino import convert, graph_problem

    graph = convert(load_module(weights), SIZE)
    assert graph_problem(graph, weights) is None
    cut = ov.Model(graph.outputs[:2], graph.get_parameters())
    assert graph_problem(cut, weights) == "it has 2 outputs, not 3 of float32"
