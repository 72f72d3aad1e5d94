"""Multi-scale testing (the paper's Table 2): run a model on a still at several sizes, flipped and not, and merge."""

from collections.abc import Sequence
from copy import copy
from typing import TypeVar

import cv2
import numpy as np

from realtime_polyp.engines.base import DetectorEngine, Engine, Pixels, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.inference.checked import checked_predictions, checked_probability
from realtime_polyp.packets import Boxes, Detections, Mask
from realtime_polyp.postprocess.nms import detections_of, mask_of
from realtime_polyp.preprocess.letterbox import Batch, Placement, prepare

SCALES = (0.75, 1.0, 1.25)
_STEP_PX = 32  # the coarsest stride of a backbone
AnyEngine = TypeVar("AnyEngine", bound=Engine)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the model size (h, w) px at this scale, rounded to multiples of the coarsest stride."""
    height, width = (max(_STEP_PX, round(length * scale / _STEP_PX) * _STEP_PX) for length in size)
    return height, width


def _at_scale(engine: AnyEngine, scale: float) -> AnyEngine:
    """Return the same model with the input size at this scale, which the checks of its outputs go by."""
    resized = copy(engine)
    resized.size = scaled_size(engine.size, scale)
    return resized


def detect_at_scales(
    detector: DetectorEngine, image: Image, field: FieldOfView, scales: Sequence[float], score_threshold: float
) -> Detections:
    """Detect in every view and apply one NMS to all boxes together, in source px.

    Raises ModelOutputError for an answer that cannot be a result.
    """
    boxes, scores = [], []
    for scale in scales:
        engine = _at_scale(detector, scale)
        batch = prepare([image], [field], engine.size)
        for mirrored in (False, True):
            pixels = _flip(batch.pixels) if mirrored else batch.pixels
            found, certainty = checked_predictions(engine(pixels), engine, 1)
            placed = flip_boxes(found[0], batch.pixels.shape[-1]) if mirrored else found[0]
            boxes.append(batch.placements[0].boxes_to_source(placed))
            scores.append(certainty[0])
    return detections_of(
        np.concatenate(boxes), np.concatenate(scores), _identity_placement(field), score_threshold=score_threshold
    )


def segment_at_scales(segmenter: SegmenterEngine, image: Image, field: FieldOfView, scales: Sequence[float]) -> Mask:
    """Average the probabilities of all views on the grid of the finest one.

    Raises ModelOutputError for an answer that cannot be a result.
    """
    maps = []
    for scale in scales:
        engine = _at_scale(segmenter, scale)
        batch = prepare([image], [field], engine.size)
        there = checked_probability(engine(batch.pixels), engine, 1)[0]
        back = checked_probability(engine(_flip(batch.pixels)), engine, 1)[0, :, ::-1]
        maps += [_crop_to_field(probability, batch) for probability in (there, back)]
    height, width = max((one.shape for one in maps), key=np.prod)
    resized = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in maps]
    return Mask(np.mean(resized, axis=0, dtype=np.float32), field)


def flip_boxes(boxes: Boxes, width: int) -> Boxes:
    """Flip boxes (n, 4) xyxy left to right, px of an image `width` wide."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _flip(pixels: Pixels) -> Pixels:
    """Flip pixels (N, 3, h, w) left to right; stays a channels-last view."""
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[:, :, ::-1]).transpose(0, 3, 1, 2)


def _crop_to_field(probability: np.ndarray, batch: Batch) -> np.ndarray:
    height, width = batch.pixels.shape[-2:]
    return mask_of(probability, batch.placements[0], (height, width)).probability


def _identity_placement(field: FieldOfView) -> Placement:
    """Return the placement whose model px are source px, for boxes that are in source px already."""
    return Placement(field, field.x1, field.y1, field.width, field.height)
