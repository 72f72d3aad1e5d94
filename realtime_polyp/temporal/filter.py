"""The part of the line that has a memory: from one frame's raw result to the result that is shown.

Frames pass one by one and in order, however they were batched, so that results do not depend on batching.
"""

import time
from dataclasses import replace

from realtime_polyp.config import PipelineConfig
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.geometry import clip_boxes
from realtime_polyp.packets import Detections, FilterCues, Frame, FrameQuality, Mask, RawResult, Result, Track
from realtime_polyp.postprocess.fusion import fuse
from realtime_polyp.postprocess.nms import stronger
from realtime_polyp.telemetry.stage_times import StageTimer
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.appearance import PictureAppearances
from realtime_polyp.temporal.camera_motion import Camera, Motion
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.frame_quality import FrameQualityClassifier, FrameQualityFilter
from realtime_polyp.temporal.tracker import Tracker, TrackerInput


class TemporalFilter:
    """Turns raw results into results: calibration, fusion, frame quality, tracking and mask filtering.

    Call `update` once per frame, in order. trace: takes the times of the stages. track: the trace's row.
    """

    def __init__(self, config: PipelineConfig, *, trace: Trace | None = None, track: str = "analyse") -> None:
        self.config = config
        self._release_s = config.temporal.release_s if config.temporal else 0.0  # as it was given, whatever `hold_s`
        self._trace, self._track = trace, track
        self.reset()

    def reset(self) -> None:
        """Forget everything: another video begins."""
        self._tracker = Tracker(self.config.temporal) if self.config.temporal else None
        self._cues = FrameCues(self.config.frame_quality)
        self._shape: tuple[int, ...] = ()

    def seek(self) -> None:
        """The same video goes on at another place: track numbers continue, all else is forgotten."""
        if self._tracker:
            self._tracker.seek()
        self._cues = FrameCues(self.config.frame_quality)
        self._shape = ()

    def set_score_threshold(self, score_threshold: float) -> None:
        """For the frames to come; may be called from another thread."""
        self.config = replace(self.config, score_threshold=score_threshold)

    def set_times(self, confirm_s: float | None, hold_s: float | None) -> None:
        """For the frames to come; may be called from another thread. None: the default."""
        if self._tracker is None or self.config.temporal is None:
            return
        usual = TemporalConfig()
        hold_s = usual.hold_s if hold_s is None else hold_s
        times = replace(
            self.config.temporal,
            confirm_s=usual.confirm_s if confirm_s is None else confirm_s,
            hold_s=hold_s,
            release_s=max(hold_s, self._release_s),
        )
        self.config = replace(self.config, temporal=times)
        self._tracker.config = times

    def update(self, raw: RawResult) -> Result:
        """Filter one frame. A still has no past and is not filtered."""
        config, frame = self.config, raw.frame
        timer = StageTimer(self._trace, self._track, frame=frame.index)
        fused, mask = fuse_down(raw, config)
        detections = stronger(fused, config.floor)
        if config.fusion:
            timer.lap("fuse")
        strong = stronger(detections, config.score_threshold)
        if self._tracker is None or frame.is_still:
            cues = FilterCues(fused, None, False, ())
            return _result(raw, timer, strong, detections_as_tracks(strong), mask, cues=cues)
        if frame.image.shape != self._shape:
            self._shape = frame.image.shape
            self._tracker.reset()
        appearances = PictureAppearances(frame.image)
        motion, quality = self._cues.update(frame, raw.field_of_view, timer, needs_motion=not self._tracker.idle)
        motion = motion if frame.continues else replace(motion, cut=True)
        tracks, filtered = self._tracker.update(
            TrackerInput(
                detections=detections,
                mask=mask,
                pts_s=frame.pts_s,
                motion=motion,
                extract=appearances.extract,
                start_score=config.score_threshold,
                evidence=config.evidence,
                is_clear=quality == "clear",
            )
        )
        timer.lap("track")
        cues = FilterCues(fused, motion.matrix if motion.known else None, motion.cut, tuple(appearances.taken))
        return _result(raw, timer, strong, clip_tracks(tracks, raw.field_of_view), filtered, quality, cues)


class FrameCues:
    """What the pictures tell without the models: camera motion and frame quality."""

    def __init__(self, classifier: FrameQualityClassifier | None) -> None:
        self._camera = Camera()
        self._quality = FrameQualityFilter(classifier) if classifier else None

    def update(
        self, frame: Frame, field: FieldOfView, timer: StageTimer | None = None, *, needs_motion: bool = True
    ) -> tuple[Motion, FrameQuality]:
        """needs_motion: False while nothing is tracked and the motion makes no difference."""
        timer = timer or StageTimer()
        motion = self._camera.update(frame.image, field, estimate=needs_motion)
        timer.lap("camera motion")
        if self._quality is None:
            return motion, "clear"
        if motion.cut or not frame.continues:
            self._quality.reset()
        quality = self._quality.update(field.crop(frame.image), frame.pts_s)
        timer.lap("frame quality")
        return motion, quality


def fuse_box_and_mask(raw: RawResult, config: PipelineConfig) -> tuple[Detections, Mask | None]:
    """Calibrate or fuse one frame's raw outputs; detections down to `config.floor`. Stateless."""
    detections, mask = fuse_down(raw, config)
    return stronger(detections, config.floor), mask


def fuse_down(raw: RawResult, config: PipelineConfig) -> tuple[Detections, Mask | None]:
    """As `fuse_box_and_mask`, but with every detection down to `config.model_floor`."""
    detections, mask = raw.detections, raw.mask
    if config.calibration and not config.fusion:
        detections = Detections(detections.boxes, config.calibration.apply(detections.scores))
    detections = stronger(detections, config.model_floor)
    if config.fusion and mask is not None:
        detections, mask = fuse(detections, mask, config.fusion)
    return detections, mask


def detections_at(raw: RawResult, config: PipelineConfig, score_threshold: float) -> Detections:
    """The detections of one frame at another threshold, without temporal filtering. Stateless."""
    return fuse_box_and_mask(raw, replace(config, score_threshold=score_threshold, temporal=None))[0]


def clip_tracks(tracks: tuple[Track, ...], field: FieldOfView) -> tuple[Track, ...]:
    """Clip the tracks to the field of view; those outside it are left out."""
    clipped = [replace(track, box=clip_boxes(track.box, field)) for track in tracks]
    return tuple(track for track in clipped if track.box[2] > track.box[0] and track.box[3] > track.box[1])


def detections_as_tracks(detections: Detections) -> tuple[Track, ...]:
    """Each detection as a track of its own, shown at once."""
    pairs = zip(detections.boxes, detections.scores, strict=True)
    return tuple(Track(i, box, float(score), "shown", 0.0, 0.0) for i, (box, score) in enumerate(pairs, 1))


def _result(
    raw: RawResult,
    timer: StageTimer,
    detections: Detections,
    tracks: tuple[Track, ...],
    mask: Mask | None,
    frame_quality: FrameQuality = "clear",
    cues: FilterCues | None = None,
) -> Result:
    return Result(
        frame=raw.frame,
        field_of_view=raw.field_of_view,
        detections=detections,
        tracks=tracks,
        mask=mask,
        has_detector=raw.has_detector,
        signal=raw.signal,
        frame_quality=frame_quality,
        stages_ms=raw.stages_ms | timer.shares_ms(1),
        analysed_s=time.monotonic(),
        raw=raw,
        cues=cues,
    )
