"""Precision-recall curves, reliability diagrams and expected calibration error.

A calibrated score of 0.8 is right 8 times in 10. Source: Guo et al., On Calibration of Modern Neural Networks (ICML
2017), applied to the single class, polyp.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.detection import COCO_RANGES, ImageBoxes
from realtime_polyp.metrics.matches import Ranking, interpolated, match

Values = NDArray[np.float64]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision-recall curve at one IoU threshold.

    Attributes:
        iou: IoU threshold.
        scores: (n,), score thresholds in descending order.
        precision: (n,), of the boxes with at least that score.
        recall: (n,), of the boxes with at least that score.
        ap: COCO's average precision at this IoU.
    """

    iou: float
    scores: Values
    precision: Values
    recall: Values
    ap: float


def precision_recall(images: Sequence[ImageBoxes], *, iou: float = 0.5) -> PrecisionRecall | None:
    """Return the curve at an IoU of .50, .55 ... .95; None without a true box. Raises ValueError for other values."""
    ranking, truths = _ranking(images, iou)
    if not truths:
        return None
    right = np.cumsum(ranking.right)
    precision, recall = right / np.arange(1, len(right) + 1), right / truths
    # A threshold includes all boxes with equal scores, so only the last of them is a point of the curve.
    last = np.append(ranking.scores[1:] != ranking.scores[:-1], True)[: len(right)]
    ap = interpolated(precision[ranking.right], recall[ranking.right])
    return PrecisionRecall(iou, ranking.scores[last], precision[last], recall[last], ap)


def _ranking(images: Sequence[ImageBoxes], iou: float) -> tuple[Ranking, int]:
    """Return the boxes ranked at one IoU threshold, and the number of true boxes."""
    matches = match(images, {"all": COCO_RANGES["all"]})
    places = np.flatnonzero(np.isclose(matches.ious, iou))
    if not len(places):
        raise ValueError(f"boxes are matched at IoU .50, .55, ... .95, not at {iou}")
    return matches.rankings["all"][places[0]], int(matches.truths["all"].sum())


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram: scores in bins of equal width over 0..1.

    Attributes:
        count: (bins,), number of scores.
        confidence_sum: (bins,), their sum.
        right: (bins,), number of scores whose prediction is right.
    """

    count: Values
    confidence_sum: Values
    right: Values

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(
            self.count + other.count, self.confidence_sum + other.confidence_sum, self.right + other.right
        )

    @property
    def confidence(self) -> Values:
        """Mean score of each bin; NaN for an empty bin."""
        return self._mean(self.confidence_sum)

    @property
    def accuracy(self) -> Values:
        """Share of right predictions in each bin; NaN for an empty bin."""
        return self._mean(self.right)

    @property
    def error(self) -> float | None:
        """Expected calibration error: mean of |confidence - accuracy| weighted by count; None without a score."""
        total = self.count.sum()
        return float(np.abs(self.confidence_sum - self.right).sum() / total) if total else None

    def _mean(self, sums: Values) -> Values:
        means: Values = np.divide(sums, self.count, out=np.full(len(sums), np.nan), where=self.count > 0)
        return means


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = 10) -> Reliability:
    """Sort predictions into bins. The last bin includes 1.

    confidence: scores in 0..1, any shape. right: whether each prediction is right, same shape. Raises ValueError for
    other scores, different shapes or no bin.
    """
    if confidence.shape != right.shape or bins < 1:
        raise ValueError(f"{confidence.shape} scores, {right.shape} answers, {bins} bins: shapes must agree, bins >= 1")
    scores = np.asarray(confidence, np.float64).ravel()
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        raise ValueError(f"a score must lie in 0..1, not {scores.min():g} to {scores.max():g}")
    places = np.minimum((scores * bins).astype(np.int64), bins - 1)

    def sums(values: NDArray[np.floating] | NDArray[np.bool_] | None) -> Values:
        return np.bincount(places, weights=values, minlength=bins).astype(np.float64)

    return Reliability(sums(None), sums(scores), sums(right.ravel()))


def detection_reliability(
    images: Sequence[ImageBoxes], *, iou: float = 0.5, bins: int = 10, least_score: float = 0.0
) -> Reliability:
    """Return the reliability of boxes with at least `least_score`; a box is right if it is a true positive at `iou`."""
    ranking, _ = _ranking(images, iou)
    kept = ranking.scores >= least_score
    return reliability(ranking.scores[kept].clip(0, 1), ranking.right[kept], bins=bins)


def pool(parts: Iterable[Reliability]) -> Reliability | None:
    """Add up the bins of all parts, such as the pixels of many masks; None without a part."""
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total
