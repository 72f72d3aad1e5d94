"""All video metrics (docs/accuracy.md) in one report, of one video or several together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from realtime_polyp.metrics.events import EventFigures, event_figures
from realtime_polyp.metrics.frames import FrameCounts, count_frames
from realtime_polyp.metrics.levels import Levels, Price, Records, by_age, by_score, pool_levels, price
from realtime_polyp.metrics.mask_stability import MaskStability, mask_stability
from realtime_polyp.metrics.shape_agreement import ShapeAgreement, shape_agreement
from realtime_polyp.metrics.stability import Stability, stability
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen, seen_frames


@dataclass(frozen=True)
class VideoReport:
    """Counts and records of one or more videos, which `combine` adds up. `figures` returns the metrics.

    Attributes:
        names: truth files of the videos.
        unanswered: number of frames without a result.
        frames: counts for frame sensitivity and specificity.
        records: events of what was shown, one record per video.
        boxes: stability of the shown boxes.
        masks: stability of the shown masks.
        shapes: agreement of the shown boxes with their outlines.
        scores: events of what was shown, by score threshold.
        single_scores: events of the detections of each frame alone, by score threshold.
        single_ages: events of the detections of each frame alone, by how long they are withheld.
    """

    names: tuple[str, ...]
    unanswered: int
    frames: FrameCounts
    records: Records
    boxes: Stability
    masks: MaskStability
    shapes: ShapeAgreement
    scores: Levels
    single_scores: Levels
    single_ages: Levels

    @property
    def events(self) -> EventFigures:
        return event_figures(self.records)

    @property
    def single_events(self) -> EventFigures:
        """Event metrics if every detection were shown at once."""
        return event_figures(self.single_ages[0.0])

    @property
    def smoothing(self) -> Price:
        """What was shown, compared with showing every detection at once."""
        return price(self.single_ages[0.0], self.records)


def video_report(truth: VideoTruth, shown: Sequence[ShownFrame], *, masks: bool = True) -> VideoReport:
    """Compute all metrics of one video. Raises ValueError if the results are not of this video.

    shown: results in order; frames may be missing (see `on_screen`). Unlabelled frames are not scored: a labelled one
    lasts until the next labelled one, at most 1 s. masks: False skips the mask metrics, which take most of the time.
    """
    screen = on_screen(truth, shown)
    seen = seen_frames(truth, [frame.boxes for frame in screen.frames])
    single = seen_frames(truth, [frame.detections.boxes for frame in screen.frames])
    part, frames = truth.labelled_part(), [screen.frames[index] for index, _ in truth.labelled_frames()]
    period_s = truth.labelled_period_s
    scores = by_score(seen, [frame.scores for frame in frames], period_s=period_s)
    return VideoReport(
        names=(truth.name,),
        unanswered=screen.unanswered,
        frames=count_frames(seen),
        records=scores[0.0],
        boxes=stability(part, frames),
        masks=mask_stability(part, frames) if masks else MaskStability(),
        shapes=shape_agreement(screen.frames, truth.period_s),
        scores=scores,
        single_scores=by_score(single, [one.detections.scores for one in frames], period_s=period_s),
        single_ages=by_age(single, period_s=period_s),
    )


def combine(reports: Sequence[VideoReport]) -> VideoReport:
    """Combine reports over the polyps, false alarms and minutes of all videos. Raises ValueError without a report."""
    if not reports:
        raise ValueError("no report to combine; at least one video is needed")
    return VideoReport(
        names=tuple(name for one in reports for name in one.names),
        unanswered=sum(one.unanswered for one in reports),
        frames=sum((one.frames for one in reports), FrameCounts()),
        records=tuple(record for one in reports for record in one.records),
        boxes=sum((one.boxes for one in reports), Stability()),
        masks=sum((one.masks for one in reports), MaskStability()),
        shapes=sum((one.shapes for one in reports), ShapeAgreement()),
        scores=pool_levels([one.scores for one in reports]),
        single_scores=pool_levels([one.single_scores for one in reports]),
        single_ages=pool_levels([one.single_ages for one in reports]),
    )


def figures(report: VideoReport) -> dict[str, Any]:
    """Return every metric by name, for a JSON file. Shares are in 0..1; undefined metrics are None."""
    return {
        "videos": list(report.names),
        "frames_without_result": report.unanswered,
        "frame_sensitivity": report.frames.sensitivity,
        "frame_specificity": report.frames.specificity,
        "events": _events_to_dict(report.events),
        "boxes": _stability_to_dict(report.boxes),
        "masks": {"step_iou": report.masks.step_iou, "dice": report.masks.dice},
        "shapes": {
            "median_iou": report.shapes.median_iou,
            "low_iou": report.shapes.low_iou,
            "boxes_without_outline": report.shapes.alone,
            "longest_without_outline_s": report.shapes.longest_alone_s if report.shapes.boxes else None,
        },
        "every_detection_at_once": _events_to_dict(report.single_events),
        "smoothing": _price_to_dict(report.smoothing),
        "froc": _curve_to_list(report.scores),
        "froc_every_detection_at_once": _curve_to_list(report.single_scores),
        "withholding": [
            {
                "confirm_s": level,
                **_price_to_dict(price(report.single_ages[0.0], records)),
                **_events_to_dict(event_figures(records)),
            }
            for level, records in report.single_ages.items()
        ],
    }


def _events_to_dict(events: EventFigures) -> dict[str, Any]:
    content = {one.name: getattr(events, one.name) for one in fields(events)}
    return {**content, "false_alarms_per_minute": _by_class(events.false_alarms_per_minute)}


def _price_to_dict(price: Price) -> dict[str, Any]:
    return {"alarms_removed": _by_class(price.removed), "delay_s": price.delay_s, "polyps_lost": price.lost}


def _by_class(rates: Mapping[float, float | None]) -> dict[str, Any]:
    return {f"{least_s:g} s": rate for least_s, rate in rates.items()}


def _curve_to_list(levels: Levels) -> list[dict[str, Any]]:
    return [{"score": level, **_events_to_dict(event_figures(records))} for level, records in levels.items()]


def _stability_to_dict(boxes: Stability) -> dict[str, Any]:
    names = (
        "switches", "switches_per_polyp", "gaps", "gaps_per_polyp", "mean_gap_s", "toggles_per_minute",
        "step_iou", "position_jitter", "size_jitter", "box_iou",
    )  # fmt: skip
    keys = {"position_jitter": "place_jitter"}  # the name in the file
    return {keys.get(name, name): getattr(boxes, name) for name in names}
