"""Both models on one batch of frames: where the line leaves numpy for engines, and comes back with raw answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Candidates, DetectorEngine, Pixels, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.preprocess.letterbox import Batch, Placement, prepare

Lap = Callable[[str, float | None], None]
Both = tuple[Candidates | None, NDArray[np.float32] | None]


@dataclass(frozen=True)
class ModelOutputs:
    """What the models said of N frames; None for a model that is not there.

    candidates: boxes (N, P, 4) model px and scores (N, P). probability: (N, h', w'). The placements, one a frame, lead
    back to source pixels.
    """

    candidates: Candidates | None
    probability: NDArray[np.float32] | None
    detector_placements: tuple[Placement, ...] = ()
    segmenter_placements: tuple[Placement, ...] = ()


class Inference(Protocol):
    """Owned by one thread at a time. takes_planes: pictures may also come as a GPU decoded them. overlaps: a batch may
    be begun before the one before it is collected, which then costs no waiting.

    lap: told the name of each stage as it ends, and since when where that is not the end of the stage before.
    """

    detector: DetectorEngine | None
    segmenter: SegmenterEngine | None
    takes_planes: bool
    overlaps: bool

    def begin(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], lap: Lap, *, hflip: Sequence[bool] = ()
    ) -> Callable[[], ModelOutputs]:
        """Start on a batch; the function returned waits for its answers. In order, two under way at most.

        hflip: which of the images the models see with left and right exchanged; empty: none.
        """
        ...


class HostInference:
    """Prepared on the host; each engine takes the pixels wherever it runs.

    Engines that can be started without waiting (compiled for throughput) work side by side on the whole batch; others
    one after the other, and then `begin` does not return before they have answered.
    """

    takes_planes = False

    def __init__(self, detector: DetectorEngine | None, segmenter: SegmenterEngine | None) -> None:
        self.detector, self.segmenter = detector, segmenter
        engines = [engine for engine in (detector, segmenter) if engine is not None]
        self.overlaps = bool(engines) and all(hasattr(engine, "start") for engine in engines)
        self._free_s = 0.0  # when the engines answered last

    def begin(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], lap: Lap, *, hflip: Sequence[bool] = ()
    ) -> Callable[[], ModelOutputs]:
        sizes = {engine.size for engine in (self.detector, self.segmenter) if engine is not None}
        # Two models of one size share theirs.
        batches = {size: prepare(images, fields, size, hflip=hflip) for size in sizes}
        lap("prepare", None)
        boxes_of = batches[self.detector.size] if self.detector else _NOTHING
        mask_of = batches[self.segmenter.size] if self.segmenter else _NOTHING
        both = self._side_by_side if self.overlaps else self._one_by_one
        collect = both(boxes_of.pixels, mask_of.pixels, lap)
        return lambda: ModelOutputs(*collect(), boxes_of.placements, mask_of.placements)

    def _one_by_one(self, boxes_of: Pixels, mask_of: Pixels, lap: Lap) -> Callable[[], Both]:
        candidates = probability = None
        if self.detector:
            candidates = self.detector(boxes_of)
            lap("detect", None)
        if self.segmenter:
            probability = self.segmenter(mask_of)
            lap("segment", None)
        return lambda: (candidates, probability)

    def _side_by_side(self, boxes_of: Pixels, mask_of: Pixels, lap: Lap) -> Callable[[], Both]:
        begun_s = time.perf_counter()
        boxes = self.detector.start(boxes_of) if self.detector else lambda: None  # type: ignore[attr-defined]
        mask = self.segmenter.start(mask_of) if self.segmenter else lambda: None  # type: ignore[attr-defined]

        def collect() -> Both:
            answers = boxes(), mask()
            lap("models", max(begun_s, self._free_s))  # without what it waited for the batch before it
            self._free_s = time.perf_counter()
            return answers

        return collect


_NOTHING = Batch(np.zeros((0, 3, 0, 0), np.uint8), ())
