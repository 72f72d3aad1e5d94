"""Two models that look at one frame believe each other: a box is surer where the mask fills it, a region of the mask
where a box frames it.

Each side has one figure of agreement and a logistic regression on it, learnt by `python -m calibration.fusion` on the
training split. Both are told of what the models themselves said, so that neither hears its own word back.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import Engine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.packets import Boxes, Detections, Mask

FORMAT = 1
FUSION_FILE = Path(__file__).resolve().parents[2] / "assets" / "fusion.json"
LEAST_SCORE = 0.05  # of the boxes that fusion was learnt on, and should be given: below it a detector all but says no
_LEAST_PROBABILITY = 0.5  # of a region's cells: where the outline is drawn
_RIM = np.ones((5, 5), np.uint8)  # two cells around a region fade with it: no ring is left of what is gone
_AROUND = 1.5  # of a box's size: mask out there, beyond the polyp that the box claims, speaks against it
_LEAST_HALF_CELLS = 0.75  # of a box's side: the smallest ellipse still holds the middle of a cell
_END = 1e-6  # a score's distance from 0 and 1, which have no logit
Values = NDArray[np.float64]


class FusionError(ValueError):
    """The fusion cannot be used; the message is one sentence with the cure."""


@dataclass(frozen=True)
class BoxFusion:
    """sigmoid(bias + score * logit(score) + support * box_support): with score above 0, boxes of equal support keep
    their order."""

    bias: float
    score: float
    support: float

    def __post_init__(self) -> None:
        _check_numbers(self.bias, self.score, self.support)
        if self.score <= 0:
            raise FusionError(f"the weight of a box's own score must be above 0, not {self.score}")

    def __call__(self, scores: NDArray[np.float32], support: Values) -> NDArray[np.float32]:
        fused = sigmoid(self.bias + self.score * logit(scores) + self.support * support)
        return fused.clip(_END, 1 - _END).astype(np.float32)


@dataclass(frozen=True)
class MaskFusion:
    """sigmoid(bias + support * region_support): that a region of the mask is a polyp."""

    bias: float
    support: float

    def __post_init__(self) -> None:
        _check_numbers(self.bias, self.support)

    def __call__(self, support: Values) -> Values:
        return sigmoid(self.bias + self.support * support)


@dataclass(frozen=True)
class FusedModel:
    """One of the two models that were learnt from: its name, its engine and that engine's key."""

    model: str
    engine: str
    key: str


@dataclass(frozen=True)
class Fusion:
    """One file, checked. name: the file's, for messages. boxes, masks: None where that side gained nothing."""

    name: str
    detector: FusedModel
    segmenter: FusedModel
    boxes: BoxFusion | None
    masks: MaskFusion | None


def fusion_for(detector: Engine | None, segmenter: Engine | None, path: Path = FUSION_FILE) -> Fusion | None:
    """The shipped one where it was learnt from these two models, on whatever engine; else None: they run unfused.

    Raises FusionError for a file that is harmed.
    """
    if detector is None or segmenter is None or not path.is_file():
        return None
    fusion = read_fusion(path)
    learnt_from = (fusion.detector.model, fusion.segmenter.model)
    return fusion if learnt_from == (detector.model, segmenter.model) else None


def fuse(detections: Detections, mask: Mask, fusion: Fusion) -> tuple[Detections, Mask]:
    """Both as they stand after hearing each other; scores fall again.

    detections: after NMS, from LEAST_SCORE up and not yet cut at a threshold, so that support may lift a weak box.
    """
    fused = fused_detections(detections, mask, fusion.boxes) if fusion.boxes else detections
    return fused, faded_mask(mask, detections, fusion.masks) if fusion.masks else mask


def fused_detections(detections: Detections, mask: Mask, learnt: BoxFusion) -> Detections:
    scores = learnt(detections.scores, box_support(mask, detections.boxes))
    order = np.argsort(-scores, kind="stable")
    return Detections(detections.boxes[order], scores[order])


def faded_mask(mask: Mask, detections: Detections, learnt: MaskFusion) -> Mask:
    """Regions more likely false than true fade, the less likely the more, and are gone from a quarter down.

    No region is strengthened: where a segmenter misses a polyp it says 0.00 all over, which no box can lift.
    """
    labels, boxes = regions(mask)
    if not len(boxes):
        return mask
    kept = np.minimum(1.0, 2 * learnt(region_support(boxes, detections)))
    if (kept == 1).all():
        return mask
    inside = np.append(1.0, kept).astype(np.float32)[labels]
    faded = np.where(labels > 0, inside, cv2.erode(inside, _RIM))
    return replace(mask, probability=mask.probability * faded)


def box_support(mask: Mask, boxes: Boxes) -> Values:
    """How well the mask fills each box (n, 4) and keeps to it, in 0..1: (n,).

    The soft IoU of the mask and the ellipse within the box, as far as half a box's side beyond it.
    """
    return _filled(mask.probability, (boxes - _corner(mask.field_of_view)) / _cell(mask))


@numba.njit(cache=True)
def _filled(probability: NDArray[np.float32], boxes: Boxes) -> Values:
    """Of boxes (n, 4) in cells of the map (h, w)."""
    height, width = probability.shape
    found = np.zeros(len(boxes))
    for i in range(len(boxes)):
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        half_x = max((boxes[i, 2] - boxes[i, 0]) / 2, _LEAST_HALF_CELLS)
        half_y = max((boxes[i, 3] - boxes[i, 1]) / 2, _LEAST_HALF_CELLS)
        inside, around, cells = 0.0, 0.0, 0
        for row in range(max(0, int(y - _AROUND * half_y)), min(height, int(y + _AROUND * half_y) + 1)):
            for column in range(max(0, int(x - _AROUND * half_x)), min(width, int(x + _AROUND * half_x) + 1)):
                away_x, away_y = abs(column + 0.5 - x) / half_x, abs(row + 0.5 - y) / half_y
                if away_x**2 + away_y**2 <= 1:
                    inside += probability[row, column]
                    cells += 1
                elif max(away_x, away_y) <= _AROUND:
                    around += probability[row, column]
        found[i] = inside / max(cells + around, 1.0)
    return found


def regions(mask: Mask) -> tuple[NDArray[np.int32], Boxes]:
    """The mask's connected regions: labels (h, w), 0 where there is none, and their boxes (k, 4) xyxy source px."""
    likely = (mask.probability >= _LEAST_PROBABILITY).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(likely)
    x, y, across, down = (stats[1:, at] for at in range(4))
    cells = np.stack([x, y, x + across, y + down], axis=1).astype(np.float32)
    return np.asarray(labels, np.int32), cells * _cell(mask) + _corner(mask.field_of_view)


def region_support(boxes: Boxes, detections: Detections) -> Values:
    """How surely a detection frames each region's box (k, 4): (k,), from 0 where none does.

    Its logit above that of LEAST_SCORE times its IoU with the region, of the detection that gives most.
    """
    worth = np.maximum(0.0, logit(detections.scores) - math.log(LEAST_SCORE / (1 - LEAST_SCORE)))
    return np.asarray((pairwise_iou(boxes, detections.boxes) * worth).max(axis=1, initial=0.0), np.float64)


def _cell(mask: Mask) -> Boxes:
    """A cell's width and height, twice (4,), source px."""
    height, width = mask.probability.shape
    return np.array([mask.field_of_view.width / width, mask.field_of_view.height / height] * 2, np.float32)


def _corner(field: FieldOfView) -> Boxes:
    return np.array([field.x1, field.y1] * 2, np.float32)


def logit(scores: NDArray[np.floating]) -> Values:
    clipped = np.asarray(scores, np.float64).clip(_END, 1 - _END)
    return np.asarray(np.log(clipped / (1 - clipped)))


def sigmoid(logits: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-logits)))


def read_fusion(path: Path) -> Fusion:
    """Raises FusionError when the file is not there, is none of ours, or lacks something."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FusionError(f"cannot read the fusion {path}: {error}") from error
    return parse_fusion(document, path.name)


def parse_fusion(document: Any, name: str) -> Fusion:
    """Raises FusionError naming what is missing or wrong."""
    again = "make it again with calibration.fusion"
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT:
        raise FusionError(f"{name} is not a fusion of format {FORMAT} but of {version!r}: {again}")
    try:
        return _parsed(document, name)
    except KeyError as error:
        raise FusionError(f"{name} lacks {error}: {again}") from error
    except (TypeError, ValueError) as error:
        raise FusionError(f"{name} is not laid out as a fusion: {error}") from error


def _parsed(document: dict[str, Any], name: str) -> Fusion:
    boxes, masks = document["boxes"], document["masks"]
    return Fusion(
        name,
        _model(document["detector"]),
        _model(document["segmenter"]),
        None if boxes is None else BoxFusion(boxes["bias"], boxes["score"], boxes["support"]),
        None if masks is None else MaskFusion(masks["bias"], masks["support"]),
    )


def _model(part: dict[str, Any]) -> FusedModel:
    names = [part[name] for name in ("model", "engine", "key")]
    if not all(isinstance(name, str) for name in names):
        raise FusionError(f"model, engine and key must be texts, not {names}")
    return FusedModel(*names)


def _check_numbers(*values: Any) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise FusionError(f"a number is needed, not {value!r}")
