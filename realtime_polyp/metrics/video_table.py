"""Formats the video metrics (docs/accuracy.md) as a text table, one column per report."""

from collections.abc import Callable, Mapping

from realtime_polyp.metrics.events import DURATIONS_S, FOR_LONGER_S, FOR_S, WITHIN_S
from realtime_polyp.metrics.video import VideoReport
from realtime_polyp.telemetry.text_table import format_table

_NOTHING = "-"
Cell = Callable[[VideoReport], str]


def table(columns: Mapping[str, VideoReport]) -> str:
    """Format reports as a table. columns: {heading: report}, such as {"raw": ..., "smoothed": ...}."""
    rows = [[name, *(cell(report) for report in columns.values())] for name, cell in _ROWS.items()]
    return format_table(["", *columns], rows)


def _percent(value: float | None, digits: int = 1) -> str:
    return _NOTHING if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None, unit: str = "", digits: int = 2) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}{unit}"


def _quartiles(report: VideoReport) -> str:
    quartiles = report.events.first_shown_quartiles_s
    return _NOTHING if quartiles is None else f"{quartiles[0]:.2f} - {quartiles[1]:.2f} s"


def _alarms(least_s: float) -> Cell:
    return lambda report: _number(report.events.false_alarms_per_minute.get(least_s))


_ROWS: dict[str, Cell] = {
    "minutes of video": lambda report: _number(report.events.minutes),
    "frames without a result": lambda report: str(report.unanswered),
    "polyps": lambda report: str(report.events.polyps),
    f"found within {WITHIN_S:g} s, for {FOR_S:g} s": lambda report: _percent(report.events.sensitivity),
    f"found within {WITHIN_S:g} s, for {FOR_LONGER_S:g} s": lambda report: _percent(report.events.sensitivity_longer),
    "never shown": lambda report: str(report.events.missed),
    "first shown after, median": lambda report: _number(report.events.first_shown_s, " s"),
    "first shown after, quartiles": _quartiles,
    "false alarms per minute, any": _alarms(DURATIONS_S[0]),
    **{f"false alarms per minute, >= {least_s:g} s": _alarms(least_s) for least_s in DURATIONS_S[1:]},
    "frame sensitivity": lambda report: _percent(report.frames.sensitivity),
    "frame specificity": lambda report: _percent(report.frames.specificity),
    "identity switches per polyp": lambda report: _number(report.boxes.switches_per_polyp),
    "gaps per polyp": lambda report: _number(report.boxes.gaps_per_polyp),
    "gap, mean": lambda report: _number(report.boxes.mean_gap_s, " s"),
    "on/off per minute of polyp in view": lambda report: _number(report.boxes.toggles_per_minute, digits=1),
    "box, IoU from frame to frame": lambda report: _number(report.boxes.step_iou, digits=3),
    "box jitter, position (of its size)": lambda report: _percent(report.boxes.position_jitter),
    "box jitter, size (of its size)": lambda report: _percent(report.boxes.size_jitter),
    "box, IoU with the polyp": lambda report: _number(report.boxes.box_iou, digits=3),
    "mask, IoU from frame to frame": lambda report: _number(report.masks.step_iou, digits=3),
    "mask, Dice": lambda report: _number(report.masks.dice, digits=3),
    "box and its outline, IoU, median": lambda report: _number(report.shapes.median_iou, digits=3),
    "box and its outline, IoU, 10th percentile": lambda report: _number(report.shapes.low_iou, digits=3),
    "shown boxes without an outline": lambda report: _percent(report.shapes.alone),
    "  longest": lambda report: _number(report.shapes.longest_alone_s if report.shapes.boxes else None, " s"),
    "compared with every detection shown at once:": lambda report: "",
    "  false alarms removed, any": lambda report: _percent(report.smoothing.removed[DURATIONS_S[0]]),
    "  polyps shown later by, median": lambda report: _number(report.smoothing.delay_s, " s"),
    "  polyps lost": lambda report: str(report.smoothing.lost),
}
