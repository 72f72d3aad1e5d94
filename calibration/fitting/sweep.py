"""Evaluates every combination of score threshold and confirmation time on labelled videos or stills.

The models run once per video. NMS keeps boxes in order of score, so a higher threshold only removes boxes, and each
combination needs no more than another run of the tracker. The tracks equal those of the live pipeline, but they are not
re-identified by appearance, which changes their ids only, and their boxes are not fitted to the outlines of the mask,
as drawn boxes are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.config import PipelineConfig
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import Inference
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.events import SeenFrame, event_figures, video_record
from realtime_polyp.metrics.overlaps import false_boxes, matches
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.packets import Boxes, Detections, RawResult
from realtime_polyp.pipeline import Analyzer
from realtime_polyp.postprocess.nms import WEAK_THRESHOLD, stronger
from realtime_polyp.sources.base import Source
from realtime_polyp.temporal.camera_motion import STILL, Motion
from realtime_polyp.temporal.config import DETECTOR_SCORES, Evidence, TemporalConfig
from realtime_polyp.temporal.filter import FrameCues, fuse_box_and_mask
from realtime_polyp.temporal.track import OUT_BOX, OUT_ENTRY, OUT_STATE, TENTATIVE, Batch, rules_of
from realtime_polyp.temporal.tracker import Tracker

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
CONFIRM_TIMES_S = (0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class DetectedFrame:
    """The detections in one frame.

    Attributes:
        pts_s: presentation time, s.
        detections: with calibrated or fused scores.
        field_of_view: of the endoscope in the frame.
        signal_ok: the picture is neither black nor frozen, so that boxes are drawn.
        motion: of the camera since the previous frame.
        is_clear: the frame's quality is good.
    """

    pts_s: float
    detections: Detections
    field_of_view: FieldOfView
    signal_ok: bool
    motion: Motion = STILL
    is_clear: bool = True


@dataclass(frozen=True)
class LabelledVideo:
    """A labelled video with its detections.

    Attributes:
        truth: its labels.
        frames: its detections, one per frame of the truth.
        evidence: how much a detection's score contributes to a track.
    """

    truth: VideoTruth
    frames: Sequence[DetectedFrame]
    evidence: Evidence = DETECTOR_SCORES

    @cached_property
    def batch(self) -> Batch:
        """The detections as the tracker takes many frames at once."""
        frames = self.frames
        no = np.zeros(len(frames), np.bool_)
        return Batch(
            pts_s=np.array([one.pts_s for one in frames], np.float64),
            starts=np.cumsum([0, *(len(one.detections.scores) for one in frames)], dtype=np.int64),
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *(one.detections.boxes for one in frames)]),
            scores=np.concatenate([np.zeros(0, np.float32), *(one.detections.scores for one in frames)]),
            camera=np.array([one.motion.matrix for one in frames], np.float32).reshape(-1, 2, 3),
            zooms=np.array([one.motion.zoom for one in frames], np.float64),
            is_known=np.array([one.motion.known for one in frames], np.bool_),
            cut=np.array([one.motion.cut for one in frames], np.bool_),
            is_clear=np.array([one.is_clear for one in frames], np.bool_),
            resets=no,
            can_see=no,
        )

    @cached_property
    def fields(self) -> NDArray[np.float64]:
        """Field of view of each frame, (n, 4) xyxy px."""
        return np.array([one.field_of_view.box for one in self.frames], np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class Point:
    """A candidate operating point and its figures.

    Attributes:
        score_threshold: lowest score of a box that is shown.
        confirm_s: confirmation time; None on stills.
        sensitivity: share of the polyps that are found.
        first_shown_s: median time until a polyp is first shown; None on stills and if none is shown.
        false_rate: false alarms per minute of video, or false boxes per still.
        figures: all of these and their counts, for the calibration file.
    """

    score_threshold: float
    confirm_s: float | None
    sensitivity: float
    first_shown_s: float | None
    false_rate: float
    figures: dict[str, Any]


def detect_video(source: Source, truth: VideoTruth, inference: Inference, config: PipelineConfig) -> LabelledVideo:
    """Run the models once over the video, without threshold or temporal filter.

    inference, config: of the live pipeline; its calibration or fusion, frame quality and hflip apply. Raises
    ValueError if the truth describes another video.
    """
    analyzer = Analyzer(inference, replace(config, score_threshold=0.0, temporal=None))

    def analysed() -> Iterator[RawResult]:
        for frame in tqdm(source.frames(), total=len(truth.frames), desc=source.name, unit="frame"):
            truth.check_frame(frame)
            yield from analyzer.submit([frame]).result()

    frames = list(detected_frames(analysed(), config))
    if len(frames) != len(truth.frames):
        raise ValueError(f"{truth.name} describes {len(truth.frames)} frames, {source.name} has {len(frames)}")
    return LabelledVideo(truth, frames, config.evidence)


def detected_frames(raws: Iterable[RawResult], config: PipelineConfig) -> Iterator[DetectedFrame]:
    """Yield what a video's frames give to the tracker, down to the lowest of THRESHOLDS, from the models' outputs.

    raws: in order of the video. config: of the live pipeline; its calibration or fusion and frame quality apply.
    """
    config = replace(config, score_threshold=0.0, temporal=None)
    cues = FrameCues(config.frame_quality)
    for raw in raws:
        motion, quality = cues.update(raw.frame, raw.field_of_view)
        motion = motion if raw.frame.continues else replace(motion, cut=True)
        detections = stronger(fuse_box_and_mask(raw, config)[0], THRESHOLDS[0])
        signal_ok, is_clear = raw.signal == "ok", quality == "clear"
        yield DetectedFrame(raw.frame.pts_s, detections, raw.field_of_view, signal_ok, motion, is_clear)


def sweep(
    videos: Sequence[LabelledVideo],
    *,
    base_config: TemporalConfig,
    min_alarm_s: float,
    thresholds: Sequence[float] = THRESHOLDS,
    confirm_times_s: Sequence[float] = CONFIRM_TIMES_S,
) -> list[Point]:
    """Evaluate every threshold with every confirmation time.

    base_config: all other settings of the tracker. min_alarm_s: `false_rate` counts false alarms of at least this
    duration, one of `DURATIONS_S`.
    """
    pairs = [(threshold, confirm_s) for confirm_s in confirm_times_s for threshold in thresholds]
    progress = tqdm(pairs, desc="thresholds and times", unit="point")
    return [
        _point(videos, threshold, replace(base_config, confirm_s=confirm_s), min_alarm_s)
        for threshold, confirm_s in progress
    ]


def _point(videos: Sequence[LabelledVideo], threshold: float, config: TemporalConfig, min_alarm_s: float) -> Point:
    seen = [(list(seen_frames(video, threshold, config)), video.truth.labelled_period_s) for video in videos]
    events = event_figures([video_record(frames, period_s=period_s) for frames, period_s in seen])
    assert events.sensitivity is not None  # the caller checks that the videos have a polyp
    figures = {
        "sensitivity": round(events.sensitivity, 4),
        "polyps": events.polyps,
        "missed": events.missed,
        "first_shown_s": None if events.first_shown_s is None else round(events.first_shown_s, 3),
        "minutes": round(events.minutes, 3),
        "false_alarms_per_minute": {
            f"{duration_s:g} s": round(rate, 3) for duration_s, rate in events.false_alarms_per_minute.items()
        },
    }
    rate = events.false_alarms_per_minute[min_alarm_s]
    return Point(threshold, config.confirm_s, events.sensitivity, events.first_shown_s, rate, figures)


def seen_frames(
    video: LabelledVideo, threshold: float, config: TemporalConfig, evidence: Evidence | None = None
) -> Iterator[SeenFrame]:
    """Yield the boxes that the viewer would show in each labelled frame, with the true ones.

    evidence: in place of the video's own.
    """
    # A cut of the truth does not reset the tracker: the live pipeline has to notice it in the picture.
    shown, scored = shown_boxes(video, threshold, config, evidence), dict(video.truth.labelled_frames())
    for index, (found, true) in enumerate(zip(video.frames, video.truth.frames, strict=True)):
        if index in scored:
            yield SeenFrame(found.pts_s, true.polyps, true.difficult, shown[index], scored[index].cut)


def shown_boxes(
    video: LabelledVideo, threshold: float, config: TemporalConfig, evidence: Evidence | None = None
) -> list[Boxes]:
    """Return the boxes that the viewer would show in each frame, each (k, 4). evidence: in place of the video's own."""
    tracker, rules = Tracker(config), rules_of(config, evidence or video.evidence, threshold)
    floor = min(threshold, WEAK_THRESHOLD)
    rows = tracker.run_batch(video.batch, 0, len(video.frames), rules, floor, lambda entry, box: None)
    rows = rows[rows[:, OUT_STATE] > TENTATIVE]
    entries = rows[:, OUT_ENTRY].astype(np.int64)
    fields = video.fields[entries]
    boxes = np.clip(rows[:, OUT_BOX], np.tile(fields[:, :2], 2), np.tile(fields[:, 2:], 2)).astype(np.float32)
    signal_ok = np.array([one.signal_ok for one in video.frames], np.bool_)
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & signal_ok[entries]
    ends = np.searchsorted(entries[seen], np.arange(len(video.frames) + 1))
    return [boxes[seen][first:last] for first, last in pairwise(ends)]


def sweep_stills(images: Sequence[ImageBoxes]) -> list[Point]:
    """Evaluate every threshold on stills. Raises ValueError if no still has a true box."""
    if not any(len(image.true) for image in images):
        raise ValueError("no still has a polyp: sensitivity needs one")
    return [_still_point(images, threshold) for threshold in THRESHOLDS]


def _still_point(images: Sequence[ImageBoxes], threshold: float) -> Point:
    shown = [image.found[image.scores >= threshold] for image in images]
    matched = sum(int(matches(boxes, image.true).any(0).sum()) for boxes, image in zip(shown, images, strict=True))
    false = sum(int(false_boxes(boxes, image.true).sum()) for boxes, image in zip(shown, images, strict=True))
    polyps = sum(len(image.true) for image in images)
    sensitivity, rate = matched / polyps, false / len(images)
    figures = {
        "sensitivity": round(sensitivity, 4),
        "polyps": polyps,
        "missed": polyps - matched,
        "images": len(images),
        "false_boxes_per_image": round(rate, 4),
    }
    return Point(threshold, None, sensitivity, None, rate, figures)


def choose(points: Sequence[Point], max_false_rate: float) -> Point | None:
    """Return the best point with at most this rate of false alarms; None if there is none that finds a polyp.

    The best point has the highest sensitivity; of several such, the one that shows polyps soonest, then the one with
    the lowest false rate.
    """
    allowed = [point for point in points if point.sensitivity > 0 and point.false_rate <= max_false_rate + _ROUNDING]
    return min(allowed, key=_preference, default=None)


def lowest_false_rate(points: Sequence[Point]) -> Point | None:
    """Return the point with the lowest false rate, the best of several such; None if no point finds a polyp."""
    sensitive = [point for point in points if point.sensitivity > 0]
    return min(sensitive, key=lambda point: (point.false_rate, *_preference(point)), default=None)


def _preference(point: Point) -> tuple[float, float, float, float]:
    """Return a sort key: the smallest is the best point."""
    first_shown_s = 0.0 if point.first_shown_s is None else point.first_shown_s
    return -point.sensitivity, first_shown_s, point.false_rate, -point.score_threshold
