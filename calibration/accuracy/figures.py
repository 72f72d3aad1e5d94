"""What the gate compares, an engine's figures beside the reference's, and how much an engine may lose."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Task
from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.segmentation import scores_of
from realtime_polyp.packets import Detections
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.evaluation.figures import detection_figures, mask_figures
from trainers.evaluation.predict import Case

Figures = dict[str, float | int | None]
OVERALL = "overall"
SAME_BOX_IOU = 0.5  # METRICS 1's own: below it a box is another box
_SMALL_PX = 32  # METRICS 1: the side of a square of as many pixels
_FOUND_DICE = 0.5  # an outline of this Dice has found its polyp


@dataclass(frozen=True)
class Limits:
    """The most an engine may lose, overall and on every centre.

    ap50, dice, ap_small: the project's own. Of a centre no less can be asked of AP50 and AP_s than one polyp is worth
    there: with 42 polyps a single one moves AP50 by up to 0.024, and a limit of 0.005 would be drawn by lot. What goes
    beyond the limit within one polyp is accepted and noted. shift_px: of all but the farthest 5 % of boxes, px of the
    stored still, about a cell of the detector's finest level (8 px of its input), so that a box stays on its polyp.
    image_dice: of one still whose polyp the reference had outlined; losing half of it is losing the polyp.
    """

    ap50: float = 0.005
    ap_small: float = 0.01
    dice: float = 0.005
    shift_px: float = 16.0
    image_dice: float = 0.5


LIMITS = Limits()


@dataclass(frozen=True)
class Comparison:
    """{figure: value} of the reference and of the engine on one group of stills, and of the two side by side. polyps:
    how many true boxes a figure stands on."""

    images: int
    reference: Figures
    engine: Figures
    agreement: Figures
    polyps: dict[str, int] = field(default_factory=dict)


def compare(reference: Sequence[Case], engine: Sequence[Case], task: Task) -> dict[str, Comparison]:
    """{"overall" or centre: figures} of two engines' cases of the same stills."""
    one = _compare_boxes if task == "detector" else _compare_masks
    centres = np.array([case.still.centre for case in reference])
    groups = {
        OVERALL: list(range(len(centres))),
        **{name: np.flatnonzero(centres == name).tolist() for name in sorted({*centres.tolist()})},
    }
    return {name: one([reference[i] for i in chosen], [engine[i] for i in chosen]) for name, chosen in groups.items()}


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
    """AP, AP50, AP of small polyps on the stored grid (32² px) and on the original one (100² px); None without any."""
    figures = detection_figures(cases)
    return {
        "AP": figures["AP"],
        "AP50": figures["AP50"],
        "AP_s": figures["AP_s"],
        "AP_small_original": figures["endocv"]["AP_small"],
    }


def _shown(detections: Detections) -> NDArray[np.float32]:
    """The boxes (n, 4) that a person would be shown at the threshold that ships."""
    return detections.boxes[detections.scores >= SCORE_THRESHOLD]


def _shifts(reference: Detections, engine: Detections) -> tuple[NDArray[np.float64], int, int]:
    """How far (n,) px the farthest edge of each shown box of the reference moved in the engine's box that meets it
    best, at any score; how many boxes were lost, and how many are new, at the threshold."""
    before, after = _shown(reference), _shown(engine)
    ious = iou_matrix(before, engine.boxes, dtype=np.float64)
    nearest = ious.argmax(axis=1) if ious.size else np.zeros(0, np.int64)
    same = ious[np.arange(len(nearest)), nearest] >= SAME_BOX_IOU
    moved = np.abs(before[: len(nearest)][same] - engine.boxes[nearest[same]]).max(axis=1, initial=0)
    return moved.astype(np.float64), _without_partner(before, after), _without_partner(after, before)


def _without_partner(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> int:
    return int((iou_matrix(boxes, others, dtype=np.float64).max(axis=1, initial=0) < SAME_BOX_IOU).sum())


def _compare_masks(reference: Sequence[Case], engine: Sequence[Case]) -> Comparison:
    before, after = (np.array([_dice(case) for case in cases]) for cases in (reference, engine))
    # Without a polyp a single false pixel takes Dice from 1 to 0: such stills count in the mean and as alarms.
    empty = np.array([not len(case.still.boxes) for case in reference])
    outlined = (before >= _FOUND_DICE) & ~empty
    agreement: Figures = {
        "worst_loss": float((before - after)[outlined].max(initial=0)),
        "false_alarms": int((empty & (after < before)).sum()),
        "alarms_gone": int((empty & (after > before)).sum()),
    }
    return Comparison(len(reference), outline_figures(reference), outline_figures(engine), agreement)


def outline_figures(cases: Sequence[Case]) -> Figures:
    """Dice, mIoU, and the Dice of the worst still that has a polyp; None without any."""
    figures = mask_figures(cases)
    with_polyp = [_dice(case) for case in cases if len(case.still.boxes)]
    return {"dice": figures["dice"], "miou": figures["miou"], "worst_dice": min(with_polyp, default=None)}


def _dice(case: Case) -> float:
    return scores_of(case.segmentation.counts).dice  # type: ignore[union-attr]


def reasons(compared: dict[str, Comparison], limits: Limits = LIMITS) -> tuple[str, ...]:
    """Every limit that is passed, one sentence each; empty for an engine to accept."""
    return tuple(reason for group, one in compared.items() for reason in _reasons(group, one, limits))


def noted(compared: dict[str, Comparison], limits: Limits = LIMITS) -> tuple[str, ...]:
    """What goes beyond a limit on a centre and is accepted, because it is no more than one polyp's worth."""
    return tuple(
        f"{group}: {name} fell by {lost:.4f}, beyond {most} but within one of its {one.polyps[name]} polyps"
        for group, one in compared.items()
        for name, most in _losses(limits).items()
        if (lost := _lost(one, name)) is not None and most < lost <= _allowed(group, one, name, most)
    )


def _losses(limits: Limits) -> dict[str, float]:
    return {"AP50": limits.ap50, "AP_s": limits.ap_small, "dice": limits.dice}


def _allowed(group: str, one: Comparison, name: str, most: float) -> float:
    """The limit, which on a centre is no finer than one of its polyps."""
    polyps = one.polyps.get(name, 0)
    return most if group == OVERALL or not polyps else max(most, 1 / polyps)


def _reasons(group: str, one: Comparison, limits: Limits) -> list[str]:
    found = [
        f"{group}: {name} fell by {lost:.4f}, at most {allowed:.4g} is allowed"
        for name, most in _losses(limits).items()
        if (lost := _lost(one, name)) is not None and lost > (allowed := _allowed(group, one, name, most))
    ]
    ceilings: dict[str, tuple[str, float]] = {
        "shift_p95_px": ("a box in twenty moved by more than {:.1f} px, at most {} px is allowed", limits.shift_px),
        "worst_loss": ("one outlined still lost {:.3f} of its Dice, at most {} is allowed", limits.image_dice),
    }
    for name, (sentence, most) in ceilings.items():
        value: Any = one.agreement.get(name)
        if value is not None and value > most:
            found.append(f"{group}: {sentence.format(value, most)}")
    return found


def _lost(one: Comparison, name: str) -> float | None:
    """How much lower the engine's figure is; None for one that this group or task does not have."""
    before, after = one.reference.get(name), one.engine.get(name)
    return None if before is None or after is None else before - after
