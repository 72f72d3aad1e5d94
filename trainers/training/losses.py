"""Loss functions of the detector and the segmenter.

Detector: quality focal, distribution focal and GIoU loss (Li et al., NeurIPS 2020 and CVPR 2021). Segmenter: cross
entropy and Dice on the predictions of both F_p and F_l (the paper, section 2.2.3).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from realtime_polyp.models.boxes import giou, iou, to_distances
from realtime_polyp.models.detector import DetectorConfig, DetectorMaps, decode
from trainers.training.assign import atss, square_anchors

_DFL_WEIGHT = 0.25
_GIOU_WEIGHT = 2.0
_EDGE_MARGIN = 0.1  # keeps the target's right bin inside the distribution


@dataclass(frozen=True)
class DetectorTargets:
    """Targets per location: positive (N, P) bool; boxes (N, P, 4) px, zero where not positive."""

    positive: Tensor
    boxes: Tensor


def detector_targets(maps: DetectorMaps, config: DetectorConfig, truths: list[Tensor]) -> DetectorTargets:
    """Assign targets with ATSS. truths: one (m, 4) xyxy px per image."""
    anchors = square_anchors(maps.points, maps.strides, config.anchor_scale)
    sizes = [int((maps.strides == stride).sum()) for stride in config.strides]
    positive, boxes = [], []
    for truth in truths:
        index = atss(anchors, sizes, truth)
        positive.append(index >= 0)
        padded = torch.cat([truth, truth.new_zeros(1, 4)])  # index -1 reads the zero box
        boxes.append(padded[index])
    return DetectorTargets(torch.stack(positive), torch.stack(boxes))


def detector_loss(maps: DetectorMaps, config: DetectorConfig, truths: list[Tensor]) -> dict[str, Tensor]:
    """Return the three weighted losses, scalars; training minimises their sum."""
    targets = detector_targets(maps, config, truths)
    chosen = targets.positive
    predicted, true = decode(maps)[chosen], targets.boxes[chosen]
    quality = torch.zeros_like(maps.scores)
    quality[chosen] = iou(predicted.detach(), true)
    weight = maps.scores.detach()[chosen]
    total = weight.sum().clamp(min=1.0)  # an all-negative batch divides by one, not by zero
    edges = edge_targets(maps, chosen, true, config.reg_max)
    return {
        "quality": quality_focal(maps.scores, quality).sum() / chosen.sum().clamp(min=1),
        "giou": _GIOU_WEIGHT * (weight * (1 - giou(predicted, true))).sum() / total,
        "edges": _DFL_WEIGHT * (weight * distribution_focal(maps.distributions[chosen], edges).mean(-1)).sum() / total,
    }


def edge_targets(maps: DetectorMaps, chosen: Tensor, true: Tensor, reg_max: int) -> Tensor:
    """Return the true distances (n, 4) of the chosen locations in strides, clamped to the distribution."""
    place = chosen.nonzero()[:, 1]
    distances = to_distances(maps.points[place], true) / maps.strides[place, None]
    return distances.clamp(0, reg_max - _EDGE_MARGIN)


def quality_focal(scores: Tensor, quality: Tensor, *, beta: float = 2.0) -> Tensor:
    """Return the quality focal loss, elementwise: |score - quality|^beta times binary cross entropy."""
    bce = F.binary_cross_entropy(scores.clamp(1e-6, 1 - 1e-6), quality, reduction="none")
    return (scores - quality).abs().pow(beta) * bce


def focal(logits: Tensor, truth: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the binary focal loss (Lin et al., ICCV 2017, eq. 5), elementwise. truth: 0 or 1, ones weigh `alpha`."""
    probability = logits.sigmoid()
    miss = probability * (1 - truth) + (1 - probability) * truth
    weight = (alpha * truth + (1 - alpha) * (1 - truth)) * miss.pow(gamma)
    return weight * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def distribution_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy (n, 4) with the two bins around each target (n, 4). logits: (n, 4, bins)."""
    left = target.long()
    log_probability = logits.log_softmax(-1)
    near = log_probability.gather(-1, left[..., None]).squeeze(-1)
    far = log_probability.gather(-1, left[..., None] + 1).squeeze(-1)
    fraction = target - left
    return -(1 - fraction) * near - fraction * far


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return cross entropy plus Dice loss, scalar. logits, truth: (N, h, w); truth in {0, 1}."""
    return F.binary_cross_entropy_with_logits(logits, truth) + dice_loss(logits.sigmoid(), truth)


def dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of 1 - Dice over the images; it is 0 if there is no polyp and nothing is predicted."""
    smooth = 1.0
    shared = (probability * truth).sum((1, 2))
    total = probability.sum((1, 2)) + truth.sum((1, 2))
    return (1 - (2 * shared + smooth) / (total + smooth)).mean()


def segmenter_loss(logits: tuple[Tensor, Tensor], truth: Tensor) -> dict[str, Tensor]:
    """Return the losses of the predictions from F_p and F_l. logits (N, h', w') are resized to the truth (N, h, w)."""
    names = ("full", "low_rank")
    return {
        name: mask_loss(F.interpolate(x[:, None], truth.shape[-2:], mode="bilinear")[:, 0], truth)
        for name, x in zip(names, logits, strict=True)
    }
