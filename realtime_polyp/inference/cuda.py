"""Both models on one batch of frames, on a GPU: what `HostInference` does, without the host waiting in between.

    host    fill pinned memory                                                                  wait, read
    copy                       upload
    prepare                           colours, shrink, letterbox
    detector                                                    graph, best candidates
    segmenter                                                   graph
    download                                                                             copy

Each lane waits for the one above it by an event; the host waits once, for the download.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.engines.static import BUCKETS, bucket_for, split_batch
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import ModelOutputs, Pending
from realtime_polyp.inference.cuda_graphs import DeviceModel, require_on_device
from realtime_polyp.inference.cuda_streams import CudaStreams, DeviceStreams, StreamTask
from realtime_polyp.inference.staging import StagingBuffer, StagingPool, places_of
from realtime_polyp.nv12 import Picture, cut
from realtime_polyp.preprocess.letterbox import Placement, fit_placements
from realtime_polyp.preprocess.letterbox_torch import field_of, letterbox
from realtime_polyp.telemetry.stage_times import StageTimer

MOST_CANDIDATES = 1000  # as many as postprocessing looks at
DEVICE_TRACK = "device "  # how the tracks of a trace begin that show what the device did
_UNDER_WAY = 2  # batches at once: one is uploaded while another is computed


class Spans(Protocol):
    """Where spans of work go, such as a trace; times by time.perf_counter()."""

    def add(self, track: str, name: str, start_s: float, end_s: float, **arguments: object) -> None: ...


@dataclass(frozen=True)
class _Batch:
    """A batch under way. done: its last work. placements: {model size: one a frame}."""

    slot: StagingBuffer
    count: int
    bucket: int
    placements: dict[tuple[int, int], tuple[Placement, ...]]
    works: list[StreamTask]

    @property
    def done(self) -> StreamTask:
        return self.works[-1]


class CudaInference:
    """Owned by one thread at a time. buckets: the batch sizes that graphs are captured for; larger batches are cut.

    lanes: where the work is queued; CpuStreams runs the same line on the host. trace: takes the times of all work, for
    which CUDA lanes must be timed. Raises EngineError for an engine that does not answer on the device.
    """

    takes_planes = overlaps = True

    def __init__(
        self,
        detector: DetectorEngine | None,
        segmenter: SegmenterEngine | None,
        *,
        lanes: DeviceStreams | None = None,
        buckets: Sequence[int] = BUCKETS,
        most_candidates: int = MOST_CANDIDATES,
        trace: Spans | None = None,
    ) -> None:
        self.detector, self.segmenter = detector, segmenter
        self._lanes = lanes or CudaStreams(timed=trace is not None)
        self._buckets, self._trace = sorted(buckets), trace
        self._models = self._open(most_candidates)
        sizes = {model.engine.size for model in self._models}
        length = max((self._layout(bucket)[-1].stop for bucket in self._buckets if self._models), default=0)
        self._ring = StagingPool(
            [StagingBuffer(self._lanes, sizes, self._buckets[-1], length) for _ in range(_UNDER_WAY)]
        )
        self._collected_s = 0.0  # when the last batch was collected
        self._lanes.settle()  # buffers are cleared on a stream of their own

    def submit(
        self, images: Sequence[Picture], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        """As `Inference.submit`; at least one image.

        A batch larger than any graph is cut, and its first parts are collected before this returns.
        Raises RuntimeError for a third batch under way, and for collecting one twice.
        """
        timer = StageTimer()
        started_s = time.perf_counter()
        *earlier, last = split_batch(len(images), self._buckets) or [slice(0)]
        parts = [self.queue(images[piece], fields[piece], hflip[piece]).result() for piece in earlier]
        pending = self.queue(images[last], fields[last], hflip[last])
        timer.lap("prepare")

        def collect() -> ModelOutputs:
            outputs = _concatenate([*parts, pending.result()])
            timer.lap("models", max(started_s, self._collected_s))
            self._collected_s = time.perf_counter()
            return replace(outputs, stage_times=tuple(timer.times))

        return Pending(collect)

    def queue(
        self, images: Sequence[Picture], fields: Sequence[FieldOfView], hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        """Queue a batch of 1 to max(buckets) pictures without waiting; the pictures may be changed afterwards."""
        bucket = bucket_for(len(images), self._buckets)
        slot = self._ring.take()
        with ExitStack() as undo:
            undo.callback(self._give_up, slot)
            batch = self._queue(slot, bucket, images, fields, hflip)
            undo.pop_all()
        return Pending(partial(self._collect, batch))

    @torch.inference_mode()
    def _open(self, most_candidates: int) -> list[DeviceModel]:
        models = []
        for engine in (self.detector, self.segmenter):
            if engine is not None:
                require_on_device(engine, self._lanes.device)
                models.append(DeviceModel(engine, self._lanes, self._buckets, most_candidates=most_candidates))
        return models

    @torch.inference_mode()
    def _queue(
        self,
        slot: StagingBuffer,
        bucket: int,
        images: Sequence[Picture],
        fields: Sequence[FieldOfView],
        hflip: Sequence[bool],
    ) -> _Batch:
        lanes = self._lanes
        cuts = [cut(image, field) for image, field in zip(images, fields, strict=True)]
        uploads = iter(slot.fill([part for parts in cuts for part in parts]))
        parts = [[next(uploads) for _ in one] for one in cuts]
        placements = {size: fit_placements(fields, size, hflip) for size in slot.pixels}
        with lanes.work("copy", "upload") as uploaded:
            slot.upload()
        with lanes.work("prepare", "prepare", [uploaded]) as prepared:
            inner = [field_of(*one) for one in zip(parts, images, fields, strict=True)]
            for size, pixels in slot.pixels.items():
                letterbox(inner, placements[size], pixels[:bucket])
        answered = self._run_models(slot, bucket, prepared)
        with lanes.work("download", "download", answered or [prepared]) as downloaded:
            slot.download(self._layout(bucket)[-1].stop if self._models else 0)
        return _Batch(slot, len(images), bucket, placements, [uploaded, prepared, *answered, downloaded])

    def _run_models(self, slot: StagingBuffer, bucket: int, prepared: StreamTask) -> list[StreamTask]:
        """Each model in its lane, where its answers are moved into the slot before its next batch overwrites them."""
        places, works = iter(self._layout(bucket)), []
        for model in self._models:
            with self._lanes.work(model.lane, model.lane, [prepared]) as answered:
                for answer in model.run(slot.pixels[model.engine.size][:bucket]):
                    slot.answers[next(places)].view(answer.shape).copy_(answer)
            works.append(answered)
        return works

    def _collect(self, batch: _Batch) -> ModelOutputs:
        batch.done.wait()
        found = [
            batch.slot.answer(place, shape)[: batch.count]
            for place, shape in zip(self._layout(batch.bucket), self._shapes(batch.bucket), strict=True)
        ]
        self._ring.give_back(batch.slot)
        if self._trace is not None:
            for work in batch.works:
                self._trace.add(DEVICE_TRACK + work.lane, work.name, *work.times_s(), frames=batch.count)
        predictions = (found[0], found[1]) if self.detector else None
        return ModelOutputs(
            predictions,
            found[-1] if self.segmenter else None,
            batch.placements[self.detector.size] if self.detector else (),
            batch.placements[self.segmenter.size] if self.segmenter else (),
        )

    def _give_up(self, slot: StagingBuffer) -> None:
        """After a failure: nothing on the device may still use the slot when it is lent again."""
        self._lanes.settle()
        self._ring.give_back(slot)

    def _shapes(self, bucket: int) -> list[tuple[int, ...]]:
        return [shape for model in self._models for shape in model.shapes[bucket]]

    def _layout(self, bucket: int) -> list[slice]:
        """Where the answers of all models lie in a slot's one buffer, so that one copy brings them."""
        return places_of(self._shapes(bucket))


def _concatenate(parts: Sequence[ModelOutputs]) -> ModelOutputs:
    """The answers of a batch that was cut."""
    if len(parts) == 1:
        return parts[0]
    predictions = [part.predictions for part in parts if part.predictions is not None]
    probability = [part.probability for part in parts if part.probability is not None]
    return ModelOutputs(
        (np.concatenate([boxes for boxes, _ in predictions]), np.concatenate([scores for _, scores in predictions]))
        if predictions
        else None,
        np.concatenate(probability) if probability else None,
        tuple(placement for part in parts for placement in part.detector_placements),
        tuple(placement for part in parts for placement in part.segmenter_placements),
    )
