"""Assignment of true boxes to anchors: adaptive training sample selection, and by largest IoU.

Source: Zhang et al., ATSS (CVPR 2020); the paper, section 2.1.3, which raises k from 9 to 13.
"""

import torch
from torch import Tensor

from realtime_polyp.models.boxes import centres, pairwise_iou

PAPER_K = 13


def square_anchors(points: Tensor, strides: Tensor, scale: float) -> Tensor:
    """Return one square anchor per point, `scale` strides wide: (P, 4) px."""
    half = (strides * scale / 2)[:, None]
    return torch.cat([points - half, points + half], dim=1)


def atss(anchors: Tensor, level_sizes: list[int], truth: Tensor, *, k: int = PAPER_K) -> Tensor:
    """Return the index of the true box assigned to each anchor, -1 for background: (P,) int64.

    The candidates of a box are the k anchors of each level nearest to its centre. Those whose IoU reaches the mean plus
    the standard deviation of the candidates, and whose centre lies in the box, are assigned to it. An anchor that
    several boxes claim goes to the one with the largest IoU.

    anchors: (P, 4), levels concatenated. level_sizes: number of anchors of each level. truth: (m, 4).
    """
    if len(truth) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    overlaps = pairwise_iou(anchors, truth)
    candidates = _nearest_per_level(anchors, level_sizes, truth, k)
    candidate_overlaps = overlaps.gather(0, candidates)
    threshold = candidate_overlaps.mean(0) + candidate_overlaps.std(0)
    chosen = torch.zeros_like(overlaps, dtype=torch.bool)
    chosen.scatter_(0, candidates, candidate_overlaps >= threshold)
    chosen &= _centre_inside(anchors, truth)
    best, index = torch.where(chosen, overlaps, -1.0).max(dim=1)
    return torch.where(best >= 0, index, -1)


def _nearest_per_level(anchors: Tensor, level_sizes: list[int], truth: Tensor, k: int) -> Tensor:
    # without a matrix product, whose rounding can differ between runs and so break ties differently
    distance = torch.cdist(centres(anchors), centres(truth), compute_mode="donot_use_mm_for_euclid_dist")
    chosen, start = [], 0
    for size in level_sizes:
        nearest = distance[start : start + size].topk(min(k, size), dim=0, largest=False).indices
        chosen.append(nearest + start)
        start += size
    return torch.cat(chosen)


def _centre_inside(anchors: Tensor, truth: Tensor) -> Tensor:
    x, y = centres(anchors)[:, None].unbind(-1)
    inside = torch.stack([x - truth[:, 0], y - truth[:, 1], truth[:, 2] - x, truth[:, 3] - y])
    return inside.amin(0) > 0.01


def max_iou(
    anchors: Tensor, truth: Tensor, *, positive: float, negative: float, least: float = 0.0, rescue: bool = True
) -> Tensor:
    """Return the index of the true box (m, 4) assigned to each anchor (P, 4), -1 background, -2 ignored: (P,) int64.

    An anchor is assigned to its best box if their IoU reaches `positive`, and is background below `negative`. With
    `rescue`, the best anchors of each box are assigned to it too, if their IoU is at least `least` and above 0.
    Source: Ren et al., Faster R-CNN, section 3.1.2.
    """
    if len(truth) == 0 or len(anchors) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    overlaps = pairwise_iou(anchors, truth)
    best, index = overlaps.max(dim=1)
    assigned = torch.where(best >= positive, index, -2)
    assigned = torch.where(best < negative, -1, assigned)
    if rescue:
        # A later box overrides an earlier one, as in mmdetection.
        for number, most in enumerate(overlaps.amax(0)):
            if most >= max(least, 1e-9):
                assigned[overlaps[:, number] == most] = number
    return assigned
