"""Both models on one batch of frames: where the line leaves numpy for engines, and comes back with raw answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Candidates, DetectorEngine, SegmenterEngine
from realtime_polyp.field import Field, Image
from realtime_polyp.prepare import Batch, Placement, prepare

Lap = Callable[[str], None]


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
    """Owned by one thread at a time. lap: told the name of each stage as it ends."""

    detector: DetectorEngine | None
    segmenter: SegmenterEngine | None

    def __call__(self, images: Sequence[Image], fields: Sequence[Field], lap: Lap) -> Answers: ...


class HostInference:
    """Prepared on the host; each engine takes the pixels wherever it runs.

    Engines that can be started without waiting (compiled for throughput) work side by side on the whole batch; the
    others one after the other.
    """

    def __init__(self, detector: DetectorEngine | None, segmenter: SegmenterEngine | None) -> None:
        self.detector, self.segmenter = detector, segmenter

    def __call__(self, images: Sequence[Image], fields: Sequence[Field], lap: Lap) -> Answers:
        sizes = {engine.size for engine in (self.detector, self.segmenter) if engine is not None}
        batches = {size: prepare(images, fields, size) for size in sizes}  # two models of one size share theirs
        lap("prepare")
        detect, segment = self.detector, self.segmenter
        detector_batch = batches[detect.size] if detect else _NOTHING
        segmenter_batch = batches[segment.size] if segment else _NOTHING
        if hasattr(detect, "start") and hasattr(segment, "start"):
            collect, collect_too = detect.start(detector_batch.pixels), segment.start(segmenter_batch.pixels)  # type: ignore[union-attr]
            candidates, probability = collect(), collect_too()
            lap("models")
        else:
            candidates = detect(detector_batch.pixels) if detect else None
            lap("detect")
            probability = segment(segmenter_batch.pixels) if segment else None
            lap("segment")
        return Answers(candidates, probability, detector_batch.placements, segmenter_batch.placements)


_NOTHING = Batch(np.zeros((0, 3, 0, 0), np.uint8), ())
