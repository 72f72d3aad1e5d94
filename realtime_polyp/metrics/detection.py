"""Average precision of boxes and masks: as COCO defines it, and with the sizes of the EndoCV2021 challenge."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from realtime_polyp.metrics.run_lengths import RunLengths

_MAX_AREA = 1e10
Ranges = dict[str, tuple[float, float]]  # size -> smallest and largest area, px², both inclusive
COCO_RANGES: Ranges = {"all": (0, _MAX_AREA), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, _MAX_AREA)}
ENDOCV_RANGES: Ranges = {
    "all": (0, _MAX_AREA),
    "small": (0, 100**2),
    "medium": (100**2, 200**2),
    "large": (200**2, _MAX_AREA),
}


@dataclass(frozen=True)
class ImageBoxes:
    """The true and the found boxes of one image, in the same pixel grid.

    Attributes:
        true: (m, 4) xyxy px.
        found: (n, 4) xyxy px.
        scores: (n,), of the found boxes.
    """

    true: NDArray[np.float32]
    found: NDArray[np.float32]
    scores: NDArray[np.float32]

    def scaled(self, factor: float) -> "ImageBoxes":
        """Return the boxes in another pixel grid, such as that of the original image."""
        return ImageBoxes(self.true * factor, self.found * factor, self.scores)


@dataclass(frozen=True)
class ImageMasks:
    """The true and the found masks of one image, one for each polyp.

    Attributes:
        true: (m) run lengths of the image's size.
        found: (n) run lengths.
        scores: (n,), of the found masks.
    """

    true: Sequence[RunLengths]
    found: Sequence[RunLengths]
    scores: NDArray[np.float32]


def coco_ap(images: Sequence[ImageBoxes]) -> dict[str, float | None]:
    """Return AP, AP50, AP75, AP_s, AP_m, AP_l and AR in 0..1; None for a size without true boxes."""
    evaluation = evaluate_boxes(coco_truth(images), coco_results(images), COCO_RANGES)
    return {
        "AP": _average_precision(evaluation, "all"),
        "AP50": _average_precision(evaluation, "all", iou=0.5),
        "AP75": _average_precision(evaluation, "all", iou=0.75),
        "AP_s": _average_precision(evaluation, "s"),
        "AP_m": _average_precision(evaluation, "m"),
        "AP_l": _average_precision(evaluation, "l"),
        "AR": _average_recall(evaluation),
    }


def coco_mask_ap(images: Sequence[ImageMasks]) -> dict[str, float | None]:
    """Return AP, AP50 and AP75 of masks in 0..1; None without true masks. Overlap is the IoU of the masks."""
    truth = {
        **coco_truth([]),
        "images": [_size_of(image) | {"id": index} for index, image in enumerate(images, 1)],
        "annotations": [
            {
                "image_id": index,
                "category_id": 1,
                "segmentation": dict(mask),
                "area": float(coco_mask.area(mask)),
                "bbox": coco_mask.toBbox(mask).tolist(),
                "iscrowd": 0,
            }
            for index, image in enumerate(images, 1)
            for mask in image.true
        ],
    }
    found = [
        {"image_id": index, "category_id": 1, "segmentation": dict(mask), "score": score}
        for index, image in enumerate(images, 1)
        for mask, score in zip(image.found, image.scores.tolist(), strict=True)
    ]
    evaluation = _evaluate(truth, found, {"all": COCO_RANGES["all"]}, "segm")
    return {
        "AP": _average_precision(evaluation, "all"),
        "AP50": _average_precision(evaluation, "all", iou=0.5),
        "AP75": _average_precision(evaluation, "all", iou=0.75),
    }


def _size_of(image: ImageMasks) -> dict[str, int]:
    """Return the height and the width of an image, as its masks have them."""
    height, width = next((mask["size"] for mask in (*image.true, *image.found)), (0, 0))
    return {"height": height, "width": width}


def endocv_ap(images: Sequence[ImageBoxes]) -> dict[str, float | None]:
    """Return the figures of the EndoCV2021 challenge in 0..1; None for a size without true boxes.

    The boxes must be in pixels of the original image. score_d, the mean of AP over all sizes and AP of each size, is
    None if one of them is.
    """
    return endocv_ap_of(coco_truth(images), coco_results(images))


def endocv_ap_of(truth: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the same figures for annotations and results in the challenge's COCO format.

    The size of a true box is that of its annotation's `area`. Raises ValueError if a result refers to an image that is
    not in the annotations.
    """
    evaluation = evaluate_boxes(truth, found, ENDOCV_RANGES)
    sizes = {f"AP_{name}": _average_precision(evaluation, name) for name in ("small", "medium", "large")}
    overall = _average_precision(evaluation, "all")
    return {
        "AP": overall,
        "AP50": _average_precision(evaluation, "all", iou=0.5),
        "AP75": _average_precision(evaluation, "all", iou=0.75),
        **sizes,
        "AR": _average_recall(evaluation),
        "score_d": _mean_of([overall, *sizes.values()]),
    }


def deviation(mixed: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """Return the challenge's generalisation deviation of another centre's figures from those of the mixed set.

    A figure within 10 % of the mixed figure has deviation 0, any other the distance to 90 % of the mixed figure; the
    result is the mean over the figures, None if one is missing. The official definition is asymmetric: a figure that
    is much higher has a larger deviation than one that is lower by the same amount.
    """
    known = [(p, g) for p, g in zip(mixed, other, strict=True) if p is not None and g is not None]
    if not known or len(known) < len(mixed):
        return None
    return sum(0.0 if 0.9 * p <= g <= 1.1 * p else abs(0.9 * p - g) for p, g in known) / len(known)


def final_average(mixed_ap: float | None, generalisation_aps: Sequence[float | None]) -> float | None:
    """Return `final_dAvg`, the mean AP of the mixed set and the generalisation sets; None if one is missing."""
    return _mean_of([mixed_ap, *generalisation_aps])


def _mean_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def coco_truth(images: Sequence[ImageBoxes]) -> dict[str, Any]:
    """Return the true boxes as a COCO data set; image ids start at 1."""
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
    """Return the found boxes as COCO results with the image ids of `coco_truth`."""
    return [
        {"image_id": index, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for index, image in enumerate(images, 1)
        for (x1, y1, x2, y2), score in zip(image.found.tolist(), image.scores.tolist(), strict=True)
    ]


def evaluate_boxes(truth: dict[str, Any], found: list[dict[str, Any]], ranges: Ranges) -> COCOeval:
    """Run pycocotools' evaluation and accumulation. Raises ValueError if a result's image is not in the truth."""
    return _evaluate(truth, found, ranges, "bbox")


def _evaluate(truth: dict[str, Any], found: list[dict[str, Any]], ranges: Ranges, kind: str) -> COCOeval:
    """kind: "bbox" or "segm"."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress on stdout
        coco = COCO()
        coco.dataset = {"info": {}, **truth, "annotations": _with_ids(truth["annotations"])}
        coco.createIndex()
        unknown = {result["image_id"] for result in found} - set(coco.imgs)
        if unknown:
            raise ValueError(f"the results contain image ids that are not in the truth: {sorted(unknown)[:5]}")
        evaluation = COCOeval(coco, coco.loadRes(_with_ids(found)) if found else _empty_results(coco), kind)
        evaluation.params.areaRng = [list(limits) for limits in ranges.values()]
        evaluation.params.areaRngLbl = list(ranges)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _with_ids(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return copies with ids from 1: pycocotools modifies its input, and treats a match with id 0 as no match."""
    return [{**annotation, "id": number} for number, annotation in enumerate(annotations, 1)]


def _empty_results(coco: COCO) -> COCO:
    """Return results without boxes, which `COCO.loadRes` cannot create from an empty list."""
    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _average_precision(evaluation: COCOeval, size: str, *, iou: float | None = None) -> float | None:
    precision = evaluation.eval["precision"]  # (IoU, recall, class, size, max detections)
    index = evaluation.params.areaRngLbl.index(size)
    values = precision[:, :, :, index, -1]
    if iou is not None:
        values = values[np.isclose(evaluation.params.iouThrs, iou)]
    known = values[values > -1]  # -1: no true box of this size
    return float(known.mean()) if known.size else None


def _average_recall(evaluation: COCOeval) -> float | None:
    recall = evaluation.eval["recall"][:, :, 0, -1]  # (IoU, class, size, max detections)
    known = recall[recall > -1]
    return float(known.mean()) if known.size else None
