"""What travels down the line of a frame. Packets are frozen; a stage makes new ones, it never changes one."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.nv12 import Nv12

Boxes = NDArray[np.float32]
Signal = Literal["ok", "black", "frozen"]
FrameQuality = Literal["clear", "blurred", "glare", "water", "no mucosa", "outside"]
TrackStatus = Literal["tentative", "shown", "held"]


@dataclass(frozen=True)
class Frame:
    """One picture of a source: image (H, W, 3) uint8 RGB.

    pts_s: the video's own clock. captured_s: time.monotonic() when the picture reached this machine.
    alone: a still that continues no other frame. planes: the same picture as a GPU decoded it, where one did.
    """

    index: int
    pts_s: float
    captured_s: float
    image: Image
    is_still: bool = False
    planes: Nv12 | None = None


@dataclass(frozen=True)
class Detections:
    """boxes (n, 4) float32 xyxy source px; scores (n,) float32, falling."""

    boxes: Boxes
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


NO_DETECTIONS = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Track:
    """A polyp followed over time; box (4,) xyxy source px.

    id: 1, 2, ... in the order of being shown first; negative before that, so that what a person reads has no gaps.
    state: tentative (not confirmed, or lost for too long: not drawn), shown, held (unseen just now, still drawn).
    """

    id: int
    box: Boxes
    score: float
    state: TrackStatus
    age_s: float
    unseen_s: float

    @property
    def visible(self) -> bool:
        return self.state != "tentative"


@dataclass(frozen=True)
class Mask:
    """Polyp probability (h, w) float32 over the field's rectangle, at the model's resolution."""

    probability: NDArray[np.float32]
    field_of_view: FieldOfView

    def in_field(self) -> NDArray[np.float32]:
        """The probability at source resolution, of the field's rectangle only."""
        size = (self.field_of_view.width, self.field_of_view.height)
        return cv2.resize(self.probability, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def to_source(self, height: int, width: int, *, threshold: float = 0.5) -> NDArray[np.bool_]:
        """The mask (height, width) of the whole frame."""
        mask = np.zeros((height, width), np.bool_)
        self.field_of_view.crop(mask)[...] = self.in_field() >= threshold  # type: ignore[arg-type]
        return mask


@dataclass(frozen=True)
class Result:
    """What is known about one frame.

    has_detector: a detector is in the line, so that a mask without a box is not to be drawn. signal: whether the picture
    lives. frame_quality: what keeps the picture from showing mucosa, if anything does. stages_ms: this frame's share of the time
    that each stage took for its batch. analysed_s: time.monotonic() when the result was ready.
    """

    frame: Frame
    field_of_view: FieldOfView
    detections: Detections
    tracks: tuple[Track, ...]
    mask: Mask | None
    has_detector: bool = True
    signal: Signal = "ok"
    frame_quality: FrameQuality = "clear"
    stages_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    analysed_s: float = 0.0
