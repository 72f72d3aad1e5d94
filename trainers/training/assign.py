"""Which places learn which polyp: adaptive training sample selection.

Source: Zhang et al., ATSS (CVPR 2020); the paper, section 2.1.3, which raises k from 9 to 13.
"""

import torch
from torch import Tensor

from realtime_polyp.models.boxes import centres, pairwise_iou

PAPER_K = 13


def square_anchors(points: Tensor, strides: Tensor, scale: float) -> Tensor:
    """One square anchor a point, `scale` strides wide: (P, 4) px."""
    half = (strides * scale / 2)[:, None]
    return torch.cat([points - half, points + half], dim=1)


def atss(anchors: Tensor, level_sizes: list[int], truth: Tensor, *, k: int = PAPER_K) -> Tensor:
    """Index of the true box that each anchor learns, -1 for background: (P,) int64.

    anchors: (P, 4), levels concatenated, `level_sizes` of them in each. truth: (m, 4).
    Of each level the k anchors nearest to a box's centre are candidates; those whose IoU reaches the candidates'
    mean plus standard deviation, with the centre inside the box, learn it. An anchor wanted twice takes the higher IoU.
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
    # not by way of a matrix product, whose rounding may part what is equally far from one run to the next
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
    """Index of the true box (m, 4) that each anchor (P, 4) learns, -1 for background, -2 for neither: (P,) int64.

    An anchor whose best IoU reaches `positive` learns that box, below `negative` it is background. With `rescue`, a
    box's best anchors learn it too where their IoU is at least `least` (and above 0), so that no polyp goes unlearnt.
    Source: Ren et al., Faster R-CNN, section 3.1.2.
    """
    if len(truth) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    overlaps = pairwise_iou(anchors, truth)
    best, index = overlaps.max(dim=1)
    learnt = torch.where(best >= positive, index, -2)
    learnt = torch.where(best < negative, -1, learnt)
    if rescue:
        for number, most in enumerate(
            overlaps.amax(0)
        ):  # a later box takes an anchor that both want, as in mmdetection
            if most >= max(least, 1e-9):
                learnt[overlaps[:, number] == most] = number
    return learnt
