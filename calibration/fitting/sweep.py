"""Every operating point there is to choose from: thresholds and confirmation times through the tracker that runs live.

The models run once over a video; a higher threshold only drops boxes of what a lower one found, because
suppression goes from the best score down. So the sweep costs the tracker's time, not the models', and is exact:
polyps are not known again by their looks here, which changes their numbers and not what is shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.events import SeenFrame, event_figures, video_record
from realtime_polyp.metrics.overlaps import false_boxes, matches
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.packets import Detections
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.postprocess.fusion import Fusion
from realtime_polyp.postprocess.nms import WEAK_THRESHOLD
from realtime_polyp.postprocess.score_calibration import Calibration
from realtime_polyp.sources.base import Source
from realtime_polyp.temporal.camera_motion import STILL, Motion
from realtime_polyp.temporal.config import DETECTOR_SCORES, Evidence, TemporalConfig
from realtime_polyp.temporal.filter import FrameCues, clip_tracks
from realtime_polyp.temporal.frame_quality import FrameQualityClassifier
from realtime_polyp.temporal.tracker import Tracker, TrackerInput

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
CONFIRM_TIMES_S = (0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class FoundFrame:
    """What a detector found in one frame, scores calibrated. alive: neither black nor frozen, so boxes are drawn.

    motion: the camera's, since the frame before. trusted: the view is clear.
    """

    pts_s: float
    detections: Detections
    field_of_view: FieldOfView
    alive: bool
    motion: Motion = STILL
    trusted: bool = True


@dataclass(frozen=True)
class LabelledVideo:
    """evidence: what the scores of its frames are worth to a track."""

    truth: VideoTruth
    frames: Sequence[FoundFrame]
    evidence: Evidence = DETECTOR_SCORES


@dataclass(frozen=True)
class Point:
    """One choice and what it does. confirm_s, first_shown_s: None on stills. false_rate: what is to be limited, false
    alarms a minute or false boxes an image. told: every figure, for the file."""

    score_threshold: float
    confirm_s: float | None
    sensitivity: float
    first_shown_s: float | None
    false_rate: float
    told: dict[str, Any]


@dataclass(frozen=True)
class Models:
    """Who looks at a video. calibration: what becomes of the detector's scores. segmenter, fusion: both or neither.
    views: tells a clear view, mirror: every other frame is seen hflip, both as in the live line."""

    detector: DetectorEngine
    calibration: Calibration
    segmenter: SegmenterEngine | None = None
    fusion: Fusion | None = None
    views: FrameQualityClassifier | None = None
    hflip: bool = False

    @property
    def line(self) -> Pipeline:
        """Every box, with the score that a threshold is to be chosen for."""
        config = PipelineConfig(
            score_threshold=0.0, temporal=None, calibration=self.calibration, fusion=self.fusion, hflip=self.hflip
        )
        return Pipeline(self.detector, self.segmenter, config)


def watched(source: Source, truth: VideoTruth, models: Models) -> LabelledVideo:
    """The models once over the video. Raises ValueError when video and truth do not belong together."""
    pipeline = models.line
    frames = []
    sight = FrameCues(models.views)
    shown = tqdm(source.frames(), total=len(truth.frames), desc=source.name, unit="frame")
    for result in run_inline(shown, pipeline):
        truth.check_frame(result.frame)
        motion, view = sight.update(result.frame, result.field_of_view)
        likely = at_least(result.detections, THRESHOLDS[0])
        alive, trusted = result.signal == "ok", view == "clear"
        frames.append(FoundFrame(result.frame.pts_s, likely, result.field_of_view, alive, motion, trusted))
    if len(frames) != len(truth.frames):
        raise ValueError(f"{truth.name} describes {len(truth.frames)} frames, {source.name} has {len(frames)}")
    return LabelledVideo(truth, frames, pipeline.config.evidence)


def at_least(detections: Detections, score_threshold: float) -> Detections:
    kept = detections.scores >= score_threshold
    return Detections(detections.boxes[kept], detections.scores[kept])


def sweep(
    videos: Sequence[LabelledVideo],
    *,
    usual: TemporalConfig,
    alarms_from_s: float,
    thresholds: Sequence[float] = THRESHOLDS,
    confirm_times_s: Sequence[float] = CONFIRM_TIMES_S,
) -> list[Point]:
    """Every threshold with every confirmation time. alarms_from_s: the class of false alarms that is limited."""
    pairs = [(threshold, confirm_s) for confirm_s in confirm_times_s for threshold in thresholds]
    shown = tqdm(pairs, desc="thresholds and times", unit="point")
    return [_point(videos, one, replace(usual, confirm_s=confirm_s), alarms_from_s) for one, confirm_s in shown]


def _point(videos: Sequence[LabelledVideo], threshold: float, config: TemporalConfig, alarms_from_s: float) -> Point:
    seen = [(list(seen_frames(video, threshold, config)), video.truth.period_s) for video in videos]
    figures = event_figures([video_record(frames, period_s=period_s) for frames, period_s in seen])
    assert figures.sensitivity is not None  # every truth has a polyp
    told = {
        "sensitivity": round(figures.sensitivity, 4),
        "polyps": figures.polyps,
        "missed": figures.missed,
        "first_shown_s": None if figures.first_shown_s is None else round(figures.first_shown_s, 3),
        "minutes": round(figures.minutes, 3),
        "false_alarms_per_minute": {
            f"{least_s:g} s": round(rate, 3) for least_s, rate in figures.false_alarms_per_minute.items()
        },
    }
    rate = figures.false_alarms_per_minute[alarms_from_s]
    return Point(threshold, config.confirm_s, figures.sensitivity, figures.first_shown_s, rate, told)


def seen_frames(video: LabelledVideo, threshold: float, config: TemporalConfig) -> Iterator[SeenFrame]:
    """What a person would see of the video, beside what is true."""
    tracker = Tracker(config)
    for found, true in zip(video.frames, video.truth.frames, strict=True):
        if true.cut:
            tracker.reset()
        likely = at_least(found.detections, min(threshold, WEAK_THRESHOLD))
        frame = TrackerInput(likely, None, found.pts_s, found.motion, None, threshold, video.evidence, found.trusted)
        tracks, _ = tracker.update(frame)
        drawn = [track.box for track in clip_tracks(tracks, found.field_of_view) if track.visible and found.alive]
        boxes = np.array(drawn, np.float32).reshape(-1, 4)
        yield SeenFrame(found.pts_s, true.polyps, true.faint, boxes, true.cut)


def sweep_stills(images: Sequence[ImageBoxes]) -> list[Point]:
    """Every threshold on stills: true boxes reached, false boxes an image. Raises ValueError without a true box."""
    if not any(len(image.true) for image in images):
        raise ValueError("no still has a polyp: sensitivity needs one")
    return [_still_point(images, threshold) for threshold in THRESHOLDS]


def _still_point(images: Sequence[ImageBoxes], threshold: float) -> Point:
    shown = [image.found[image.scores >= threshold] for image in images]
    reached = sum(int(matches(boxes, image.true).any(0).sum()) for boxes, image in zip(shown, images, strict=True))
    false = sum(int(false_boxes(boxes, image.true).sum()) for boxes, image in zip(shown, images, strict=True))
    polyps = sum(len(image.true) for image in images)
    sensitivity, rate = reached / polyps, false / len(images)
    told = {
        "sensitivity": round(sensitivity, 4),
        "polyps": polyps,
        "missed": polyps - reached,
        "images": len(images),
        "false_boxes_per_image": round(rate, 4),
    }
    return Point(threshold, None, sensitivity, None, rate, told)


def choose(points: Sequence[Point], most: float) -> Point | None:
    """The most sensitive, then the quickest, then the quietest point that finds something and keeps to `most`."""
    allowed = [point for point in points if point.sensitivity > 0 and point.false_rate <= most + _ROUNDING]
    return min(allowed, key=_preference, default=None)


def nearest(points: Sequence[Point]) -> Point | None:
    """The quietest point that finds something at all, then the best of these; None where none finds anything."""
    finding = [point for point in points if point.sensitivity > 0]
    return min(finding, key=lambda point: (point.false_rate, *_preference(point)), default=None)


def _preference(point: Point) -> tuple[float, float, float, float]:
    first_shown_s = 0.0 if point.first_shown_s is None else point.first_shown_s
    return -point.sensitivity, first_shown_s, point.false_rate, -point.score_threshold
