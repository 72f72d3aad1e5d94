"""PAA: an anchor is positive if a mixture of two Gaussians, fitted to the losses, assigns it to the better component.

Source: Kim and Lee, Probabilistic Anchor Assignment with IoU Prediction (ECCV 2020); a baseline of the paper's Table 1.
The net is ATSS's, with the IoU in place of the centerness.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.boxes import giou, iou
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.detectors.dense import (
    QUALITY_HEAD_NAMES,
    SIZE,
    STRIDES,
    AnchorMaps,
    QualityHead,
    anchor_maps,
    assigned_boxes,
    entropy,
)
from trainers.detectors.mixture import fit, log_densities
from trainers.training.anchors import clip_to, decode
from trainers.training.assign import max_iou
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import focal

STDS = (0.1, 0.1, 0.2, 0.2)
_GIOU_WEIGHT = 1.3
_IOU_WEIGHT = 0.5
MMDET_NAMES = QUALITY_HEAD_NAMES


@dataclass(frozen=True)
class PAAConfig:
    """size: input (h, w) px. strides: of the pyramid's levels. anchor_scale: anchor side in strides. candidate_iou: of
    an anchor that may learn a polyp with it. k: candidates of each level that the mixture is fitted to."""

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig()
    size: tuple[int, int] = SIZE
    stacked_convs: int = 4
    strides: tuple[int, ...] = STRIDES
    anchor_scale: float = 8.0
    candidate_iou: float = 0.1
    k: int = 9


class PAA(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> boxes (N, P, 4) in input px, inside the image, and scores (N, P)."""

    def __init__(self, config: PAAConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        levels = len(config.strides)
        self.head = QualityHead(config.neck.channels, config.stacked_convs, levels, quality_of_boxes=True)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(pixels)
        boxes = decode(maps.anchors, maps.deltas, STDS)
        scores = (maps.classes.sigmoid() * maps.quality.sigmoid()).sqrt()
        return clip_to(boxes, pixels.shape[-2:]), scores

    def maps(self, pixels: Tensor) -> AnchorMaps:
        """What the losses compare with the truth."""
        return anchor_maps(self, pixels)


build = PAA


def loss(model: PAA, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.maps(images), model.config, targets)


@in_full_precision
def _criterion(maps: AnchorMaps, config: PAAConfig, targets: Targets) -> Losses:
    """Classes and IoU count over the positive anchors; GIoU is weighted by the IoU that the box has now."""
    index = _assign(maps, config, targets.boxes)
    learnt = index >= 0
    anchors, true = maps.anchors.expand_as(maps.deltas)[learnt], assigned_boxes(index, targets.boxes)[learnt]
    predicted = decode(anchors, maps.deltas[learnt], STDS)
    overlap = iou(predicted.detach(), true)
    positives = learnt.sum()
    return {
        "cls": focal(maps.classes, learnt.float()).sum() / positives.clamp(min=len(index)),
        "bbox": _GIOU_WEIGHT * (overlap * (1 - giou(predicted, true))).sum() / overlap.sum().clamp(min=1e-6),
        "iou": _IOU_WEIGHT * entropy(maps.quality[learnt], overlap) / positives.clamp(min=1),
    }


@torch.no_grad()
def _assign(maps: AnchorMaps, config: PAAConfig, truths: list[Tensor]) -> Tensor:
    """Return the index of the true box that is assigned to each anchor, -1 for background: (N, P) int64."""
    limit = config.candidate_iou
    index = torch.stack([max_iou(maps.anchors, truth, positive=limit, negative=limit) for truth in truths])
    costs = _costs(maps, index, assigned_boxes(index, truths))
    chosen = [select(cost, one, maps.sizes, config.k) for cost, one in zip(costs, index, strict=True)]
    return torch.stack(chosen)


def _costs(maps: AnchorMaps, index: Tensor, true: Tensor) -> Tensor:
    """Return the loss of each candidate anchor, class and box together; 0 for other anchors: (N, P)."""
    at = index >= 0
    boxes = decode(maps.anchors.expand_as(maps.deltas)[at], maps.deltas[at], STDS)
    cost = torch.zeros_like(maps.classes)
    cost[at] = focal(maps.classes[at], torch.ones_like(maps.classes[at])) + _GIOU_WEIGHT * (1 - giou(boxes, true[at]))
    return cost


def select(costs: Tensor, index: Tensor, sizes: tuple[int, ...], k: int) -> Tensor:
    """Return `index` (P,) with -1 for each candidate that the mixture assigns to the worse component. costs: (P,).

    The mixture is fitted to the k candidates of lowest cost on each level; a box with a single one gets none.
    """
    kept = torch.full_like(index, -1)
    for number in range(int(index.max()) + 1):
        cheapest = _cheapest_per_level(costs, index == number, sizes, k)
        if len(cheapest) > 1:
            kept[cheapest[_good(costs[cheapest])]] = number
    return kept


def _cheapest_per_level(costs: Tensor, candidate: Tensor, sizes: tuple[int, ...], k: int) -> Tensor:
    """Return the indices of the k candidates of lowest cost on each level, by rising cost overall: (n,) int64."""
    chosen, start = [], 0
    for size in sizes:
        places = candidate[start : start + size].nonzero()[:, 0] + start
        chosen.append(places[costs[places].topk(min(k, len(places)), largest=False).indices])
        start += size
    places = torch.cat(chosen)
    return places[costs[places].argsort(stable=True)]


def _good(costs: Tensor) -> Tensor:
    """Return which of a box's candidates are positive: (n,) int64, indices of costs (n,), which ascend.

    They belong to the Gaussian of lower cost and cost no more than its likeliest candidate under the whole mixture
    (PAA, figure 3c).
    """
    values = costs.double().cpu().numpy()
    log_density = log_densities(fit(values), values)
    cheap = np.flatnonzero(log_density[:, 0] >= log_density[:, 1])
    likelihood = np.logaddexp.reduce(log_density, axis=1)[cheap]
    good = cheap[: likelihood.argmax() + 1] if len(cheap) else cheap
    return torch.from_numpy(good).to(costs.device)
