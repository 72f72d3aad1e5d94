"""What becomes of the models' answers once a frame's past is known: the part of the line that has a memory.

Frames go through one by one and in order, whatever way they were cut into batches, so that results do not depend on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from realtime_polyp.config import PipelineConfig
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Detections, Frame, FrameQuality, Mask, Track
from realtime_polyp.postprocess.fusion import fuse
from realtime_polyp.postprocess.nms import stronger
from realtime_polyp.preprocess.letterbox import clip_boxes
from realtime_polyp.temporal.camera_motion import Camera, Motion
from realtime_polyp.temporal.frame_quality import FrameQualityClassifier, FrameQualityFilter
from realtime_polyp.temporal.tracker import Scene, Tracker

Lap = Callable[[str], None]


def unheard(stage: str) -> None:
    """A lap for who does not ask what time the stages took."""


@dataclass(frozen=True)
class FilteredResult:
    """A frame's answers, steadied; detections: those that reach the threshold."""

    detections: Detections
    tracks: tuple[Track, ...]
    mask: Mask | None
    view: FrameQuality = "clear"


class TemporalFilter:
    """One `update` a frame, in order."""

    def __init__(self, config: PipelineConfig) -> None:
        self._smoother = Tracker(config.temporal) if config.temporal else None
        self._sight = FrameCues(config.views)
        self._shape: tuple[int, ...] = ()

    def update(
        self,
        frame: Frame,
        field: FieldOfView,
        detections: Detections,
        mask: Mask | None,
        config: PipelineConfig,
        lap: Lap,
    ) -> FilteredResult:
        """detections: down to config.model_floor. A still that stands alone has no past and is none."""
        detections, mask = fuse_box_and_mask(detections, mask, config)
        if config.fusion:
            lap("fuse")
        strong = stronger(detections, config.score_threshold)
        if self._smoother is None or frame.is_still:
            return FilteredResult(strong, as_tracks(strong), mask)
        if frame.image.shape != self._shape:
            self._shape = frame.image.shape
            self._smoother.forget()
        motion, view = self._sight.update(frame, field, lap, wanted=not self._smoother.idle)
        scene = Scene(motion, frame.image, config.score_threshold, config.evidence, trusted=view == "clear")
        tracks, steadied = self._smoother.update(detections, mask, frame.pts_s, scene)
        lap("smooth")
        return FilteredResult(strong, inside(tracks, field), steadied, view)


class FrameCues:
    """What the pictures tell without the models: how the camera moved, and whether the view is clear."""

    def __init__(self, views: FrameQualityClassifier | None) -> None:
        self._camera, self._views = Camera(), FrameQualityFilter(views) if views else None

    def update(
        self, frame: Frame, field: FieldOfView, lap: Lap = unheard, *, wanted: bool = True
    ) -> tuple[Motion, FrameQuality]:
        """wanted: False where nothing is followed, so that the movement makes no difference."""
        motion = self._camera.update(frame.image, field, wanted=wanted)
        lap("motion")
        if self._views is None:
            return motion, "clear"
        if motion.cut:
            self._views.forget()
        view = self._views.update(field.crop(frame.image), frame.pts_s)
        lap("view")
        return motion, view


def fuse_box_and_mask(
    detections: Detections, mask: Mask | None, config: PipelineConfig
) -> tuple[Detections, Mask | None]:
    """What the models say once they heard each other. detections: down to config.model_floor; then to config.floor."""
    if config.fusion and mask is not None:
        detections, mask = fuse(detections, mask, config.fusion)
    return stronger(detections, config.floor), mask


def inside(tracks: tuple[Track, ...], field: FieldOfView) -> tuple[Track, ...]:
    """The tracks cut to the field; without those that have left it."""
    cut = [replace(track, box=clip_boxes(track.box, field)) for track in tracks]
    return tuple(track for track in cut if track.box[2] > track.box[0] and track.box[3] > track.box[1])


def as_tracks(detections: Detections) -> tuple[Track, ...]:
    """Each detection as a track of its own, shown at once."""
    pairs = zip(detections.boxes, detections.scores, strict=True)
    return tuple(Track(i, box, float(score), "shown", 0.0, 0.0) for i, (box, score) in enumerate(pairs, 1))
