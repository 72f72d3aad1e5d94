"""Detection average precision, COCO style and with the EndoCV2021 challenge's sizes (METRICS 1 and 2)."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

_HUGE = 1e10
Ranges = dict[str, tuple[float, float]]  # size -> least and largest area, px², both inclusive
COCO_RANGES: Ranges = {"all": (0, _HUGE), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, _HUGE)}
ENDOCV_RANGES: Ranges = {"all": (0, _HUGE), "small": (0, 100**2), "medium": (100**2, 200**2), "large": (200**2, _HUGE)}


@dataclass(frozen=True)
class ImageBoxes:
    """One image: true boxes (m, 4), found boxes (n, 4) xyxy px of one grid, and scores (n,)."""

    true: NDArray[np.float32]
    found: NDArray[np.float32]
    scores: NDArray[np.float32]

    def scaled(self, factor: float) -> "ImageBoxes":
        """The same in another pixel grid, such as the original image's."""
        return ImageBoxes(self.true * factor, self.found * factor, self.scores)


def coco_ap(images: Sequence[ImageBoxes]) -> dict[str, float | None]:
    """AP, AP50, AP75, AP_s, AP_m, AP_l and AR in 0..1; None where a size has no true box."""
    evaluation = evaluate_boxes(coco_truth(images), coco_results(images), COCO_RANGES)
    return {
        "AP": _mean(evaluation, "all"),
        "AP50": _mean(evaluation, "all", iou=0.5),
        "AP75": _mean(evaluation, "all", iou=0.75),
        "AP_s": _mean(evaluation, "s"),
        "AP_m": _mean(evaluation, "m"),
        "AP_l": _mean(evaluation, "l"),
        "AR": _recall(evaluation),
    }


def endocv_ap(images: Sequence[ImageBoxes]) -> dict[str, float | None]:
    """The challenge's figures; the boxes must be in original pixels. score_d is None when a size is missing."""
    return endocv_ap_of(coco_truth(images), coco_results(images))


def endocv_ap_of(truth: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float | None]:
    """As `endocv_ap`, from a COCO truth and COCO results as the challenge writes them, with its own `area`.

    Raises ValueError when a result names an image that the truth does not have.
    """
    evaluation = evaluate_boxes(truth, found, ENDOCV_RANGES)
    sizes = {f"AP_{name}": _mean(evaluation, name) for name in ("small", "medium", "large")}
    overall = _mean(evaluation, "all")
    return {
        "AP": overall,
        "AP50": _mean(evaluation, "all", iou=0.5),
        "AP75": _mean(evaluation, "all", iou=0.75),
        **sizes,
        "AR": _recall(evaluation),
        "score_d": _mean_of([overall, *sizes.values()]),
    }


def deviation(mixed: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """The challenge's generalisation deviation: how far another centre's figures lie from those of the mixed set.

    0 within a tenth of the mixed figure, else the distance to nine tenths of it; the mean over the figures. Doing much
    better counts as a deviation too, and a larger one than doing as much worse: the official definition is asymmetric.
    None when a figure is missing.
    """
    known = [(p, g) for p, g in zip(mixed, other, strict=True) if p is not None and g is not None]
    if not known or len(known) < len(mixed):
        return None
    return sum(0.0 if 0.9 * p <= g <= 1.1 * p else abs(0.9 * p - g) for p, g in known) / len(known)


def final_average(mixed_ap: float | None, generalisation_aps: Sequence[float | None]) -> float | None:
    """`final_dAvg`: the mean of AP on the mixed set and on the generalisation sets; None when one is missing."""
    return _mean_of([mixed_ap, *generalisation_aps])


def _mean_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def coco_truth(images: Sequence[ImageBoxes]) -> dict[str, Any]:
    """The true boxes as a COCO data set whose images count from 1."""
    annotations = [
        {
            "image_id": index,
            "category_id": 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for index, image in enumerate(images, 1)
        for x1, y1, x2, y2 in image.true.tolist()
    ]
    return {
        "images": [{"id": index} for index in range(1, len(images) + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "polyp"}],
    }


def coco_results(images: Sequence[ImageBoxes]) -> list[dict[str, Any]]:
    """The found boxes as COCO results of the same images."""
    return [
        {"image_id": index, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for index, image in enumerate(images, 1)
        for (x1, y1, x2, y2), score in zip(image.found.tolist(), image.scores.tolist(), strict=True)
    ]


def evaluate_boxes(truth: dict[str, Any], found: list[dict[str, Any]], ranges: Ranges) -> COCOeval:
    """pycocotools' evaluation, done and accumulated; ValueError for results of images that are not in the truth."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress on stdout
        coco = COCO()
        coco.dataset = {"info": {}, **truth, "annotations": _numbered(truth["annotations"])}
        coco.createIndex()
        strangers = {one["image_id"] for one in found} - set(coco.imgs)
        if strangers:
            raise ValueError(f"results of images that the truth does not have: {sorted(strangers)[:5]}")
        evaluation = COCOeval(coco, coco.loadRes(_numbered(found)) if found else _nothing(coco), "bbox")
        evaluation.params.areaRng = [list(limits) for limits in ranges.values()]
        evaluation.params.areaRngLbl = list(ranges)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _numbered(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies with ids from 1: pycocotools writes into what it is given, and takes a match with id 0 for no match."""
    return [{**annotation, "id": number} for number, annotation in enumerate(annotations, 1)]


def _nothing(coco: COCO) -> COCO:
    """loadRes refuses an empty list."""
    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(evaluation: COCOeval, size: str, *, iou: float | None = None) -> float | None:
    precision = evaluation.eval["precision"]  # (IoU, recall, class, size, max detections)
    column = evaluation.params.areaRngLbl.index(size)
    values = precision[:, :, :, column, -1]
    if iou is not None:
        values = values[np.isclose(evaluation.params.iouThrs, iou)]
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _recall(evaluation: COCOeval) -> float | None:
    recall = evaluation.eval["recall"][:, :, 0, -1]
    known = recall[recall > -1]
    return float(known.mean()) if known.size else None
