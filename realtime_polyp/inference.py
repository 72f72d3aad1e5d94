"""Both models on one batch of frames: where the line leaves numpy for engines, and comes back with raw answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Candidates, DetectorEngine, Pixels, SegmenterEngine
from realtime_polyp.field import Field
from realtime_polyp.prepare import Batch, Placement, prepare

Lap = Callable[[str], None]
Both = tuple[Candidates | None, NDArray[np.float32] | None]


@dataclass(frozen=True)
class Answers:
    """What the models said of N frames; None for a model that is not there.

    candidates: boxes (N, P, 4) model px and scores (N, P). probability: (N, h', w'). The placements, one a frame, lead
    back to source pixels.
    """

    candidates: Candidates | None
    probability: NDArray[np.float32] | None
    detector_placements: tuple[Placement, ...] = ()
    segmenter_placements: tuple[Placement, ...] = ()


class Inference(Protocol):
    """Owned by one thread at a time. lap: told the name of each stage as it ends. takes_planes: pictures may also come
    as a GPU decoded them."""

    detector: DetectorEngine | None
    segmenter: SegmenterEngine | None
    takes_planes: bool

    def __call__(self, images: Sequence[Any], fields: Sequence[Field], lap: Lap) -> Answers: ...


class HostInference:
    """Prepared on the host; each engine takes the pixels wherever it runs.

    Engines that can be started without waiting (compiled for throughput) work side by side on the whole batch; the
    others one after the other.
    """

    takes_planes = False

    def __init__(self, detector: DetectorEngine | None, segmenter: SegmenterEngine | None) -> None:
        self.detector, self.segmenter = detector, segmenter
        self._overlap = hasattr(detector, "start") and hasattr(segmenter, "start")

    def __call__(self, images: Sequence[Any], fields: Sequence[Field], lap: Lap) -> Answers:
        sizes = {engine.size for engine in (self.detector, self.segmenter) if engine is not None}
        batches = {size: prepare(images, fields, size) for size in sizes}  # two models of one size share theirs
        lap("prepare")
        boxes_of = batches[self.detector.size] if self.detector else _NOTHING
        mask_of = batches[self.segmenter.size] if self.segmenter else _NOTHING
        both = self._side_by_side if self._overlap else self._one_by_one
        candidates, probability = both(boxes_of.pixels, mask_of.pixels, lap)
        return Answers(candidates, probability, boxes_of.placements, mask_of.placements)

    def _one_by_one(self, boxes_of: Pixels, mask_of: Pixels, lap: Lap) -> Both:
        candidates = probability = None
        if self.detector:
            candidates = self.detector(boxes_of)
            lap("detect")
        if self.segmenter:
            probability = self.segmenter(mask_of)
            lap("segment")
        return candidates, probability

    def _side_by_side(self, boxes_of: Pixels, mask_of: Pixels, lap: Lap) -> Both:
        collect, collect_too = self.detector.start(boxes_of), self.segmenter.start(mask_of)  # type: ignore[union-attr]
        answers = collect(), collect_too()
        lap("models")
        return answers


_NOTHING = Batch(np.zeros((0, 3, 0, 0), np.uint8), ())
