"""Both models on a GPU: the same as `HostInference`, but the host waits only once per batch.

    host    fill pinned memory                                                                  wait, read
    copy                       upload
    prepare                           colours, shrink, letterbox
    detector                                                    graph, best candidates
    segmenter                                                   graph
    download                                                                             copy

A joint model runs on one stream in place of both. Each stream waits for the one above it through an event; the host
waits for the download.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from realtime_polyp.engines.base import DetectorEngine, EngineError, SegmenterEngine
from realtime_polyp.engines.halves import engines_of
from realtime_polyp.engines.static import BUCKETS, bucket_for, split_batch
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import ModelOutputs, Pending
from realtime_polyp.inference.checked import ModelOutputError, check_shapes
from realtime_polyp.inference.cuda_graphs import DeviceModel, require_on_device
from realtime_polyp.inference.cuda_streams import CudaStreams, DeviceStreams, StreamTask
from realtime_polyp.inference.staging import StagingBuffer, StagingPool, layout_slices
from realtime_polyp.nv12 import Picture, crop_planes
from realtime_polyp.preprocess.letterbox import Placement, fit_placements
from realtime_polyp.preprocess.letterbox_torch import field_of, letterbox
from realtime_polyp.telemetry.stage_times import StageTimer

MOST_CANDIDATES = 1000  # as many as NMS considers
DEVICE_TRACK = "device "  # prefix of the trace's rows that show work on the device
_IN_FLIGHT = 2  # batches: one is uploaded while another is computed


class Spans(Protocol):
    """Takes spans of work, such as `Trace`; times are time.perf_counter() seconds."""

    def add(self, track: str, name: str, start_s: float, end_s: float, **arguments: object) -> None: ...


@dataclass(frozen=True)
class _Batch:
    """A batch in flight.

    Attributes:
        buffer: its memory. count: its frames. bucket: the batch size of the graphs that run it.
        placements: {model size: one per frame}. tasks: in order; the last one is the download.
    """

    buffer: StagingBuffer
    count: int
    bucket: int
    placements: dict[tuple[int, int], tuple[Placement, ...]]
    tasks: list[StreamTask]

    @property
    def done(self) -> StreamTask:
        return self.tasks[-1]


class CudaInference:
    """Runs both models on CUDA streams and graphs; owned by one thread at a time.

    streams: where tasks are queued; CpuStreams runs the same code on the host. buckets: the batch sizes that graphs are
    captured for; larger batches are cut. most_candidates: predictions per image that leave the device. trace: takes the
    times of all tasks, which needs timed streams. Raises EngineError for an engine that cannot leave its outputs on the
    device, or whose outputs have wrong shapes.
    """

    takes_planes = overlaps = True

    def __init__(
        self,
        detector: DetectorEngine | None,
        segmenter: SegmenterEngine | None,
        *,
        streams: DeviceStreams | None = None,
        buckets: Sequence[int] = BUCKETS,
        most_candidates: int = MOST_CANDIDATES,
        trace: Spans | None = None,
    ) -> None:
        self.detector, self.segmenter = detector, segmenter
        self._streams = streams or CudaStreams(timed=trace is not None)
        self._buckets, self._trace = sorted(buckets), trace
        self._models = self._open(most_candidates)
        sizes = {model.engine.size for model in self._models}
        length = max((self._layout(bucket)[-1].stop for bucket in self._buckets if self._models), default=0)
        self._pool = StagingPool(
            [StagingBuffer(self._streams, sizes, self._buckets[-1], length) for _ in range(_IN_FLIGHT)]
        )
        self._collected_s = 0.0  # when the last batch was collected
        self._streams.synchronize()  # buffers are cleared on a stream of their own

    def submit(
        self, images: Sequence[Picture], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        """As `Inference.submit`; at least one image.

        A batch larger than any graph is cut, and its first parts are collected before this returns.
        Raises RuntimeError for a third batch in flight, and for collecting one twice.
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
        buffer = self._pool.take()
        with ExitStack() as undo:
            undo.callback(self._release, buffer)
            batch = self._queue(buffer, bucket, images, fields, hflip)
            undo.pop_all()
        return Pending(partial(self._collect, batch))

    @torch.inference_mode()
    def _open(self, most_candidates: int) -> list[DeviceModel]:
        models = []
        for engine in engines_of(self.detector, self.segmenter):
            require_on_device(engine, self._streams.device)
            try:
                models.append(DeviceModel(engine, self._streams, self._buckets, most_candidates=most_candidates))
            except ModelOutputError as error:
                raise EngineError(f"the model cannot be used: {error}; choose another --engine") from error
        return models

    @torch.inference_mode()
    def _queue(
        self,
        buffer: StagingBuffer,
        bucket: int,
        images: Sequence[Picture],
        fields: Sequence[FieldOfView],
        hflip: Sequence[bool],
    ) -> _Batch:
        streams = self._streams
        cuts = [crop_planes(image, field) for image, field in zip(images, fields, strict=True)]
        uploads = iter(buffer.fill([part for parts in cuts for part in parts]))
        parts = [[next(uploads) for _ in one] for one in cuts]
        placements = {size: fit_placements(fields, size, hflip) for size in buffer.pixels}
        with streams.task("copy", "upload") as uploaded:
            buffer.upload()
        with streams.task("prepare", "prepare", [uploaded]) as prepared:
            inner = [field_of(*one) for one in zip(parts, images, fields, strict=True)]
            for size, pixels in buffer.pixels.items():
                letterbox(inner, placements[size], pixels[:bucket])
        ran = self._run_models(buffer, bucket, prepared)
        with streams.task("download", "download", ran or [prepared]) as downloaded:
            buffer.download(self._layout(bucket)[-1].stop if self._models else 0)
        return _Batch(buffer, len(images), bucket, placements, [uploaded, prepared, *ran, downloaded])

    def _run_models(self, buffer: StagingBuffer, bucket: int, prepared: StreamTask) -> list[StreamTask]:
        """Run each model on its stream, and copy its outputs into the buffer before the next batch replaces them."""
        slices, tasks = iter(self._layout(bucket)), []
        for model in self._models:
            with self._streams.task(model.stream, model.stream, [prepared]) as ran:
                for output in model.run(buffer.pixels[model.engine.size][:bucket]):
                    buffer.outputs[next(slices)].view(output.shape).copy_(output)
            tasks.append(ran)
        return tasks

    def _collect(self, batch: _Batch) -> ModelOutputs:
        batch.done.wait()
        found = [
            batch.buffer.read(part, shape)[: batch.count]
            for part, shape in zip(self._layout(batch.bucket), self._shapes(batch.bucket), strict=True)
        ]
        self._pool.release(batch.buffer)
        if self._trace is not None:
            for task in batch.tasks:
                self._trace.add(DEVICE_TRACK + task.stream, task.name, *task.times_s(), frames=batch.count)
        predictions = (found[0], found[1]) if self.detector else None
        outputs = ModelOutputs(
            predictions,
            found[-1] if self.segmenter else None,
            batch.placements[self.detector.size] if self.detector else (),
            batch.placements[self.segmenter.size] if self.segmenter else (),
        )
        check_shapes(outputs, self.detector, self.segmenter, batch.count)
        return outputs

    def _release(self, buffer: StagingBuffer) -> None:
        """After a failure: nothing on the device may still use the buffer when it is in_use again."""
        self._streams.synchronize()
        self._pool.release(buffer)

    def _shapes(self, bucket: int) -> list[tuple[int, ...]]:
        return [shape for model in self._models for shape in model.shapes[bucket]]

    def _layout(self, bucket: int) -> list[slice]:
        """The slices of one buffer that hold all models' outputs, which one copy then brings to the host."""
        return layout_slices(self._shapes(bucket))


def _concatenate(parts: Sequence[ModelOutputs]) -> ModelOutputs:
    """Concatenate the outputs of a batch that was cut."""
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
