"""Multi-scale testing (the paper's Table 2): run a model on a still at several sizes, flipped and not, and merge."""

from collections.abc import Sequence

import cv2
import numpy as np

from realtime_polyp.engines.base import DetectorEngine, Pixels, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.packets import Boxes, Detections, Mask
from realtime_polyp.postprocess.nms import detections_of, mask_of
from realtime_polyp.preprocess.letterbox import Batch, Placement, prepare

SCALES = (0.75, 1.0, 1.25)
_STEP_PX = 32  # the coarsest stride of a backbone


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the model size (h, w) px at this scale, rounded to multiples of the coarsest stride."""
    height, width = (max(_STEP_PX, round(length * scale / _STEP_PX) * _STEP_PX) for length in size)
    return height, width


def detect_at_scales(
    detector: DetectorEngine, image: Image, field: FieldOfView, scales: Sequence[float], score_threshold: float
) -> Detections:
    """Detect in every view and apply one NMS to all boxes together, in source px."""
    boxes, scores = [], []
    for scale in scales:
        batch = prepare([image], [field], scaled_size(detector.size, scale))
        for mirrored in (False, True):
            found, certainty = detector(_flip(batch.pixels) if mirrored else batch.pixels)
            placed = flip_boxes(found[0], batch.pixels.shape[-1]) if mirrored else found[0]
            boxes.append(batch.placements[0].boxes_to_source(placed))
            scores.append(certainty[0])
    return detections_of(
        np.concatenate(boxes), np.concatenate(scores), _identity_placement(field), score_threshold=score_threshold
    )


def segment_at_scales(segmenter: SegmenterEngine, image: Image, field: FieldOfView, scales: Sequence[float]) -> Mask:
    """Average the probabilities of all views on the grid of the finest one."""
    maps = []
    for scale in scales:
        batch = prepare([image], [field], scaled_size(segmenter.size, scale))
        there, back = segmenter(batch.pixels)[0], segmenter(_flip(batch.pixels))[0, :, ::-1]
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
