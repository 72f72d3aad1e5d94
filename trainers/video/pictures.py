"""Plots that summarise what a viewer would have seen in a video (METRICS 4)."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from realtime_polyp.metrics.events import FOR_S, WITHIN_S, EventFigures, Run, event_figures
from realtime_polyp.metrics.levels import Levels, price
from realtime_polyp.metrics.timeline import Timeline
from realtime_polyp.metrics.video import VideoReport

matplotlib.use("Agg")  # evaluation runs on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

_BLUE, _ORANGE, _GREEN, _RED = "#0072b2", "#d55e00", "#009e73", "#c0392b"
_GREY, _PALE = "#b4b4b4", "#dedede"
_MARKED_SCORES = (0.3, 0.5, 0.7, 0.9)
_BIN_S, _LAST_BIN_S = 0.1, 3.0
_RATES = (0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # ticks of the axis of false alarms per minute
_LINEAR_TO = 1.0  # false alarms per minute up to which the axis is linear, to include 0


def write_video_pictures(report: VideoReport, timelines: Sequence[Timeline], folder: Path) -> list[Path]:
    """Draw the FROC curve, the delay trade-off, the times of first display and a timeline per video.

    Plots without data are left out, and earlier files of them deleted. Returns the paths of the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ("froc", "withholding", "first_shown")
    paths = {name: folder / f"{name}.png" for name in names}
    for path in paths.values():
        path.unlink(missing_ok=True)
    if report.events.polyps:
        draw_froc(report, paths["froc"])
        draw_first_shown(report, paths["first_shown"])
    if any(record.false_alarms for record in report.single_ages[0.0]):
        draw_withholding(report, paths["withholding"])
    drawn = [path for path in paths.values() if path.exists()]
    for number, one in enumerate(timelines, 1):
        path = folder / f"timeline_{number}_{Path(one.name).stem}.png"
        draw_timeline(one, path)
        drawn.append(path)
    return drawn


def draw_froc(report: VideoReport, path: Path) -> None:
    """Plot the polyps found against false alarms per minute, over the score threshold (FROC)."""
    figure, axis = plt.subplots(figsize=(8.4, 5.6), constrained_layout=True)
    lines = {
        "without temporal filtering": (report.single_scores, _ORANGE, (6, -12)),
        "with temporal filtering": (report.scores, _BLUE, (6, 6)),
    }
    for name, (levels, colour, offset) in lines.items():
        _froc_line(axis, levels, name, colour, offset)
    axis.plot(
        *_froc_point(report.events), "*", color=_BLUE, ms=18, mec="white", zorder=5, label="operating point of the run"
    )
    axis.plot([], [], "o", color="#666666", ms=5, label="at this score threshold")
    axis.set(
        xlabel="false alarms per minute, of any length",
        ylabel=f"polyps found within {WITHIN_S:g} s, shown for {FOR_S:g} s, %",
    )
    axis.set_ylim(-6, 106)
    _scale_rates(axis)
    axis.set_title(f"Up and to the left is better: {_describe_videos(report)}", fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    _save(figure, path)


def _scale_rates(axis: Axes) -> None:
    largest = max(2 * _LINEAR_TO, axis.get_xlim()[1])
    axis.set_xscale("symlog", linthresh=_LINEAR_TO, linscale=1)
    axis.set_xlim(-0.06 * _LINEAR_TO, 1.5 * largest)
    axis.set_xticks([rate for rate in _RATES if rate <= 1.5 * largest])
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _froc_point(events: EventFigures) -> tuple[float, float]:
    return events.false_alarms_per_minute[0.0], 100 * (events.sensitivity or 0.0)


def _froc_line(axis: Axes, levels: Levels, name: str, colour: str, offset: tuple[int, int]) -> None:
    points = {level: _froc_point(event_figures(records)) for level, records in levels.items()}
    axis.plot(*zip(*points.values(), strict=True), "-", color=colour, lw=1.8, label=name)
    for score in _MARKED_SCORES:
        axis.plot(*points[score], "o", color=colour, ms=5)
        axis.annotate(f"{score:g}", points[score], xytext=offset, textcoords="offset points", fontsize=9, color=colour)


def draw_withholding(report: VideoReport, path: Path) -> None:
    """Plot benefit and cost of showing a box only after it has been detected without a gap for some time."""
    figure, axes = plt.subplots(3, 1, figsize=(8.4, 8.6), sharex=True, constrained_layout=True)
    before = report.single_ages[0.0]
    prices = {level: price(before, records) for level, records in report.single_ages.items()}
    found = [event_figures(records).sensitivity for records in report.single_ages.values()]
    whole = report.smoothing
    _curve(axes[0], list(prices), [_percent(one.removed[0.0]) for one in prices.values()], _percent(whole.removed[0.0]))
    _curve(axes[1], list(prices), [_percent(one) for one in found], _percent(report.events.sensitivity))
    _curve(axes[2], list(prices), [_or_nan(one.delay_s) for one in prices.values()], _or_nan(whole.delay_s))
    axes[0].set(ylabel="false alarms removed, %", ylim=(min(-4, axes[0].get_ylim()[0]), 104))
    axes[1].set(ylabel="polyps still found, %", ylim=(-4, 104))
    axes[2].set(ylabel="median added delay, s", xlabel="a box is shown after uninterrupted detection for, s")
    axes[0].set_title(f"Withholding short bursts: {_describe_videos(report)}", fontsize=11)
    axes[0].legend(loc="lower right", fontsize=9)
    _save(figure, path)


def _curve(axis: Axes, times: Sequence[float], values: Sequence[float], whole: float) -> None:
    """Plot one curve. whole: value of the complete temporal filter on the same videos; NaN if undefined."""
    axis.plot(times, values, "o-", color=_BLUE, lw=1.8, ms=5, label="withholding alone")
    axis.axhline(whole, color=_GREEN, ls="--", lw=1.8, label="complete temporal filter, as run")
    axis.grid(alpha=0.3)


def _percent(share: float | None) -> float:
    return np.nan if share is None else 100 * share


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def draw_first_shown(report: VideoReport, path: Path) -> None:
    """Plot a histogram of the time from a polyp's appearance to its first box, and the number never shown."""
    figure, axis = plt.subplots(figsize=(8.4, 4.8), constrained_layout=True)
    polyps = [polyp for record in report.records for polyp in record.polyps]
    firsts = [polyp.first_shown_s for polyp in polyps if polyp.first_shown_s is not None]
    edges = np.arange(0, _LAST_BIN_S + _BIN_S / 2, _BIN_S)
    # A time on an edge belongs to the bin that begins there, despite rounding errors.
    places = np.minimum(np.array(firsts) + 1e-6, _LAST_BIN_S + _BIN_S / 2)
    counts, _ = np.histogram(places, np.append(edges, _LAST_BIN_S + _BIN_S))
    axis.bar([*edges], counts, width=_BIN_S, align="edge", color=_BLUE, edgecolor="white", label="polyps first shown")
    if report.events.missed:
        axis.bar(_LAST_BIN_S + 4 * _BIN_S, report.events.missed, width=2 * _BIN_S, color=_RED, label="never shown")
    median_s = report.events.first_shown_s
    if median_s is not None:
        axis.axvline(median_s, color=_ORANGE, lw=2, label=f"median: {median_s:.2f} s")
    axis.set(xlabel="in view for, s", ylabel="polyps", xlim=(-0.05, _LAST_BIN_S + 0.6))
    axis.set_xticks([0, 0.5, 1, 1.5, 2, 2.5, _LAST_BIN_S + _BIN_S / 2, _LAST_BIN_S + 4 * _BIN_S])
    axis.set_xticklabels(["0", "0.5", "1", "1.5", "2", "2.5", "3\nor more", "never"])
    axis.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axis.set_title(f"How soon each polyp was shown: {_describe_videos(report)}", fontsize=11)
    axis.grid(alpha=0.3, axis="y")
    axis.legend(loc="upper right")
    _save(figure, path)


def draw_timeline(one: Timeline, path: Path) -> None:
    """Draw a row per polyp: in view (grey), shown (green); the last row holds the false alarms (red)."""
    count = len(one.polyps) + 1
    figure, axis = plt.subplots(figsize=(12, 1.6 + 0.42 * count), constrained_layout=True)
    for row, polyp in enumerate(one.polyps):
        _bars(axis, polyp.difficult, row, 0.2, _PALE, "difficult polyp: need not be found")
        _bars(axis, polyp.in_view, row, 0.62, _GREY, "polyp in view")
        _bars(axis, polyp.shown, row, 0.34, _GREEN, "shown")
    _bars(axis, one.false_alarms, count - 1, 0.62, _RED, "false alarm")
    for cut_s in one.cuts_s:
        axis.axvline(cut_s, color="#444444", lw=0.8, ls=":", label="cut")
    axis.set_yticks(range(count), [*(f"polyp {polyp.id}" for polyp in one.polyps), "false alarms"])
    axis.set(xlim=(0, one.duration_s or 1), ylim=(count - 0.5, -0.5), xlabel="time, s")
    axis.set_title(_timeline_title(one), fontsize=11)
    axis.grid(alpha=0.3, axis="x")
    _legend_once(axis)
    _save(figure, path)


def _timeline_title(one: Timeline) -> str:
    shown = sum(bool(polyp.shown) for polyp in one.polyps)
    alarms = len(one.false_alarms)
    return f"{one.name}: {shown} of {len(one.polyps)} polyps shown, {alarms} false alarm{'s' * (alarms != 1)}"


def _bars(axis: Axes, runs: Sequence[Run], row: int, height: float, colour: str, label: str) -> None:
    spans = [(run.start_s, run.duration_s) for run in runs]
    if spans:
        axis.broken_barh(spans, (row - height / 2, height), facecolors=colour, edgecolors=colour, lw=0.6, label=label)


def _legend_once(axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axis.legend(list(once.values()), list(once.keys()), loc="upper left", bbox_to_anchor=(1.005, 1.0), fontsize=9)


def _describe_videos(report: VideoReport) -> str:
    events = report.events
    videos = "1 video" if len(report.names) == 1 else f"{len(report.names)} videos"
    return f"{videos}, {events.minutes:.1f} minutes, {events.polyps} polyp{'s' * (events.polyps != 1)}"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)
    plt.close(figure)
