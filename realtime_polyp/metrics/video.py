"""METRICS 4 in one report: what one video was like to watch, or many together."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from realtime_polyp.metrics.events import EventFigures, event_figures
from realtime_polyp.metrics.frames import FrameCounts, count_frames
from realtime_polyp.metrics.levels import Levels, Price, Records, by_age, by_score, pooled_levels, price
from realtime_polyp.metrics.mask_stability import MaskStability, mask_stability
from realtime_polyp.metrics.stability import Stability, stability
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen, seen_frames


@dataclass(frozen=True)
class VideoReport:
    """Counts, so that reports can be put together; `figures` tells what they come to.

    unanswered: frames without a result of their own. records: of what was shown. scores: of what was shown, by the
    score demanded. single_scores, single_ages: the same of every frame's own detections, without memory of others, by
    score and by how long they were withheld.
    """

    names: tuple[str, ...]
    unanswered: int
    frames: FrameCounts
    records: Records
    boxes: Stability
    masks: MaskStability
    scores: Levels
    single_scores: Levels
    single_ages: Levels

    @property
    def events(self) -> EventFigures:
        return event_figures(self.records)

    @property
    def single_events(self) -> EventFigures:
        """Had every detection been shown at once."""
        return event_figures(self.single_ages[0.0])

    @property
    def smoothing(self) -> Price:
        """What was shown, against every detection at once."""
        return price(self.single_ages[0.0], self.records)


def video_report(truth: VideoTruth, shown: Sequence[ShownFrame], *, masks: bool = True) -> VideoReport:
    """shown: results of the video in order, some frames perhaps without one (see `on_screen`, which raises ValueError).

    masks: False leaves out what the masks tell, most of the time this takes.
    """
    screen = on_screen(truth, shown)
    seen = seen_frames(truth, [frame.boxes for frame in screen.frames])
    single = seen_frames(truth, [frame.detections.boxes for frame in screen.frames])
    scores = by_score(seen, [frame.scores for frame in screen.frames], period_s=truth.period_s)
    return VideoReport(
        names=(truth.name,),
        unanswered=screen.unanswered,
        frames=count_frames(seen),
        records=scores[0.0],
        boxes=stability(truth, screen.frames),
        masks=mask_stability(truth, screen.frames) if masks else MaskStability(),
        scores=scores,
        single_scores=by_score(single, [one.detections.scores for one in screen.frames], period_s=truth.period_s),
        single_ages=by_age(single, period_s=truth.period_s),
    )


def combined(reports: Sequence[VideoReport]) -> VideoReport:
    """All polyps, all false alarms and all minutes together. Raises ValueError without a report."""
    if not reports:
        raise ValueError("no video's report to put together")
    return VideoReport(
        names=tuple(name for one in reports for name in one.names),
        unanswered=sum(one.unanswered for one in reports),
        frames=sum((one.frames for one in reports), FrameCounts()),
        records=tuple(record for one in reports for record in one.records),
        boxes=sum((one.boxes for one in reports), Stability()),
        masks=sum((one.masks for one in reports), MaskStability()),
        scores=pooled_levels([one.scores for one in reports]),
        single_scores=pooled_levels([one.single_scores for one in reports]),
        single_ages=pooled_levels([one.single_ages for one in reports]),
    )


def figures(report: VideoReport) -> dict[str, Any]:
    """Every figure by name, for a JSON file; shares 0..1, None where nothing tells it."""
    return {
        "videos": list(report.names),
        "frames_without_result": report.unanswered,
        "frame_sensitivity": report.frames.sensitivity,
        "frame_specificity": report.frames.specificity,
        "events": _events_told(report.events),
        "boxes": _stability_told(report.boxes),
        "masks": {"step_iou": report.masks.step_iou, "dice": report.masks.dice},
        "every_detection_at_once": _events_told(report.single_events),
        "smoothing": _price_told(report.smoothing),
        "froc": _curve_told(report.scores),
        "froc_every_detection_at_once": _curve_told(report.single_scores),
        "withholding": [
            {
                "confirm_s": level,
                **_price_told(price(report.single_ages[0.0], records)),
                **_events_told(event_figures(records)),
            }
            for level, records in report.single_ages.items()
        ],
    }


def _events_told(events: EventFigures) -> dict[str, Any]:
    told = {one.name: getattr(events, one.name) for one in fields(events)}
    return {**told, "false_alarms_per_minute": _by_class(events.false_alarms_per_minute)}


def _price_told(paid: Price) -> dict[str, Any]:
    return {"alarms_removed": _by_class(paid.removed), "delay_s": paid.delay_s, "polyps_lost": paid.lost}


def _by_class(rates: Any) -> dict[str, Any]:
    return {f"{least_s:g} s": rate for least_s, rate in rates.items()}


def _curve_told(levels: Levels) -> list[dict[str, Any]]:
    return [{"score": level, **_events_told(event_figures(records))} for level, records in levels.items()]


def _stability_told(boxes: Stability) -> dict[str, Any]:
    names = (
        "switches", "switches_per_polyp", "gaps", "gaps_per_polyp", "mean_gap_s", "toggles_per_minute",
        "step_iou", "place_jitter", "size_jitter", "box_iou",
    )  # fmt: skip
    return {name: getattr(boxes, name) for name in names}
