"""Segmentation metrics of one image, averaged over images, and pooled over a data set (docs/accuracy.md).

A ratio 0/0 is 1 if the two masks agree and 0 otherwise.
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
    """Pixel counts of an image: true and false positives and negatives. Positive means polyp."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class Scores:
    """Segmentation metrics in 0..1. _p: polyp, _b: background; sensitivity is also known as recall."""

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
    """Distance between the boundaries of two masks.

    Attributes:
        hausdorff_px: maximum distance (Hausdorff), px.
        hd95_px: 95th percentile of the distances, px.
    """

    hausdorff_px: float
    hd95_px: float


@dataclass(frozen=True)
class ImageSegmentation:
    """The segmentation result of one image.

    Attributes:
        counts: pixel counts.
        boundary: distance between the boundaries; None if one of the masks is empty.
    """

    counts: Counts
    boundary: BoundaryDistance | None


def measure(predicted: Mask, true: Mask) -> ImageSegmentation:
    """Compare two masks (H, W) of one image. Raises ValueError when their shapes differ."""
    return ImageSegmentation(count(predicted, true), boundary_distance(predicted, true))


def count(predicted: Mask, true: Mask) -> Counts:
    """Count the pixels of two masks (H, W). Raises ValueError if their shapes differ or have no pixels."""
    if predicted.shape != true.shape or not true.size:
        raise ValueError(f"masks must have one shape with pixels in it, not {predicted.shape} and {true.shape}")
    both = int(np.count_nonzero(predicted & true))
    found, wanted = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    return Counts(both, found - both, wanted - both, true.size - found - wanted + both)


def scores_of(counts: Counts, *, endocv_compat: bool = False) -> Scores:
    """Compute the metrics from pixel counts.

    endocv_compat: precision and sensitivity of 0/0 are always 1, as in the challenge's official script. An empty
    prediction then has precision 1 for every truth, and a false alarm on an empty truth has sensitivity 1.
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
    """Return the mean over images, with equal weights. Raises ValueError without an image."""
    if not scores:
        raise ValueError("no image to average over")
    return Scores(*(math.fsum(getattr(one, name) for one in scores) / len(scores) for name in _SCORES))


def pooled_scores(counts: Sequence[Counts], *, endocv_compat: bool = False) -> Scores:
    """Return the metrics over all pixels of a data set. Large polyps and images have more weight.

    Raises ValueError without an image.
    """
    if not counts:
        raise ValueError("no image to pool")
    total = Counts(*(sum(getattr(one, name) for one in counts) for name in ("tp", "fp", "fn", "tn")))
    return scores_of(total, endocv_compat=endocv_compat)


def challenge_score(scores: Scores) -> float:
    """Return the EndoCV2021 segmentation score: the mean of Dice, F2, precision and recall."""
    return (scores.dice + scores.f2 + scores.precision + scores.sensitivity) / 4


def boundary_distance(predicted: Mask, true: Mask) -> BoundaryDistance | None:
    """Return the distances between the boundaries of two masks (H, W); None if one mask is empty.

    Both distances are the maximum of the two directions, from each boundary point of one mask to the nearest of the
    other, and are therefore symmetric.
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
    """Return row and column (n, 2) of mask pixels with one of their four neighbours outside the mask or the image."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)


def mean_distance(distances: Sequence[BoundaryDistance | None]) -> BoundaryDistance | None:
    """Return the mean over the images that have a distance; None if none has."""
    known = [one for one in distances if one is not None]
    if not known:
        return None
    return BoundaryDistance(
        math.fsum(one.hausdorff_px for one in known) / len(known), math.fsum(one.hd95_px for one in known) / len(known)
    )


def normalised_hausdorff(distances: Sequence[BoundaryDistance | None]) -> float | None:
    """Return the mean distance divided by the maximum of the data set, 0..1, as the challenge's script does.

    None if no image has a distance.
    """
    known = [one.hausdorff_px for one in distances if one is not None]
    if not known:
        return None
    return sum(known) / len(known) / max(known) if max(known) > 0 else 0.0


def segmentation_figures(images: Sequence[ImageSegmentation], *, endocv_compat: bool = False) -> dict[str, Any]:
    """Return the metrics of a data set by name. Raises ValueError without an image.

    Metrics are means over images, and distances are means over the `boundary_images` images that have one. "pooled"
    holds the metrics over all pixels.
    """
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
