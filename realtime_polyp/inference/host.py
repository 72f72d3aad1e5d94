"""Both models with frames prepared on the host, whatever device each engine uses."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import ModelOutputs, Pending
from realtime_polyp.inference.checked import check_shapes
from realtime_polyp.preprocess.letterbox import Batch, prepare
from realtime_polyp.telemetry.stage_times import StageTimer

_EMPTY_BATCH = Batch(np.zeros((0, 3, 0, 0), np.uint8), ())


class HostInference:
    """Letterboxes on the host and hands the pixels to each engine.

    Engines that can run beside others (compiled for throughput) work on the whole batch at the same time. Others run
    one after the other, and `submit` returns when they have finished.
    """

    takes_planes = False

    def __init__(self, detector: DetectorEngine | None, segmenter: SegmenterEngine | None) -> None:
        self.detector, self.segmenter = detector, segmenter
        engines = [engine for engine in (detector, segmenter) if engine is not None]
        self.overlaps = bool(engines) and all(engine.overlaps for engine in engines)
        self._collected_s = 0.0  # when the last batch was collected

    def submit(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        timer = StageTimer()
        sizes = {engine.size for engine in (self.detector, self.segmenter) if engine is not None}
        batches = {size: prepare(images, fields, size, hflip=hflip) for size in sizes}  # models of one size share one
        timer.lap("prepare")
        detector_batch = batches[self.detector.size] if self.detector else _EMPTY_BATCH
        segmenter_batch = batches[self.segmenter.size] if self.segmenter else _EMPTY_BATCH
        run = self._run_together if self.overlaps else self._run_in_turn
        return run(detector_batch, segmenter_batch, timer)

    def _run_in_turn(self, detector_batch: Batch, segmenter_batch: Batch, timer: StageTimer) -> Pending[ModelOutputs]:
        predictions = probability = None
        if self.detector:
            predictions = self.detector(detector_batch.pixels)
            timer.lap("detect")
        if self.segmenter:
            probability = self.segmenter(segmenter_batch.pixels)
            timer.lap("segment")
        placements = detector_batch.placements, segmenter_batch.placements
        outputs = ModelOutputs(predictions, probability, *placements, stage_times=tuple(timer.times))
        return Pending(lambda: self._checked(outputs, len(detector_batch.placements or segmenter_batch.placements)))

    def _run_together(self, detector_batch: Batch, segmenter_batch: Batch, timer: StageTimer) -> Pending[ModelOutputs]:
        started_s = time.perf_counter()
        boxes = self.detector.start(detector_batch.pixels) if self.detector else None
        with _finish_on_failure(boxes):
            masks = self.segmenter.start(segmenter_batch.pixels) if self.segmenter else None

        def collect() -> ModelOutputs:
            with _finish_on_failure(masks):
                predictions = boxes() if boxes else None
            probability = masks() if masks else None
            timer.lap("models", max(started_s, self._collected_s))  # without the wait for the batch before this one
            self._collected_s = time.perf_counter()
            placements = detector_batch.placements, segmenter_batch.placements
            outputs = ModelOutputs(predictions, probability, *placements, stage_times=tuple(timer.times))
            return self._checked(outputs, len(detector_batch.placements or segmenter_batch.placements))

        return Pending(collect)

    def _checked(self, outputs: ModelOutputs, count: int) -> ModelOutputs:
        """Before anything cuts them: raises ModelOutputError unless they have the shapes of `count` images' answers."""
        check_shapes(outputs, self.detector, self.segmenter, count)
        return outputs


@contextmanager
def _finish_on_failure(other: Callable[[], object] | None) -> Iterator[None]:
    """Where one model fails, wait for the other: no engine may still be busy with this batch."""
    try:
        yield
    except BaseException:
        if other:
            with suppress(Exception):  # the first failure is the one that is reported
                other()
        raise
