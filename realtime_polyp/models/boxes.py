"""Pure functions on boxes (n, 4) xyxy, shared by the models, the trainers and the metrics."""

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """Areas (n,); an inverted box has area zero."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def centres(boxes: Tensor) -> Tensor:
    """Centres (n, 2), x then y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area shared by boxes of broadcastable shapes (..., 4)."""
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    return (bottom_right - top_left).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes of broadcastable shapes; 0 where both are empty."""
    shared = intersection(a, b)
    return shared / (area(a) + area(b) - shared).clamp(min=1e-6)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every box of a (n, 4) with every box of b (m, 4): (n, m)."""
    return iou(a[:, None], b[None])


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al., CVPR 2019) of paired boxes, in [-1, 1]."""
    shared = intersection(a, b)
    union = (area(a) + area(b) - shared).clamp(min=1e-6)
    hull_size = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = hull_size.prod(-1).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """Boxes from points (..., 2) and their distances to the left, top, right and bottom edge (..., 4)."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """The inverse of `from_distances`."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)
