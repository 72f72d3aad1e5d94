"""The data that travels along the line of a frame. Packets are frozen: a stage makes new ones and changes none."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.nv12 import Nv12

if TYPE_CHECKING:
    from realtime_polyp.notebook import Picture
    from realtime_polyp.postprocess.polyp_shape import PolypShape

RESULT_FORMAT = 2
"""Format number of `Result.to_dict`. Format 1 called three keys `field`, `view` and `detecting`; readers accept it."""

LONGEST_STEP_S = 1.0
"""A longer step of the video's clock, or one backwards, is a cut or a seek."""

Boxes = NDArray[np.float32]
Signal = Literal["ok", "black", "frozen"]
FrameQuality = Literal["clear", "blurred", "glare", "water", "no mucosa", "outside"]
TrackStatus = Literal["tentative", "shown", "held"]


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        index: the frame's number in the source, from 0.
        pts_s: presentation time on the video's own clock, s.
        captured_s: time.monotonic() when the picture was due on this machine, s: of a recording, when it was decoded;
            of a live input, when it would have arrived with the smallest delay of its stream.
        image: (H, W, 3) uint8 RGB.
        is_still: a single picture that continues no other frame.
        continues: it follows the source's frame before it without a cut (`sources.continuity`). Of a result's frame it
            also says that no frame left out since the result before it was a cut.
        planes: the same picture as NV12 when a GPU decoded it, else None.
        file_name: the picture's file in a folder of pictures; None for a video file.
        pixel_aspect: width over height of a stored pixel. Those of `image` are square: it was stretched by this.
        stamp_s: the picture's time in its file, or its timestamp in its stream, s: `pts_s` before repetitions of a
            recording and jumps of a stream's clock were joined. None: not known.
        flipped: the models see it flipped left to right, where they see frames so at all; None: where `index` is odd.
        conversions: what was done to the picture beyond colour and shape, such as "de-interlaced".
    """

    index: int
    pts_s: float
    captured_s: float
    image: Image
    is_still: bool = False
    continues: bool = True
    planes: Nv12 | None = None
    file_name: str | None = None
    pixel_aspect: Fraction = Fraction(1)
    stamp_s: float | None = None
    flipped: bool | None = None
    conversions: tuple[str, ...] = ()

    @property
    def has_picture(self) -> bool:
        """Whether `image` holds the picture, and not its size alone (`realtime_polyp.notebook.without_picture`)."""
        return any(self.image.strides)

    def follows(self, before: "Frame | None") -> bool:
        """Whether this frame continues an earlier one, which may lie several dropped frames back."""
        if before is None or self.is_still or not self.continues:
            return False
        return 0 <= self.pts_s - before.pts_s <= LONGEST_STEP_S


@dataclass(frozen=True)
class Detections:
    """Boxes of one frame, best first.

    Attributes:
        boxes: (n, 4) float32 xyxy, source px.
        scores: (n,) float32, descending.
    """

    boxes: Boxes
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


NO_DETECTIONS = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Track:
    """A polyp followed over time.

    Attributes:
        id: 1, 2, ... in the order of first display; negative until then, so that displayed numbers have no gaps.
        box: (4,) xyxy, source px.
        score: score averaged over the last frames, 0..1.
        state: tentative (not confirmed, or missed for too long: not drawn), shown, or held (missed in this frame, still
            drawn).
        age_s: time since its first detection, s.
        unseen_s: time since its last detection, s.
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
    """A polyp probability map.

    Attributes:
        probability: (h, w) float32 over the field of view, at the model's resolution.
        field_of_view: the rectangle that the map covers, source px.
    """

    probability: NDArray[np.float32]
    field_of_view: FieldOfView

    def in_field(self) -> NDArray[np.float32]:
        """Resize the map to source resolution; covers the field of view only."""
        size = (self.field_of_view.width, self.field_of_view.height)
        return cv2.resize(self.probability, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def to_source(self, height: int, width: int, *, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Threshold the map and return the mask (height, width) of the whole frame."""
        mask = np.zeros((height, width), np.bool_)
        self.field_of_view.crop(mask)[...] = self.in_field() >= threshold  # type: ignore[arg-type]
        return mask

    def to_rle(self, height: int, width: int) -> dict[str, Any]:
        """Encode the thresholded mask (height, width) as COCO's compressed run lengths."""
        encoded = coco_mask.encode(np.asfortranarray(self.to_source(height, width).view(np.uint8)))
        return {"size": [int(length) for length in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


@dataclass(frozen=True)
class RawResult:
    """The models' outputs for one frame, before anything that has a memory.

    Attributes:
        frame: the frame.
        field_of_view: the rectangle that the models saw, source px.
        signal: whether the picture is alive, black or frozen.
        detections: after NMS, down to `PipelineConfig.raw_floor`; scores are the detector's own, not calibrated.
        mask: the segmenter's probability map; None without a segmenter.
        has_detector: a detector ran; without one a mask is drawn wherever it is.
        stages_ms: this frame's share of each stage's time for its batch, ms.
    """

    frame: Frame
    field_of_view: FieldOfView
    signal: Signal
    detections: Detections
    mask: Mask | None
    has_detector: bool = True
    stages_ms: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class FilterCues:
    """What the temporal filter took from a frame's picture and scores. With it the filter runs again without both.

    Attributes:
        detections: after calibration or fusion, down to `PipelineConfig.model_floor`, whatever the threshold.
        camera: (2, 3) float32, camera motion since the previous frame, source px; None where it is not known.
        cut: the picture has nothing in common with the previous one.
        appearances: the boxes (4,) whose appearance was extracted, and their patches (12, 12, 3) float32.
    """

    detections: Detections
    camera: NDArray[np.float32] | None
    cut: bool
    appearances: tuple[tuple[Boxes, NDArray[np.float32]], ...]


@dataclass(frozen=True)
class Result:
    """Everything the line knows about one frame.

    Attributes:
        frame: the frame.
        field_of_view: the rectangle that the models saw, source px.
        detections: boxes that reach the score threshold, after calibration and fusion.
        tracks: polyps followed over time; without temporal filtering, one per detection.
        mask: the filtered probability map; None without a segmenter.
        has_detector: a detector ran; without one a mask is drawn wherever it is.
        signal: whether the picture is alive, black or frozen.
        frame_quality: what keeps the picture from showing mucosa, if anything.
        stages_ms: this frame's share of each stage's time, ms.
        analysed_s: time.monotonic() when the result was ready, s.
        raw: the models' outputs that this result was made from; None where they were not kept.
        cues: what the temporal filter worked on; of a still and without temporal filtering, the detections alone. None
            where they were not kept.
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
    raw: RawResult | None = dataclasses.field(default=None, compare=False)
    cues: FilterCues | None = dataclasses.field(default=None, compare=False)

    def __repr__(self) -> str:
        found = ", ".join(f"polyp {track.id} {track.score:.2f}" for track in self.visible) or "no polyp"
        return f"<Result of frame {self.frame.index} at {self.frame.pts_s:.3f} s: {found}, {self.frame_quality}>"

    @property
    def visible(self) -> tuple[Track, ...]:
        """The tracks that are drawn."""
        return tuple(track for track in self.tracks if track.visible)

    @cached_property
    def shapes(self) -> "tuple[PolypShape, ...]":
        """The box and the outline that are drawn for each visible track; they agree."""
        from realtime_polyp.postprocess.polyp_shape import polyp_shapes  # builds on this module

        boxes = np.array([track.box for track in self.visible], np.float32).reshape(-1, 4)
        return tuple(polyp_shapes(boxes, self.mask))

    def show(self, *, largest_px: int = 960) -> "Picture":
        """The picture with its overlay, which a notebook shows by itself. largest_px: of its longer side.

        Raises ValueError where the picture was not kept.
        """
        from realtime_polyp.notebook import draw_result  # draws with modules that build on this one

        return draw_result(self, largest_px)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types: one line of `--results` (docs/results_format.md). Coordinates are source px."""
        pairs = zip(self.detections.boxes, self.detections.scores, strict=True)
        height, width = self.frame.image.shape[:2]
        named = {} if self.frame.file_name is None else {"file": self.frame.file_name}
        drawn = self._drawn()
        return {
            "format": RESULT_FORMAT,
            "index": self.frame.index,
            "pts_s": round(self.frame.pts_s, 6),
            **named,
            "frame_size": [width, height],
            "pixel_aspect": [self.frame.pixel_aspect.numerator, self.frame.pixel_aspect.denominator],
            "field_of_view": self.field_of_view.box,
            "signal": self.signal,
            "frame_quality": self.frame_quality,
            "has_detector": self.has_detector,
            "detections": [{"box": _rounded(box), "score": round(float(score), 4)} for box, score in pairs],
            "tracks": [
                {"id": track.id, "box": _rounded(track.box), "score": round(track.score, 4), "state": track.state}
                | drawn.get(track.id, {})
                for track in self.tracks
            ],
            "mask": None if self.mask is None else self.mask.to_rle(*self.frame.image.shape[:2]),
        }

    def _drawn(self) -> dict[int, dict[str, Any]]:
        """What is drawn for each visible track, as JSON types, by its id."""
        return {
            track.id: {
                "drawn_box": _rounded(shape.box),
                "outline": None if shape.outline is None else _rounded(shape.outline.ravel()),
            }
            for track, shape in zip(self.visible, self.shapes, strict=True)
        }


def _rounded(numbers: NDArray[np.float32]) -> list[float]:
    return [round(float(value), 2) for value in numbers]
