"""Which found boxes are right, as pycocotools matches them, kept image by image.

Matching never looks beyond one image: it is done once, and any figure of any choice of the images, repeated ones too,
then costs a few sums. Bootstrap intervals and curves are made of it.
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
    """All boxes that count at one IoU and size, best score first: scores, whether each is right, its image (n,)."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    images: Counts

    def precision_and_recall(self, weights: Counts, truths: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """After each right box, each image taken weights (N,) times: precision and recall (n_right,).

        Between two right boxes precision only falls, so that these points are all that a figure needs.
        """
        taken = weights[self.images]
        right = np.cumsum(taken[self.right])
        return right / np.maximum(np.cumsum(taken)[self.right], 1), right / truths

    def recall(self, weights: Counts, truths: int) -> float:
        return float(weights[self.images[self.right]].sum()) / truths


@dataclass(frozen=True)
class Matches:
    """rankings: size -> one an IoU threshold; truths: size -> true boxes of each image (N,); ious: the thresholds."""

    ious: NDArray[np.float64]
    rankings: dict[str, list[Ranking]]
    truths: dict[str, Counts]

    def average_precision(self, weights: Counts, size: str = "all", *, iou: float | None = None) -> float | None:
        """Mean over the thresholds or at one of them; None where these images hold no true box of this size.

        Equals pycocotools on the images so repeated, in their order, unless two scores of one image are equal.
        """
        truths = int(weights @ self.truths[size])
        if not truths:
            return None
        chosen = [ranking for at, ranking in zip(self.ious, self.rankings[size], strict=True) if iou in (None, at)]
        return sum(interpolated(*ranking.precision_and_recall(weights, truths)) for ranking in chosen) / len(chosen)

    def average_recall(self, weights: Counts) -> float | None:
        truths = int(weights @ self.truths["all"])
        if not truths:
            return None
        rankings = self.rankings["all"]
        return sum(ranking.recall(weights, truths) for ranking in rankings) / len(rankings)

    def figures(self, weights: Counts | None = None) -> dict[str, float | None]:
        """AP, AP50, AP75, AP_SIZE of every size and AR, named as `coco_ap` names them. weights: each image once."""
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
    """Each box, best score first, takes the free true box of its image that it overlaps most."""
    evaluation = evaluate_boxes(coco_truth(images), coco_results(images), ranges)
    sizes = evaluation.params.areaRngLbl
    parts = {size: evaluation.evalImgs[i * len(images) : (i + 1) * len(images)] for i, size in enumerate(sizes)}
    return Matches(
        np.round(evaluation.params.iouThrs, 2),
        {size: _rankings(parts[size], evaluation) for size in sizes},
        {size: np.array([_count_truths(one) for one in parts[size]], np.int64) for size in sizes},
    )


def interpolated(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Mean over 101 recalls of the best precision at that recall or beyond it, 0 where it is never reached."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, _RECALLS)].mean())


def _rankings(results: list[dict[str, Any] | None], evaluation: COCOeval) -> list[Ranking]:
    known = [(index, one) for index, one in enumerate(results) if one is not None]
    thresholds = len(evaluation.params.iouThrs)
    scores = np.concatenate([np.zeros(0), *(one["dtScores"] for _, one in known)])
    images = np.repeat([index for index, _ in known], [len(one["dtScores"]) for _, one in known]).astype(np.int64)
    empty = np.zeros((thresholds, 0))
    right = np.concatenate([empty, *(one["dtMatches"] for _, one in known)], axis=1) > 0
    ignored = np.concatenate([empty, *(one["dtIgnore"] for _, one in known)], axis=1) > 0
    order = np.argsort(-scores, kind="stable")
    kept = [order[~row[order]] for row in ignored]
    return [Ranking(scores[rows], right[at, rows], images[rows]) for at, rows in enumerate(kept)]


def _count_truths(result: dict[str, Any] | None) -> int:
    return 0 if result is None else int(np.count_nonzero(result["gtIgnore"] == 0))
