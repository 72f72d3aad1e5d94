"""Plots of an evaluation: precision-recall curves, and reliability diagrams of scores and mask probabilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from realtime_polyp.metrics.curves import (
    PrecisionRecall,
    Reliability,
    detection_reliability,
    pool,
    precision_recall,
    reliability,
)
from trainers.data.stills import read_mask
from trainers.evaluation.predict import Case

matplotlib.use("Agg")  # evaluation runs on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

IOUS = (0.5, 0.75)
LEAST_SCORE = 0.05  # leaves out the hundreds of near-zero boxes that would dominate the reliability diagram
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # distinguishable with colour blindness
_MARKED_SCORES = (0.3, 0.5, 0.7)


def write_plots(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Draw the plots that have data and return their paths; delete earlier plots that have none now."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [case.boxes for case in cases if case.detections is not None]
    curves = {f"IoU {iou:g}": precision_recall(boxes, iou=iou) for iou in IOUS}
    scores = detection_reliability(boxes, least_score=LEAST_SCORE)
    pixels = mask_reliability(cases)
    paths = [folder / f"{name}.png" for name in ("precision_recall", "reliability_boxes", "reliability_masks")]
    for path in paths:
        path.unlink(missing_ok=True)
    known = {name: curve for name, curve in curves.items() if curve is not None}
    if boxes and known:
        draw_precision_recall(known, paths[0], title=f"Boxes of {len(boxes)} images")
    if scores.count.sum():
        title = f"Scores of {LEAST_SCORE:g} or more; correct: IoU ≥ {IOUS[0]:g} with an unmatched true box"
        draw_reliability(scores, paths[1], title=title, things="boxes", certainty="score")
    if pixels is not None:
        title = "Mask probabilities of the pixels in the field of view"
        draw_reliability(pixels, paths[2], title=title, things="pixels", certainty="probability")
    return [path for path in paths if path.exists()]


def mask_reliability(cases: Sequence[Case]) -> Reliability | None:
    """Compute the reliability over the pixels of every image's field, at stored size; None if no segmenter ran."""
    return pool(_pixels_of(case) for case in cases if case.mask is not None)


def _pixels_of(case: Case) -> Reliability:
    assert case.mask is not None
    true = case.field_of_view.crop(read_mask(case.still.mask_path).astype(np.uint8))
    return reliability(case.mask.in_field().clip(0, 1), np.asarray(true, np.bool_))


def draw_precision_recall(curves: Mapping[str, PrecisionRecall], path: Path, *, title: str) -> None:
    """Plot the curves. curves: label -> curve. Dots mark a few score thresholds."""
    figure, axis = plt.subplots(figsize=(6.4, 5.6), constrained_layout=True)
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        axis.plot(curve.recall, curve.precision, color=colour, lw=1.8, label=f"{name}: AP {100 * curve.ap:.1f} %")
        _mark_scores(axis, curve, colour, below=number % 2 == 1)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
    axis.grid(alpha=0.3)
    axis.plot([], [], "o", color="#666666", ms=5, label="at this score threshold")
    axis.legend(loc="lower left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _mark_scores(axis: Axes, curve: PrecisionRecall, colour: str, *, below: bool) -> None:
    offset = (-20, -11) if below else (5, 4)  # the two curves are close to each other
    for score in _MARKED_SCORES:
        shown = int((curve.scores >= score).sum())
        if shown:
            at = (curve.recall[shown - 1], curve.precision[shown - 1])
            axis.plot(*at, "o", color=colour, ms=5)
            axis.annotate(f"{score:g}", at, xytext=offset, textcoords="offset points", fontsize=8, color=colour)


def draw_reliability(found: Reliability, path: Path, *, title: str, things: str, certainty: str) -> None:
    """Plot the reliability diagram, and below it the number of samples in each bin.

    things: the samples, such as "boxes". certainty: name of the predicted value, such as "score".
    """
    figure, (top, foot) = plt.subplots(
        2, 1, figsize=(6.0, 6.8), sharex=True, constrained_layout=True, gridspec_kw={"height_ratios": (3.4, 1)}
    )
    edges = np.linspace(0, 1, len(found.count) + 1)
    top.plot([0, 1], [0, 1], "--", color="#888888", lw=1.2, label="perfect calibration")
    top.bar(edges[:-1], np.nan_to_num(found.accuracy), width=np.diff(edges), align="edge", color=_COLOURS[0], alpha=0.3,
            edgecolor=_COLOURS[0], label="fraction correct in each bin")  # fmt: skip
    error = found.error
    ece = "no samples" if error is None else f"ECE {100 * error:.1f} %"
    top.plot(
        found.confidence, found.accuracy, "o", color=_COLOURS[1], ms=6, label=f"at the bin's mean {certainty}; {ece}"
    )
    top.set(ylabel="fraction correct", xlim=(0, 1), ylim=(0, 1.02))
    top.set_title(title, fontsize=10)
    top.legend(loc="upper left", fontsize=9)
    foot.bar(edges[:-1], found.count, width=np.diff(edges), align="edge", color="#777777", edgecolor="white")
    foot.set(xlabel=certainty, ylabel=things, yscale="log")
    for axis in (top, foot):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
