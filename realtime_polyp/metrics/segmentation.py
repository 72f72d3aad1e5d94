"""Segmentation figures of one image, averaged over images, and pooled over a set (METRICS 3).

What METRICS leaves open is settled by one rule: a ratio 0/0 is 1 when the two masks agree and 0 when they do not.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """Pixels of an image by what was said of them; positive is polyp."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class Scores:
    """All in 0..1. p: polyp, b: background; sensitivity is the challenge's recall, precision its PPV."""

    dice: float
    miou: float
    iou_p: float
    iou_b: float
    sensitivity: float
    specificity: float
    accuracy: float
    precision: float
    f2: float


_SCORES = tuple(field.name for field in fields(Scores))


@dataclass(frozen=True)
class BoundaryDistance:
    """How far the two boundaries lie apart: the farthest point, and all but the farthest 5 %."""

    hausdorff_px: float
    hd95_px: float


@dataclass(frozen=True)
class ImageSegmentation:
    """What one image adds to a set's figures; boundary is None when one of its masks is empty."""

    counts: Counts
    boundary: BoundaryDistance | None


def measure(predicted: Mask, true: Mask) -> ImageSegmentation:
    """Compare two masks (H, W) of one image. Raises ValueError when their shapes differ."""
    return ImageSegmentation(count(predicted, true), boundary_distance(predicted, true))


def count(predicted: Mask, true: Mask) -> Counts:
    """Raises ValueError when the shapes differ or hold no pixel."""
    if predicted.shape != true.shape or not true.size:
        raise ValueError(f"masks must have one shape with pixels in it, not {predicted.shape} and {true.shape}")
    both = int(np.count_nonzero(predicted & true))
    found, wanted = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    return Counts(both, found - both, wanted - both, true.size - found - wanted + both)


def scores_of(counts: Counts, *, endocv_compat: bool = False) -> Scores:
    """Every figure of METRICS 3 but the boundary's.

    endocv_compat: precision and sensitivity of 0/0 are always 1, as in the challenge's official script: an empty
    prediction then has a precision of 1 whatever the truth, and a false alarm on an empty truth a sensitivity of 1.
    """
    tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
    iou_p, iou_b = _ratio(tp, tp + fp + fn), _ratio(tn, tn + fp + fn)
    return Scores(
        dice=_ratio(2 * tp, 2 * tp + fp + fn),
        miou=(iou_p + iou_b) / 2,
        iou_p=iou_p,
        iou_b=iou_b,
        sensitivity=_ratio(tp, tp + fn, agree=endocv_compat or fp == 0),
        specificity=_ratio(tn, tn + fp, agree=fn == 0),
        accuracy=(tp + tn) / (tp + fp + fn + tn),
        precision=_ratio(tp, tp + fp, agree=endocv_compat or fn == 0),
        f2=_ratio(5 * tp, 5 * tp + 4 * fn + fp),  # 5PR / (4P + R), with its fractions cleared
    )


def _ratio(part: int, whole: int, *, agree: bool = True) -> float:
    return part / whole if whole else float(agree)


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The average over images, each image weighing the same. Raises ValueError when there is none."""
    if not scores:
        raise ValueError("no image to average over")
    return Scores(*(math.fsum(getattr(one, name) for one in scores) / len(scores) for name in _SCORES))


def pooled_scores(counts: Sequence[Counts], *, endocv_compat: bool = False) -> Scores:
    """The scores of all pixels of a set at once: large polyps and large images weigh more. ValueError for no image."""
    if not counts:
        raise ValueError("no image to pool")
    total = Counts(*(sum(getattr(one, name) for one in counts) for name in ("tp", "fp", "fn", "tn")))
    return scores_of(total, endocv_compat=endocv_compat)


def challenge_score(scores: Scores) -> float:
    """The EndoCV2021 segmentation score: the mean of Dice, F2, precision and recall."""
    return (scores.dice + scores.f2 + scores.precision + scores.sensitivity) / 4


def boundary_distance(predicted: Mask, true: Mask) -> BoundaryDistance | None:
    """Distances between the boundaries of two masks (H, W), px; None when one mask is empty.

    Both figures are the larger of the two directions (each boundary point of the one to the nearest of the other), so
    that swapping the masks changes nothing.
    """
    found, wanted = boundary_points(predicted), boundary_points(true)
    if not len(found) or not len(wanted):
        return None
    there, _ = cKDTree(wanted).query(found)
    back, _ = cKDTree(found).query(wanted)
    return BoundaryDistance(
        hausdorff_px=float(max(there.max(), back.max())),
        hd95_px=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )


def boundary_points(mask: Mask) -> NDArray[np.int64]:
    """Row and column (n, 2) of the mask's pixels that have one of four neighbours outside it, or beyond the image."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)


def mean_distance(distances: Sequence[BoundaryDistance | None]) -> BoundaryDistance | None:
    """The average over the images that have one; None when none has."""
    known = [one for one in distances if one is not None]
    if not known:
        return None
    return BoundaryDistance(
        math.fsum(one.hausdorff_px for one in known) / len(known), math.fsum(one.hd95_px for one in known) / len(known)
    )


def normalised_hausdorff(distances: Sequence[BoundaryDistance | None]) -> float | None:
    """The mean distance over the largest one of the same set, 0..1, as the challenge's script has it; None when no
    image has a distance."""
    known = [one.hausdorff_px for one in distances if one is not None]
    if not known:
        return None
    return sum(known) / len(known) / max(known) if max(known) > 0 else 0.0


def segmentation_figures(images: Sequence[ImageSegmentation], *, endocv_compat: bool = False) -> dict[str, Any]:
    """A set's figures by name: means over images, distances over the `boundary_images` that have one, and under
    "pooled" the scores of all pixels at once. Raises ValueError when there is no image."""
    mean = mean_scores([scores_of(image.counts, endocv_compat=endocv_compat) for image in images])
    pooled = pooled_scores([image.counts for image in images], endocv_compat=endocv_compat)
    distances = [image.boundary for image in images]
    distance = mean_distance(distances)
    return {
        **asdict(mean),
        "challenge": challenge_score(mean),
        "hd95_px": distance.hd95_px if distance else None,
        "hausdorff_px": distance.hausdorff_px if distance else None,
        "hausdorff_normalised": normalised_hausdorff(distances),
        "boundary_images": sum(one is not None for one in distances),
        "pooled": {**asdict(pooled), "challenge": challenge_score(pooled)},
    }
