"""A still shown to a model at several sizes and hflip, the answers joined: the paper's multi-scale test, Table 2."""

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
    """The model size (h, w) px at this scale, in whole steps that a backbone divides."""
    height, width = (max(_STEP_PX, round(length * scale / _STEP_PX) * _STEP_PX) for length in size)
    return height, width


def detect_at_scales(
    detector: DetectorEngine, image: Image, field: FieldOfView, scales: Sequence[float], score_threshold: float
) -> Detections:
    """The candidates of every view together, in source px, before one NMS over all of them."""
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
    """The mean probability of all views, on the grid of the finest."""
    maps = []
    for scale in scales:
        batch = prepare([image], [field], scaled_size(segmenter.size, scale))
        there, back = segmenter(batch.pixels)[0], segmenter(_flip(batch.pixels))[0, :, ::-1]
        maps += [_crop_to_field(probability, batch) for probability in (there, back)]
    height, width = max((one.shape for one in maps), key=np.prod)
    resized = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in maps]
    return Mask(np.mean(resized, axis=0, dtype=np.float32), field)


def flip_boxes(boxes: Boxes, width: int) -> Boxes:
    """Boxes (n, 4) xyxy as they lie in the picture's mirror image, px of a picture `width` wide."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _flip(pixels: Pixels) -> Pixels:
    """(N, 3, h, w) left to right, still a channels-last view."""
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[:, :, ::-1]).transpose(0, 3, 1, 2)


def _crop_to_field(probability: np.ndarray, batch: Batch) -> np.ndarray:
    height, width = batch.pixels.shape[-2:]
    return mask_of(probability, batch.placements[0], (height, width)).probability


def _identity_placement(field: FieldOfView) -> Placement:
    """Where model px are source px: for boxes that have been moved already."""
    return Placement(field, field.x1, field.y1, field.width, field.height)
