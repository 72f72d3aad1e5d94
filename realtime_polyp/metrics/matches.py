"""Matches between found and true boxes, from which AP of any resampling of the images is computed quickly.

pycocotools matches the boxes of each image independently of other images, so matching is needed only once, however
often images are repeated or left out. Used for bootstrap confidence intervals and for curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from realtime_polyp.metrics.detection import COCO_RANGES, ImageBoxes, Ranges, coco_results, coco_truth, evaluate_boxes

Counts = NDArray[np.int64]
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Ranking:
    """All boxes evaluated at one IoU threshold and size, in descending order of score.

    Attributes:
        scores: (n,).
        right: (n,), whether the box is a true positive.
        images: (n,), index of the box's image.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    images: Counts

    def precision_and_recall(self, weights: Counts, positives: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return precision and recall at the score of each true positive.

        Precision only falls between two true positives, so AP and curves need no other points.

        weights: (N,), how often each image is repeated; 0 leaves it out. positives: number of true boxes in the
        repeated images.
        """
        repeats = weights[self.images]
        true_positives = np.cumsum(repeats[self.right])
        return true_positives / np.maximum(np.cumsum(repeats)[self.right], 1), true_positives / positives

    def recall(self, weights: Counts, positives: int) -> float:
        return float(weights[self.images[self.right]].sum()) / positives


@dataclass(frozen=True)
class Matches:
    """The matches of a data set of N images.

    Attributes:
        ious: IoU thresholds.
        rankings: {size: one ranking per IoU threshold}.
        truths: {size: number of true boxes in each image (N,)}.
    """

    ious: NDArray[np.float64]
    rankings: dict[str, list[Ranking]]
    truths: dict[str, Counts]

    def average_precision(self, weights: Counts, size: str = "all", *, iou: float | None = None) -> float | None:
        """Return AP at one IoU threshold, or its mean over all; None if the images have no true box of this size.

        weights: (N,), how often each image is repeated. The result equals that of pycocotools on the repeated images
        in the same order, unless an image has two boxes with equal scores.
        """
        positives = int(weights @ self.truths[size])
        if not positives:
            return None
        thresholds = zip(self.ious, self.rankings[size], strict=True)
        rankings = [ranking for threshold, ranking in thresholds if iou in (None, threshold)]
        values = [interpolated(*ranking.precision_and_recall(weights, positives)) for ranking in rankings]
        return sum(values) / len(values)

    def average_recall(self, weights: Counts) -> float | None:
        """Return the mean recall over all IoU thresholds; None if the images have no true box."""
        positives = int(weights @ self.truths["all"])
        if not positives:
            return None
        rankings = self.rankings["all"]
        return sum(ranking.recall(weights, positives) for ranking in rankings) / len(rankings)

    def figures(self, weights: Counts | None = None) -> dict[str, float | None]:
        """Return AP, AP50, AP75, AP_{size} for every size, and AR, with the names of `coco_ap`.

        weights: (N,), how often each image is repeated; default: every image once.
        """
        if weights is None:
            weights = np.ones_like(self.truths["all"])
        return {
            "AP": self.average_precision(weights),
            "AP50": self.average_precision(weights, iou=0.5),
            "AP75": self.average_precision(weights, iou=0.75),
            **{f"AP_{size}": self.average_precision(weights, size) for size in self.rankings if size != "all"},
            "AR": self.average_recall(weights),
        }


def match(images: Sequence[ImageBoxes], ranges: Ranges = COCO_RANGES) -> Matches:
    """Match the found boxes of each image with its true ones.

    In descending order of score, each found box is matched with the true box that it overlaps most among those that
    are not yet matched.
    """
    evaluation = evaluate_boxes(coco_truth(images), coco_results(images), ranges)
    sizes = evaluation.params.areaRngLbl
    results = {size: evaluation.evalImgs[i * len(images) : (i + 1) * len(images)] for i, size in enumerate(sizes)}
    return Matches(
        np.round(evaluation.params.iouThrs, 2),
        {size: _rankings(results[size], evaluation) for size in sizes},
        {size: np.array([_count_truths(result) for result in results[size]], np.int64) for size in sizes},
    )


def interpolated(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Return AP interpolated at 101 recalls.

    It is the mean of the best precision at each recall or above, 0 for recalls that are never reached.
    """
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, _RECALLS)].mean())


def _rankings(results: list[dict[str, Any] | None], evaluation: COCOeval) -> list[Ranking]:
    """Return one ranking per IoU threshold. results: of each image, None for an image without any box."""
    known = [(index, result) for index, result in enumerate(results) if result is not None]
    thresholds = len(evaluation.params.iouThrs)
    scores = np.concatenate([np.zeros(0), *(result["dtScores"] for _, result in known)])
    counts = [len(result["dtScores"]) for _, result in known]
    images = np.repeat([index for index, _ in known], counts).astype(np.int64)
    empty = np.zeros((thresholds, 0))
    right = np.concatenate([empty, *(result["dtMatches"] for _, result in known)], axis=1) > 0
    ignored = np.concatenate([empty, *(result["dtIgnore"] for _, result in known)], axis=1) > 0
    order = np.argsort(-scores, kind="stable")
    kept = [order[~row[order]] for row in ignored]
    return [Ranking(scores[boxes], right[row, boxes], images[boxes]) for row, boxes in enumerate(kept)]


def _count_truths(result: dict[str, Any] | None) -> int:
    return 0 if result is None else int(np.count_nonzero(result["gtIgnore"] == 0))
