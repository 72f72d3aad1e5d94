"""How boxes and masks do before and after the two models heard each other: as a table, and as curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from calibration.fusing.dataset import Seen
from realtime_polyp.metrics.bootstrap import Draw, Interval, draws, intervals, weights_of
from realtime_polyp.metrics.curves import detection_reliability
from realtime_polyp.metrics.detection import ImageBoxes, coco_ap
from realtime_polyp.metrics.matches import match
from realtime_polyp.metrics.overlaps import matches
from realtime_polyp.metrics.segmentation import Counts, count, scores_of
from realtime_polyp.postprocess.fusion import Fusion, fuse

matplotlib.use("Agg")  # these run on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

_BLUE, _ORANGE = "#0072b2", "#d55e00"  # apart for the colour-blind too
_FRAME_IOU = 0.2  # METRICS 4: a picture's polyp is found by a shown box that overlaps it so far
_HEADINGS = ("set", "images", "AP", "AP50", "AP75", "found %", "false boxes an image", "Dice", "mask where none is, %")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One view's boxes and mask beside the truth, at the stored image's size."""

    centre: str
    group: str
    boxes: ImageBoxes
    mask: Counts


@dataclass(frozen=True)
class Side:
    """The same views before or after, and the score from which a box is shown there."""

    views: Sequence[Judged]
    threshold: float

    def of(self, centre: str) -> "Side":
        return Side([view for view in self.views if view.centre == centre], self.threshold)


def judged(seen: Sequence[Seen], fusion: Fusion | None) -> list[Judged]:
    """fusion: None for what the models said themselves."""
    return [_judged(one, fusion) for one in seen]


def _judged(one: Seen, fusion: Fusion | None) -> Judged:
    detections, mask = fuse(one.detections, one.mask, fusion) if fusion else (one.detections, one.mask)
    boxes = ImageBoxes(one.true, np.asarray(detections.boxes), detections.scores)
    return Judged(one.centre, one.group, boxes, count(mask.to_source(*one.size), one.true_mask))


def finding_scores(views: Sequence[Judged]) -> Values:
    """Of each view with a polyp, the score of its best box that finds one, 0 where none does."""
    best = [
        np.where(matches(one.boxes.found, one.boxes.true, least_iou=_FRAME_IOU).any(axis=1), one.boxes.scores, 0)
        for one in views
        if len(one.boxes.true)
    ]
    return np.array([found.max(initial=0.0) for found in best], np.float64)


def false_scores(views: Sequence[Judged]) -> Values:
    """The scores of all boxes that find no polyp."""
    false = [
        one.boxes.scores[~matches(one.boxes.found, one.boxes.true, least_iou=_FRAME_IOU).any(axis=1)] for one in views
    ]
    return np.concatenate([np.zeros(0), *false])


def threshold_finding(views: Sequence[Judged], wanted: int) -> float:
    """The highest threshold, in thousandths, at which `wanted` views or more have a polyp found."""
    rising = np.sort(finding_scores(views))
    return 0.0 if wanted < 1 else float(np.floor(1000 * rising[len(rising) - wanted]) / 1000)


def mean_dice(views: Sequence[Judged]) -> float:
    return float(np.mean([scores_of(view.mask).dice for view in views]))


def table(rows: dict[str, tuple[Side, Side]]) -> str:
    """In Markdown; of each figure before and after. A dash where a set has nothing to tell it from."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---" * len(_HEADINGS) + "|"]
    for name, (before, after) in rows.items():
        pairs = zip(_figures(before), _figures(after), strict=True)
        cells = [_pair(*pair) for pair in pairs]
        lines.append(f"| {name} | {len(before.views)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figures(side: Side) -> list[str]:
    ap = coco_ap([view.boxes for view in side.views])
    finding, false = finding_scores(side.views), false_scores(side.views)
    free = [view.mask for view in side.views if view.mask.tp + view.mask.fn == 0]
    return [
        *("-" if ap[name] is None else f"{ap[name]:.3f}" for name in ("AP", "AP50", "AP75")),
        f"{100 * (finding >= side.threshold).mean():.1f}" if len(finding) else "-",
        f"{(false >= side.threshold).sum() / len(side.views):.3f}",
        f"{mean_dice(side.views):.3f}",
        f"{100 * np.mean([mask.fp > 0 for mask in free]):.1f}" if free else "-",
    ]


def _pair(before: str, after: str) -> str:
    return "-" if before == after == "-" else f"{before} -> {after}"


def calibration_errors(sides: Sequence[Side]) -> list[float | None]:
    """Expected calibration error of each side's boxes, right at IoU 0.5."""
    return [detection_reliability([view.boxes for view in side.views]).error for side in sides]


def ap_gain(before: Side, after: Side, *, samples: int) -> Interval | None:
    """The 95 % interval of the gain in AP, whole patients or videos drawn alike for both sides."""
    sides = [match([view.boxes for view in side.views]) for side in (before, after)]
    size = len(before.views)

    def gain(draw: Draw) -> dict[str, float | None]:
        first, second = (side.average_precision(weights_of(draw, size)) for side in sides)
        return {"gain": None if first is None or second is None else second - first}

    groups = [view.group for view in before.views]
    return intervals(draws(size, samples=samples, groups=groups), gain)["gain"]


def draw_gain(stills: tuple[Side, Side], free: tuple[Side, Side], path: Path, *, title: str) -> None:
    """Pictures whose polyp is found against false boxes an image, on the stills and on views without a polyp."""
    figure, axes = plt.subplots(1, 2, figsize=(10.4, 4.6), sharey=True, constrained_layout=True)
    for axis, name, sides in ((axes[0], "the stills", stills), (axes[1], "views without a polyp", free)):
        for before_after, colour, label in zip((0, 1), (_BLUE, _ORANGE), ("alone", "fused"), strict=True):
            _draw_curve(axis, stills[before_after], sides[before_after], colour, label)
        axis.set(xlabel=f"false boxes an image, {name}", xlim=(0, 0.6), ylim=(0.6, 1.0))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of pictures whose polyp is found")
    axes[0].legend(loc="lower right", fontsize=9)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_curve(axis: Axes, stills: Side, side: Side, colour: str, label: str) -> None:
    finding, false = np.sort(finding_scores(stills.views)), np.sort(false_scores(side.views))
    thresholds = np.unique(np.concatenate([finding, false]))
    found = 1 - np.searchsorted(finding, thresholds) / max(1, len(finding))
    rate = (len(false) - np.searchsorted(false, thresholds)) / max(1, len(side.views))
    axis.plot(rate, found, color=colour, lw=1.6, label=label)
    at = [(false >= side.threshold).sum() / max(1, len(side.views)), (finding >= side.threshold).mean()]
    axis.plot(*at, "o", color=colour, ms=7, mec="white", label=f"{label}, from {side.threshold:g}")
