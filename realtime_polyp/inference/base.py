"""What an inference is: both models on one batch of frames, wherever they run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import DetectorEngine, RawPredictions, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.preprocess.letterbox import Placement
from realtime_polyp.telemetry.stage_times import StageTime

T = TypeVar("T")


class Pending(Generic[T]):
    """Work that was submitted; `result` waits for it and is called exactly once."""

    def __init__(self, wait: Callable[[], T]) -> None:
        self._wait = wait

    def result(self) -> T:
        return self._wait()


@dataclass(frozen=True)
class ModelOutputs:
    """Both models' outputs for a batch of N frames.

    Attributes:
        predictions: the detector's boxes (N, P, 4) xyxy model px and scores (N, P); None without a detector.
        probability: the segmenter's maps (N, h', w'); None without a segmenter.
        detector_placements, segmenter_placements: one per frame; they map model px back to source px.
        stage_times: the stages that made them.
    """

    predictions: RawPredictions | None
    probability: NDArray[np.float32] | None
    detector_placements: tuple[Placement, ...] = ()
    segmenter_placements: tuple[Placement, ...] = ()
    stage_times: tuple[StageTime, ...] = ()


class Inference(Protocol):
    """Runs both models on batches; owned by one thread at a time. Plain attributes may implement the properties.

    Attributes:
        detector, segmenter: the engines; either may be absent.
        takes_planes: pictures may also be given as NV12 planes, as a GPU decoded them.
        overlaps: a second batch may be submitted before the first is collected.
    """

    @property
    def detector(self) -> DetectorEngine | None: ...

    @property
    def segmenter(self) -> SegmenterEngine | None: ...

    @property
    def takes_planes(self) -> bool: ...

    @property
    def overlaps(self) -> bool: ...

    def submit(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        """Start on a batch. Results are collected in order; at most two batches may be under way.

        images: (H, W, 3) uint8 RGB, or NV12 planes. fields: one per image. hflip: which images the models see flipped
        left to right; empty: none. The result has the shapes of these engines' answers, or ModelOutputError is raised;
        its values are unchecked (`check_outputs`).
        """
        ...
