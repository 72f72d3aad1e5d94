"""Plots of a calibration: reliability diagrams, and operating points as sensitivity against false alarms."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration.fitting.fit import FitResult
from calibration.fitting.sweep import Point
from realtime_polyp.metrics.curves import Reliability
from realtime_polyp.temporal.config import Evidence

matplotlib.use("Agg")  # these run on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"  # of the Okabe-Ito palette, safe for colour-blind readers
_ALLOWED = "#e8f3ec"  # background of the allowed false rates


def draw_reliability(found: FitResult, path: Path, *, title: str, things: str) -> None:
    """Plot the reliability before and after calibration, above the number of `things` (boxes or cells) per bin."""
    figure, axes = plt.subplots(
        2, 2, figsize=(10.4, 6.6), sharex=True, sharey="row", constrained_layout=True,
        gridspec_kw={"height_ratios": (3.4, 1)},
    )  # fmt: skip
    sides = {"before": found.before, "calibrated, on held-out patients": found.after}
    for column, (name, bins) in enumerate(sides.items()):
        _reliability_panel(axes[0, column], bins, name)
        _counts_panel(axes[1, column], bins)
    axes[0, 0].set_ylabel("share that is right")
    axes[1, 0].set_ylabel(things)
    axes[0, 0].legend(loc="upper left", fontsize=9)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def _reliability_panel(axis: Axes, bins: Reliability, name: str) -> None:
    edges = np.linspace(0, 1, len(bins.count) + 1)
    axis.plot([0, 1], [0, 1], "--", color="#888888", lw=1.2, label="perfect calibration")
    axis.bar(edges[:-1], np.nan_to_num(bins.accuracy), width=np.diff(edges), align="edge", color=_BLUE, alpha=0.3,
             edgecolor=_BLUE, label="share right in each bin")  # fmt: skip
    axis.plot(bins.confidence, bins.accuracy, "o", color=_ORANGE, ms=6, label="at the bin's mean score")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.set_title(f"{name}: ECE {100 * (bins.error or 0):.1f} %", fontsize=10)
    axis.grid(alpha=0.3)


def _counts_panel(axis: Axes, bins: Reliability) -> None:
    edges = np.linspace(0, 1, len(bins.count) + 1)
    axis.bar(edges[:-1], bins.count, width=np.diff(edges), align="edge", color="#777777", edgecolor="white")
    axis.set(xlabel="score", yscale="log")
    axis.grid(alpha=0.3)


def draw_operating_points(
    points: Sequence[Point], path: Path, *, wanted: float, marked: Point, chosen: bool, title: str, rate: str
) -> None:
    """Plot sensitivity, and on videos the time to the first box, against false alarms; one line per confirmation time.

    Args:
        points: all candidates.
        path: of the image.
        wanted: highest allowed false rate, in the unit `rate`.
        marked: the chosen point, or the closest one if none is allowed.
        chosen: whether `marked` is the chosen point.
        title: of the figure.
        rate: label of the horizontal axis.
    """
    timed = marked.confirm_s is not None
    figure, axes = plt.subplots(
        1 + timed, 1, figsize=(10.4, 7.6 if timed else 5.2), sharex=True, squeeze=False, constrained_layout=True
    )
    for axis, (name, height) in zip(axes[:, 0], _PANELS.items(), strict=False):
        axis.axvspan(0, wanted, color=_ALLOWED, zorder=0, label=f"allowed: at most {wanted:g}")
        _plot_frontiers(axis, points, height)
        _mark(axis, marked, height(marked), chosen=chosen)
        axis.set(ylabel=name)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylim(min(80, axes[0, 0].get_ylim()[0]), 102)
    axes[0, 0].set_title(title, fontsize=11)
    heading = "a box is shown" if timed else None
    axes[0, 0].legend(title=heading, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    _scale_rates(axes[-1, 0], max(point.false_rate for point in points), wanted)
    axes[-1, 0].set_xlabel(rate)
    _save(figure, path)


def draw_evidence(curves: Mapping[str, Evidence], confirm_s: float, path: Path, *, title: str) -> None:
    """Plot evidence curves by name, and how long a box with a steady score takes to be shown.

    confirm_s: evidence that shows a track, s.
    """
    figure, axes = plt.subplots(2, 1, figsize=(8.4, 6.6), sharex=True, constrained_layout=True)
    for (name, curve), colour in zip(curves.items(), cycle((_ORANGE, _BLUE, _GREEN)), strict=False):
        scores = np.linspace(min(curve.scores), 1, 400)
        weights = np.interp(scores, curve.scores, curve.weights)
        axes[0].plot(scores, weights, color=colour, lw=2, label=name)
        axes[1].plot(scores, confirm_s / np.maximum(weights, 1e-6), color=colour, lw=2)
    axes[0].set(ylabel="evidence weight", ylim=(0, 1.03))
    axes[0].set_title(title, fontsize=10)
    axes[0].legend()
    axes[1].set(ylabel="shown after, s", xlabel="steady score", yscale="log", ylim=(0.05, 20), xlim=(0.28, 1))
    axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for axis in axes:
        axis.grid(alpha=0.3)
    _save(figure, path)


def _scale_rates(axis: Axes, largest: float, wanted: float) -> None:
    """Use a logarithmic axis that includes zero and resolves rates near the wanted one."""
    linear_to = wanted or max(largest / 10, 1e-3)
    axis.set_xscale("symlog", linthresh=linear_to, linscale=1)
    axis.set_xlim(-0.06 * linear_to, max(1.2 * largest, 2 * linear_to))
    rates = [0.0, linear_to / 2, *(linear_to * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500))]
    axis.set_xticks([rate for rate in rates if rate <= max(largest, 2 * linear_to)], minor=False)
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _plot_frontiers(axis: Axes, points: Sequence[Point], height: Callable[[Point], float]) -> None:
    """Plot for each confirmation time the best points for a given false rate, as steps."""
    times = sorted({-1.0 if point.confirm_s is None else point.confirm_s for point in points})
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, max(2, len(times))))
    for colour, confirm_s in zip(colours, times, strict=False):
        line = frontier([point for point in points if point.confirm_s in (confirm_s, None)])
        label = "best threshold" if confirm_s < 0 else f"once seen for {confirm_s:g} s" if confirm_s else "at once"
        axis.plot(
            [point.false_rate for point in line], [height(point) for point in line], "o-",
            drawstyle="steps-post", color=colour, lw=1.6, ms=4, label=label,
        )  # fmt: skip


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other point with at most their false rate matches, in order of false rate."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.false_rate, _frontier_key(one))):
        if not best or _frontier_key(point) < _frontier_key(best[-1]):
            best.append(point)
    return best


def _frontier_key(point: Point) -> tuple[float, float]:
    """Return a sort key by sensitivity, then time to the first box; the smallest is the best."""
    return -point.sensitivity, np.inf if point.first_shown_s is None else point.first_shown_s


def _mark(axis: Axes, point: Point, height: float, *, chosen: bool) -> None:
    label = f"{'chosen' if chosen else 'none is allowed; closest'}: score from {point.score_threshold:g}"
    axis.plot(point.false_rate, height, "*", color=_ORANGE, ms=17, mec="white", zorder=5, label=label, clip_on=False)


def _first_shown(point: Point) -> float:
    return np.nan if point.first_shown_s is None else point.first_shown_s


_PANELS: dict[str, Callable[[Point], float]] = {
    "polyps found, %": lambda point: 100 * point.sensitivity,
    "first box after, s (median)": _first_shown,
}


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
