"""The figures that the gate compares between an engine and the reference, and their limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Task
from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.negative_video import ALL, DRAWN_SHARE
from realtime_polyp.metrics.segmentation import scores_of
from realtime_polyp.packets import Detections
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.evaluation.figures import detection_figures, mask_figures
from trainers.evaluation.negatives import negative_rows
from trainers.evaluation.predict import Case

Figures = dict[str, float | int | None]
OVERALL = "overall"
NEGATIVES = "negatives"  # frames of video without a polyp, beside the groups of stills
SAME_BOX_IOU = 0.5  # as in METRICS 1: with a lower IoU two boxes are different ones
_SMALL_PX = 32  # as in METRICS 1: boxes smaller than 32 x 32 px are small
_FOUND_DICE = 0.5  # from this Dice on a mask has found its polyp
_ROUNDING = 1e-9  # of the difference of two shares


@dataclass(frozen=True)
class Limits:
    """Highest losses of an engine against the reference, overall and per centre.

    On a small centre a single polyp may change AP50 by more than the limit (with 42 polyps by up to 0.024). There, a
    loss of AP50 or AP_s that is worth at most one polyp is accepted and listed by `tolerated_losses`.

    Attributes:
        ap50: loss of AP50.
        ap_small: loss of AP_s.
        dice: loss of the mean Dice.
        shift_px: 95th percentile of the displacement of boxes, px of the stored still. The default is about a cell of
            the detector's finest level (8 px of its input), so that a box stays on its polyp.
        image_dice: loss of Dice on a single still whose polyp the reference found.
        negatives: rise of the share of frames without a polyp in which a box is shown, and of those in which more than
            0.1 % of the picture is drawn.
    """

    ap50: float = 0.005
    ap_small: float = 0.01
    dice: float = 0.005
    shift_px: float = 16.0
    image_dice: float = 0.5
    negatives: float = 0.01


LIMITS = Limits()


@dataclass(frozen=True)
class Comparison:
    """The comparison of an engine with the reference on one group of stills.

    Attributes:
        images: number of stills.
        reference: {figure: value} of the reference.
        engine: {figure: value} of the engine.
        agreement: {figure: value} of the differences between their outputs.
        polyps: {figure: number of true boxes that it is computed from}.
    """

    images: int
    reference: Figures
    engine: Figures
    agreement: Figures
    polyps: dict[str, int] = field(default_factory=dict)


def compare(reference: Sequence[Case], engine: Sequence[Case], task: Task) -> dict[str, Comparison]:
    """Compare two engines on the same stills; returns {"overall" or centre: comparison}."""
    compare_group = _COMPARE[task]
    centres = np.array([case.still.centre for case in reference])
    groups = {
        OVERALL: list(range(len(centres))),
        **{name: np.flatnonzero(centres == name).tolist() for name in sorted({*centres.tolist()})},
    }
    return {
        name: compare_group([reference[i] for i in chosen], [engine[i] for i in chosen])
        for name, chosen in groups.items()
    }


def _compare_boxes(reference: Sequence[Case], engine: Sequence[Case]) -> Comparison:
    shifts = [_shifts(a.detections, b.detections) for a, b in zip(reference, engine, strict=True)]  # type: ignore[arg-type]
    moved = np.concatenate([one for one, _, _ in shifts])
    agreement: Figures = {
        "boxes": sum(len(_shown(case.detections)) for case in reference if case.detections is not None),
        "lost": sum(lost for _, lost, _ in shifts),
        "new": sum(new for _, _, new in shifts),
        "shift_mean_px": float(moved.mean()) if moved.size else None,
        "shift_p95_px": float(np.percentile(moved, 95)) if moved.size else None,
        "shift_max_px": float(moved.max()) if moved.size else None,
    }
    return Comparison(len(reference), box_figures(reference), box_figures(engine), agreement, _polyps(reference))


def _polyps(cases: Sequence[Case]) -> dict[str, int]:
    boxes = [box for case in cases for box in case.still.boxes]
    small = [x2 - x1 for x1, y1, x2, y2 in boxes if (x2 - x1) * (y2 - y1) < _SMALL_PX**2]
    return {"AP50": len(boxes), "AP_s": len(small)}


def box_figures(cases: Sequence[Case]) -> Figures:
    """Return AP, AP50 and the AP of small polyps: below 32² stored px and below 100² original px; None without any."""
    figures = detection_figures(cases)
    return {
        "AP": figures["AP"],
        "AP50": figures["AP50"],
        "AP_s": figures["AP_s"],
        "AP_small_original": figures["endocv"]["AP_small"],
    }


def _shown(detections: Detections) -> NDArray[np.float32]:
    """Return the boxes (n, 4) that are shown at the default threshold."""
    return detections.boxes[detections.scores >= SCORE_THRESHOLD]


def _shifts(reference: Detections, engine: Detections) -> tuple[NDArray[np.float64], int, int]:
    """Return the displacement (n,) of boxes, px, and the numbers of boxes lost and new at the default threshold.

    Each shown box of the reference is compared with the engine's box of the highest IoU, whatever its score. The
    displacement is that of the edge that moved most.
    """
    before, after = _shown(reference), _shown(engine)
    ious = iou_matrix(before, engine.boxes, dtype=np.float64)
    nearest = ious.argmax(axis=1) if ious.size else np.zeros(0, np.int64)
    same = ious[np.arange(len(nearest)), nearest] >= SAME_BOX_IOU
    moved = np.abs(before[: len(nearest)][same] - engine.boxes[nearest[same]]).max(axis=1, initial=0)
    return moved.astype(np.float64), _count_unmatched(before, after), _count_unmatched(after, before)


def _count_unmatched(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> int:
    return int((iou_matrix(boxes, others, dtype=np.float64).max(axis=1, initial=0) < SAME_BOX_IOU).sum())


def _compare_masks(reference: Sequence[Case], engine: Sequence[Case]) -> Comparison:
    before, after = (np.array([_dice(case) for case in cases]) for cases in (reference, engine))
    # On a still without a polyp a single false pixel changes Dice from 1 to 0. Such stills count in the mean Dice and
    # as false alarms, but not in the worst loss.
    empty = np.array([not len(case.still.boxes) for case in reference])
    outlined = (before >= _FOUND_DICE) & ~empty
    agreement: Figures = {
        "worst_loss": float((before - after)[outlined].max(initial=0)),
        "false_alarms": int((empty & (after < before)).sum()),
        "alarms_gone": int((empty & (after > before)).sum()),
    }
    return Comparison(len(reference), outline_figures(reference), outline_figures(engine), agreement)


def _compare_both(reference: Sequence[Case], engine: Sequence[Case]) -> Comparison:
    boxes, masks = _compare_boxes(reference, engine), _compare_masks(reference, engine)
    return Comparison(
        boxes.images,
        boxes.reference | masks.reference,
        boxes.engine | masks.engine,
        boxes.agreement | masks.agreement,
        boxes.polyps,
    )


_COMPARE: dict[Task, Callable[[Sequence[Case], Sequence[Case]], Comparison]] = {
    "detector": _compare_boxes,
    "segmenter": _compare_masks,
    "joint": _compare_both,
}


def outline_figures(cases: Sequence[Case]) -> Figures:
    """Return mean Dice, mIoU, and the lowest Dice of a still with a polyp; None without any."""
    figures = mask_figures(cases)
    with_polyp = [_dice(case) for case in cases if len(case.still.boxes)]
    return {"dice": figures["dice"], "miou": figures["miou"], "worst_dice": min(with_polyp, default=None)}


def _dice(case: Case) -> float:
    return scores_of(case.segmentation.counts).dice  # type: ignore[union-attr]


def compare_negatives(reference: Sequence[Case], engine: Sequence[Case]) -> dict[str, Comparison]:
    """Compare two engines on the same frames without a polyp: {NEGATIVES: comparison}, or {} without frames."""
    if not reference:
        return {}
    return {NEGATIVES: Comparison(len(reference), negative_shares(reference), negative_shares(engine), {})}


def negative_shares(cases: Sequence[Case]) -> Figures:
    """Return the shares of frames with a box, with a drawn pixel, and with more than DRAWN_SHARE drawn.

    A figure of a model that did not run is left out.
    """
    found = negative_rows(cases)[ALL]
    shares = {"box_share": found.box_share, "mask_share": found.mask_share, "area_share": found.area_share}
    return {name: share for name, share in shares.items() if share is not None}


def failure_reasons(compared: dict[str, Comparison], limits: Limits = LIMITS) -> tuple[str, ...]:
    """Return one sentence per exceeded limit; empty if the engine is accepted."""
    return tuple(reason for group, one in compared.items() for reason in _reasons(group, one, limits))


def tolerated_losses(compared: dict[str, Comparison], limits: Limits = LIMITS) -> tuple[str, ...]:
    """Return one sentence per loss above its limit that is accepted as worth at most one polyp of the centre."""
    return tuple(
        f"{group}: {name} fell by {lost:.4f}, above {most} but worth at most one of its {one.polyps[name]} polyps"
        for group, one in compared.items()
        for name, most in _loss_limits(limits).items()
        if (lost := _loss(one, name)) is not None and most < lost <= _allowed(group, one, name, most)
    )


def _loss_limits(limits: Limits) -> dict[str, float]:
    return {"AP50": limits.ap50, "AP_s": limits.ap_small, "dice": limits.dice}


def _allowed(group: str, one: Comparison, name: str, most: float) -> float:
    """Return the limit; for a centre at least the share of one of its polyps."""
    polyps = one.polyps.get(name, 0)
    return most if group == OVERALL or not polyps else max(most, 1 / polyps)


def _reasons(group: str, one: Comparison, limits: Limits) -> list[str]:
    found = [
        f"{group}: {name} fell by {lost:.4f}, at most {allowed:.4g} is allowed"
        for name, most in _loss_limits(limits).items()
        if (lost := _loss(one, name)) is not None and lost > (allowed := _allowed(group, one, name, most))
    ]
    ceilings: dict[str, tuple[str, float]] = {
        "shift_p95_px": ("5 % of the boxes moved by more than {:.1f} px, at most {} px is allowed", limits.shift_px),
        "worst_loss": ("Dice of one still fell by {:.3f}, at most {} is allowed", limits.image_dice),
    }
    for name, (sentence, most) in ceilings.items():
        value: Any = one.agreement.get(name)
        if value is not None and value > most:
            found.append(f"{group}: {sentence.format(value, most)}")
    return found + _alarm_reasons(group, one, limits.negatives)


def _alarm_reasons(group: str, one: Comparison, most: float) -> list[str]:
    """Return one sentence for each share of frames without a polyp that rose by more than `most`."""
    shown = {"box_share": "with a box", "area_share": f"with more than {100 * DRAWN_SHARE:g} % of the picture drawn"}
    return [
        f"{group}: frames {what} rose from {100 * one.reference[name]:.1f} to {100 * one.engine[name]:.1f} %, "  # type: ignore[operator]
        f"a rise by {100 * most:g} % of the frames is allowed"
        for name, what in shown.items()
        if (fell := _loss(one, name)) is not None and -fell > most + _ROUNDING
    ]


def _loss(one: Comparison, name: str) -> float | None:
    """Return the loss of a figure; None if this group or task does not have it."""
    before, after = one.reference.get(name), one.engine.get(name)
    return None if before is None or after is None else before - after
