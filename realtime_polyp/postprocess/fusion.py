"""Fuse the detector's boxes with the segmenter's mask: each raises or lowers the confidence of the other.

A box gets a higher score where the mask fills it; a region of the mask fades where no box frames it. Each side is a
logistic regression on one measure of agreement, fitted by `python -m calibration.fusion` on the training split. Both
use the models' raw outputs, never the fused ones.
"""

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled
from realtime_polyp.engines.base import Engine
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.folders import asset
from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.json_files import check_format, check_json, parse_json, read_json
from realtime_polyp.messages import each_once
from realtime_polyp.packets import Boxes, Detections, Mask

FORMAT = 1
FUSION_FILE = asset("fusion.json")
LEAST_SCORE_WEIGHT, MOST_WEIGHT = 0.01, 20.0  # beyond these, no logit of a score matters any more: -13.8..13.8
LEAST_SCORE = 0.05  # lowest score of the boxes that fusion was fitted on and takes as input
_MIN_PROBABILITY = 0.5  # of the pixels of a region: the outline is drawn here
_RIM = np.ones((5, 5), np.uint8)  # the two px around a region fade with it, or a ring would remain
_AROUND = 1.5  # in box sizes: mask px out to here, beyond the ellipse, reduce the support
_MIN_HALF_PX = 0.75  # half axes of the smallest ellipse, map px: it still holds a pixel centre
_WHAT = "a fusion file"
_CURE = "make it again with calibration.fusion"
_EPSILON = 1e-6  # scores are kept this far from 0 and 1, where the logit is infinite
Values = NDArray[np.float64]


class FusionError(ValueError):
    """The fusion file cannot be used. The message is one sentence with the cure."""


@dataclass(frozen=True)
class BoxFusion:
    """Fused score of a box: sigmoid(bias + score * logit(score) + support * box_support).

    Boxes with equal support keep their order, because the weight of the score is above 0. A box that the mask hardly
    supports would be drawn without an outline, and is rarely a polyp: its score is at most LEAST_SCORE.

    Attributes:
        bias: intercept, -20..20.
        score: weight of the logit of the detector's score, 0.01..20.
        support: weight of `box_support`, -20..20.
        least_support: below this `box_support`, the score is at most LEAST_SCORE; 0..1.
    """

    bias: float
    score: float
    support: float
    least_support: float = 0.0

    def __post_init__(self) -> None:
        _check_weights(bias=self.bias, score=self.score, support=self.support)
        if not 0 <= self.least_support <= 1:
            raise FusionError(f"least_support must be a number in 0..1, not {self.least_support!r}")
        if self.score < LEAST_SCORE_WEIGHT:
            raise FusionError(f"the weight of the box score must be at least {LEAST_SCORE_WEIGHT:g}, not {self.score}")

    def __call__(self, scores: NDArray[np.float32], support: Values) -> NDArray[np.float32]:
        """Return the fused scores (n,) of boxes with these scores (n,) and supports (n,)."""
        fused = sigmoid(self.bias + self.score * logit(scores) + self.support * support)
        fused = np.where(support < self.least_support, np.minimum(fused, LEAST_SCORE), fused)
        return fused.clip(_EPSILON, 1 - _EPSILON).astype(np.float32)


@dataclass(frozen=True)
class MaskFusion:
    """Probability that a region of the mask is a polyp: sigmoid(bias + support * region_support).

    Attributes:
        bias: intercept, -20..20.
        support: weight of `region_support`, -20..20.
    """

    bias: float
    support: float

    def __post_init__(self) -> None:
        _check_weights(bias=self.bias, support=self.support)

    def __call__(self, support: Values) -> Values:
        """Return the probabilities (k,) of regions with these supports (k,)."""
        return sigmoid(self.bias + self.support * support)


@dataclass(frozen=True)
class FusedModel:
    """One of the two models that the fusion was fitted on.

    Attributes:
        model: name of the model.
        engine: name of the engine that ran it.
        key: that engine's key.
    """

    model: str
    engine: str
    key: str


@dataclass(frozen=True)
class Fusion:
    """The validated content of a fusion file.

    Attributes:
        name: file name, for messages.
        detector: the detector that it was fitted on.
        segmenter: the segmenter that it was fitted on.
        boxes: fusion of the box scores; None where it gained nothing.
        masks: fusion of the mask; None where it gained nothing.
    """

    name: str
    detector: FusedModel
    segmenter: FusedModel
    boxes: BoxFusion | None
    masks: MaskFusion | None


class _Document(msgspec.Struct, frozen=True):
    """The file, without the figures of the fit."""

    detector: FusedModel
    segmenter: FusedModel
    boxes: BoxFusion | None
    masks: MaskFusion | None


def fusion_for(detector: Engine | None, segmenter: Engine | None, path: Path = FUSION_FILE) -> Fusion | None:
    """Return the shipped fusion if it was fitted on these two models, on any engine; else None.

    Raises:
        FusionError: the file is damaged, or missing for the default models, which it ships with.
    """
    if detector is None or segmenter is None:
        return None
    if not os.path.lexists(path):
        if (detector.model, segmenter.model) != (DEFAULT_DETECTOR, DEFAULT_SEGMENTER):
            return None
        models = each_once((detector.model, segmenter.model), " and ")
        raise FusionError(
            f"{path}, the fusion of boxes and masks of {models}, is missing: restore it with git checkout, "
            "or run without it (--no-fusion)"
        )
    fusion = read_fusion(path)
    fitted_on = (fusion.detector.model, fusion.segmenter.model)
    return fusion if fitted_on == (detector.model, segmenter.model) else None


def fuse(detections: Detections, mask: Mask, fusion: Fusion) -> tuple[Detections, Mask]:
    """Return the fused detections, best first, and the fused mask.

    detections: after NMS, down to LEAST_SCORE and not thresholded yet, because support can raise a weak box.
    """
    fused = fuse_boxes(detections, mask, fusion.boxes) if fusion.boxes else detections
    return fused, fade_regions(mask, detections, fusion.masks) if fusion.masks else mask


def fuse_boxes(detections: Detections, mask: Mask, fusion: BoxFusion) -> Detections:
    """Return the detections with fused scores, best first."""
    scores = fusion(detections.scores, box_support(mask, detections.boxes))
    order = np.argsort(-scores, kind="stable")
    return Detections(detections.boxes[order], scores[order])


def fade_regions(mask: Mask, detections: Detections, fusion: MaskFusion) -> Mask:
    """Scale down the regions of the mask that are probably false; below a probability of 0.25 they disappear.

    No region is raised: where the segmenter misses a polyp its map is 0.00, and a box cannot change that.
    """
    labels, boxes = regions(mask)
    if not len(boxes):
        return mask
    gains = np.minimum(1.0, 2 * fusion(region_support(boxes, detections)))
    if (gains == 1).all():
        return mask
    inside = np.append(1.0, gains).astype(np.float32)[labels]
    faded = np.where(labels > 0, inside, cv2.erode(inside, _RIM))
    return replace(mask, probability=mask.probability * faded)


def box_support(mask: Mask, boxes: Boxes) -> Values:
    """Return how well the mask matches each box (n, 4), source px: (n,) in 0..1.

    This is the soft IoU of the mask with the ellipse inscribed in the box. Mask px beyond 1.5 box sizes are ignored.
    """
    return _soft_iou(mask.probability, (boxes - _corner(mask.field_of_view)) / _cell(mask))


@compiled()
def _soft_iou(probability: NDArray[np.float32], boxes: Boxes) -> Values:
    """Return the soft IoU (n,) of the map (h, w) with the ellipses in boxes (n, 4), map px."""
    height, width = probability.shape
    found = np.zeros(len(boxes))
    for i in range(len(boxes)):
        x, y = (boxes[i, 0] + boxes[i, 2]) / 2, (boxes[i, 1] + boxes[i, 3]) / 2
        half_x = max((boxes[i, 2] - boxes[i, 0]) / 2, _MIN_HALF_PX)
        half_y = max((boxes[i, 3] - boxes[i, 1]) / 2, _MIN_HALF_PX)
        inside, around, area = 0.0, 0.0, 0
        for row in range(max(0, int(y - _AROUND * half_y)), min(height, int(y + _AROUND * half_y) + 1)):
            for column in range(max(0, int(x - _AROUND * half_x)), min(width, int(x + _AROUND * half_x) + 1)):
                away_x, away_y = abs(column + 0.5 - x) / half_x, abs(row + 0.5 - y) / half_y
                if away_x**2 + away_y**2 <= 1:
                    inside += probability[row, column]
                    area += 1
                elif max(away_x, away_y) <= _AROUND:
                    around += probability[row, column]
        found[i] = inside / max(area + around, 1.0)
    return found


def regions(mask: Mask) -> tuple[NDArray[np.int32], Boxes]:
    """Return the connected components of the mask: labels (h, w), 0 for background, and boxes (k, 4) xyxy source px."""
    likely = (mask.probability >= _MIN_PROBABILITY).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(likely)
    x, y, across, down = (stats[1:, at] for at in range(4))
    cells = np.stack([x, y, x + across, y + down], axis=1).astype(np.float32)
    return np.asarray(labels, np.int32), cells * _cell(mask) + _corner(mask.field_of_view)


def region_support(boxes: Boxes, detections: Detections) -> Values:
    """Return how strongly the detections support each region, given the regions' boxes (k, 4): (k,), 0 without support.

    A detection's support is its IoU with the region times its logit above that of LEAST_SCORE. The largest counts.
    """
    weights = np.maximum(0.0, logit(detections.scores) - math.log(LEAST_SCORE / (1 - LEAST_SCORE)))
    return np.asarray((pairwise_iou(boxes, detections.boxes) * weights).max(axis=1, initial=0.0), np.float64)


def _cell(mask: Mask) -> Boxes:
    """Return the size of a map px in source px, twice: (4,)."""
    height, width = mask.probability.shape
    return np.array([mask.field_of_view.width / width, mask.field_of_view.height / height] * 2, np.float32)


def _corner(field: FieldOfView) -> Boxes:
    return np.array([field.x1, field.y1] * 2, np.float32)


def logit(scores: NDArray[np.floating]) -> Values:
    clipped = np.asarray(scores, np.float64).clip(_EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(clipped / (1 - clipped)))


def sigmoid(logits: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-logits)))


def read_fusion(path: Path) -> Fusion:
    """Read a fusion file.

    Raises:
        FusionError: the file is missing, damaged or of another format.
    """
    return _build(read_json(path, dict[str, Any], what=_WHAT, error=FusionError, cure=_CURE), path.name)


def parse_fusion(document: Any, name: str) -> Fusion:
    """Build a fusion from its JSON document. Raises FusionError naming what is missing or wrong."""
    return _build(parse_json(json.dumps(document), dict[str, Any], name, _WHAT, FusionError, _CURE), name)


def _build(document: dict[str, Any], name: str) -> Fusion:
    check_format(document, FORMAT, name, _WHAT, FusionError, _CURE)
    found = check_json(document, _Document, name, _WHAT, FusionError, _CURE)
    return Fusion(name, found.detector, found.segmenter, found.boxes, found.masks)


def _check_weights(**weights: float) -> None:
    """Raise FusionError for a weight that is no number, or with which every box would get the same score."""
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST_WEIGHT:
            raise FusionError(f"{name} must be a number in -{MOST_WEIGHT:g}..{MOST_WEIGHT:g}, not {value!r}")
