"""Evaluate fusion: metrics of boxes and masks before and after, as a table and as curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from calibration.fusing.dataset import FusionSample
from realtime_polyp.metrics.bootstrap import Draw, Interval, draws, intervals, weights_of
from realtime_polyp.metrics.curves import detection_reliability
from realtime_polyp.metrics.detection import ImageBoxes, coco_ap
from realtime_polyp.metrics.matches import match
from realtime_polyp.metrics.overlaps import false_boxes, matches
from realtime_polyp.metrics.segmentation import Counts, count, scores_of
from realtime_polyp.postprocess.fusion import Fusion, fuse

matplotlib.use("Agg")  # works without a display
import matplotlib.pyplot as plt  # noqa: E402

_BLUE, _ORANGE = "#0072b2", "#d55e00"  # distinguishable with colour blindness
_HEADINGS = ("set", "images", "AP", "AP50", "AP75", "found %", "false boxes per image", "Dice", "false masks, %")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class EvaluatedView:
    """The metrics of one view, before or after fusion.

    Attributes:
        centre: name of the centre.
        group: patient or video.
        boxes: true boxes and detections.
        mask: pixel counts of the mask against the truth.
    """

    centre: str
    group: str
    boxes: ImageBoxes
    mask: Counts


@dataclass(frozen=True)
class Evaluation:
    """A set of views, before or after fusion.

    Attributes:
        views: its views.
        threshold: score from which boxes are shown.
    """

    views: Sequence[EvaluatedView]
    threshold: float

    def select_centre(self, centre: str) -> "Evaluation":
        """The views of one centre."""
        return Evaluation([view for view in self.views if view.centre == centre], self.threshold)


def evaluate_views(samples: Sequence[FusionSample], fusion: Fusion | None) -> list[EvaluatedView]:
    """Evaluate the samples with fusion; None: the raw predictions."""
    return [_evaluate_view(one, fusion) for one in samples]


def _evaluate_view(one: FusionSample, fusion: Fusion | None) -> EvaluatedView:
    detections, mask = fuse(one.detections, one.mask, fusion) if fusion else (one.detections, one.mask)
    boxes = ImageBoxes(one.true_boxes, np.asarray(detections.boxes), detections.scores)
    return EvaluatedView(one.centre, one.group, boxes, count(mask.to_source(*one.size), one.true_mask))


def hit_scores(views: Sequence[EvaluatedView]) -> Values:
    """Return, for each view with a polyp, the highest score of a box that finds one; 0 where none does."""
    best = [
        np.where(matches(one.boxes.found, one.boxes.true).any(axis=1), one.boxes.scores, 0)
        for one in views
        if len(one.boxes.true)
    ]
    return np.array([found.max(initial=0.0) for found in best], np.float64)


def false_alarm_scores(views: Sequence[EvaluatedView]) -> Values:
    """Return the scores of all boxes that find no polyp."""
    false = [one.boxes.scores[false_boxes(one.boxes.found, one.boxes.true)] for one in views]
    return np.concatenate([np.zeros(0), *false])


def threshold_for_hits(views: Sequence[EvaluatedView], wanted: int) -> float:
    """Return the highest threshold, a multiple of 0.001, at which a polyp is found in at least `wanted` views."""
    rising = np.sort(hit_scores(views))
    return 0.0 if wanted < 1 else float(np.floor(1000 * rising[len(rising) - wanted]) / 1000)


def mean_dice(views: Sequence[EvaluatedView]) -> float:
    """Return the mean Dice of the masks."""
    return float(np.mean([scores_of(view.mask).dice for view in views]))


def format_table(rows: dict[str, tuple[Evaluation, Evaluation]]) -> str:
    """Format a Markdown table of {row: (before, after)}; a dash where a metric is not defined."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---" * len(_HEADINGS) + "|"]
    for name, (before, after) in rows.items():
        pairs = zip(_figures(before), _figures(after), strict=True)
        cells = [_pair(*pair) for pair in pairs]
        lines.append(f"| {name} | {len(before.views)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figures(side: Evaluation) -> list[str]:
    ap = coco_ap([view.boxes for view in side.views])
    finding, false = hit_scores(side.views), false_alarm_scores(side.views)
    background = [view.mask for view in side.views if view.mask.tp + view.mask.fn == 0]
    return [
        *("-" if ap[name] is None else f"{ap[name]:.3f}" for name in ("AP", "AP50", "AP75")),
        f"{100 * (finding >= side.threshold).mean():.1f}" if len(finding) else "-",
        f"{(false >= side.threshold).sum() / len(side.views):.3f}",
        f"{mean_dice(side.views):.3f}",
        f"{100 * np.mean([mask.fp > 0 for mask in background]):.1f}" if background else "-",
    ]


def _pair(before: str, after: str) -> str:
    return "-" if before == after == "-" else f"{before} -> {after}"


def calibration_errors(sides: Sequence[Evaluation]) -> list[float | None]:
    """Return the expected calibration error of each set's boxes, matched at IoU 0.5."""
    return [detection_reliability([view.boxes for view in side.views]).error for side in sides]


def ap_gain(before: Evaluation, after: Evaluation, *, samples: int) -> Interval | None:
    """Return the 95 % bootstrap interval of the AP gain; whole patients or videos are drawn, the same for both."""
    sides = [match([view.boxes for view in side.views]) for side in (before, after)]
    size = len(before.views)

    def gain(draw: Draw) -> dict[str, float | None]:
        first, second = (side.average_precision(weights_of(draw, size)) for side in sides)
        return {"gain": None if first is None or second is None else second - first}

    groups = [view.group for view in before.views]
    return intervals(draws(size, samples=samples, groups=groups), gain)["gain"]


def draw_gain(
    stills: tuple[Evaluation, Evaluation], background: tuple[Evaluation, Evaluation], path: Path, *, title: str
) -> None:
    """Plot the share of images with a found polyp against false boxes per image, on stills and background views."""
    figure, axes = plt.subplots(1, 2, figsize=(10.4, 4.6), sharey=True, constrained_layout=True)
    for axis, name, sides in ((axes[0], "stills", stills), (axes[1], "background views", background)):
        for before_after, colour, label in zip((0, 1), (_BLUE, _ORANGE), ("not fused", "fused"), strict=True):
            _draw_curve(axis, stills[before_after], sides[before_after], colour, label)
        axis.set(xlabel=f"false boxes per image, {name}", xlim=(0, 0.6), ylim=(0.6, 1.0))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of images with a found polyp")
    axes[0].legend(loc="lower right", fontsize=9)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_curve(axis: Axes, stills: Evaluation, side: Evaluation, colour: str, label: str) -> None:
    finding, false = np.sort(hit_scores(stills.views)), np.sort(false_alarm_scores(side.views))
    thresholds = np.unique(np.concatenate([finding, false]))
    found = 1 - np.searchsorted(finding, thresholds) / max(1, len(finding))
    rate = (len(false) - np.searchsorted(false, thresholds)) / max(1, len(side.views))
    axis.plot(rate, found, color=colour, lw=1.6, label=label)
    at = [(false >= side.threshold).sum() / max(1, len(side.views)), (finding >= side.threshold).mean()]
    axis.plot(*at, "o", color=colour, ms=7, mec="white", label=f"{label}, threshold {side.threshold:g}")
