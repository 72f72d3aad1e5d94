"""FCOS: every point inside a polyp learns its four distances to the edges, near the middle more than far from it.

Source: Tian et al., FCOS (ICCV 2019); the baseline of the paper's Tables 1 and 3.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.boxes import area, from_distances, iou, to_distances
from realtime_polyp.models.detector import points_of
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.detectors.dense import (
    QUALITY_HEAD_NAMES,
    SIZE,
    STRIDES,
    QualityHead,
    assigned_boxes,
    centerness,
    entropy,
    sizes_of,
)
from trainers.training.anchors import clip_to
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import focal

MMDET_NAMES = QUALITY_HEAD_NAMES


@dataclass(frozen=True)
class FCOSConfig:
    """size: input (h, w) px. strides: of the pyramid's levels. reach_px: the farthest edge that each level learns; it
    leaves to the level before what that one reaches."""

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig(relu_before_extra=True, relu_before_first_extra=False)
    size: tuple[int, int] = SIZE
    stacked_convs: int = 4
    strides: tuple[int, ...] = STRIDES
    reach_px: tuple[float, ...] = (64, 128, 256, 512, math.inf)


@dataclass(frozen=True)
class FCOSMaps:
    """classes (N, P) logits; log_distances (N, P, 4), of px; centerness (N, P) logits; points (P, 2) px; sizes: places
    of each level."""

    classes: Tensor
    log_distances: Tensor
    centerness: Tensor
    points: Tensor
    sizes: tuple[int, ...]


class FCOS(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> boxes (N, P, 4) in input px, inside the image, and scores (N, P)."""

    def __init__(self, config: FCOSConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        levels = len(config.strides)
        self.head = QualityHead(config.neck.channels, config.stacked_convs, levels, quality_of_boxes=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(pixels)
        boxes = from_distances(maps.points, maps.log_distances.exp())
        return clip_to(boxes, pixels.shape[-2:]), maps.classes.sigmoid() * maps.centerness.sigmoid()

    def maps(self, pixels: Tensor) -> FCOSMaps:
        """What the losses compare with the truth. A point stands in the middle of what its place covers."""
        levels = self.pyramid(self.backbone(pixels)[self.config.neck.start :])
        corners, strides = points_of([x.shape[-2:] for x in levels], self.config.strides)
        points = (corners + strides[:, None] / 2).to(pixels.device)
        classes, log_distances, centerness = self.head(levels)
        return FCOSMaps(classes, log_distances, centerness, points, sizes_of(levels))


build = FCOS


def loss(model: FCOS, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.maps(images), model.config, targets)


@in_full_precision
def _criterion(maps: FCOSMaps, config: FCOSConfig, targets: Targets) -> Losses:
    """Classes and centerness count over the positive points; -log IoU is weighted by the true centerness."""
    index = torch.stack([assign(maps.points, maps.sizes, truth, config.reach_px) for truth in targets.boxes])
    learnt = index >= 0
    points, true = maps.points.expand(len(index), -1, 2)[learnt], assigned_boxes(index, targets.boxes)[learnt]
    overlap = iou(from_distances(points, maps.log_distances[learnt].exp()), true)
    weight = centerness(to_distances(points, true))
    positives = learnt.sum().clamp(min=1)
    return {
        "cls": focal(maps.classes, learnt.float()).sum() / positives,
        "bbox": (weight * -overlap.clamp(min=1e-6).log()).sum() / weight.sum().clamp(min=1e-6),
        "centerness": entropy(maps.centerness[learnt], weight) / positives,
    }


def assign(points: Tensor, sizes: tuple[int, ...], truth: Tensor, reach_px: tuple[float, ...]) -> Tensor:
    """Index of the true box (m, 4) that each point (P, 2) learns, -1 for background: (P,) int64.

    A point learns the smallest box around it whose farthest edge is within its level's reach; `sizes` are the levels'.
    """
    if len(truth) == 0:
        return torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
    distances = to_distances(points[:, None], truth)
    farthest = distances.amax(-1)
    nearer, reach = _limits(sizes, reach_px, points)
    learnable = (distances.amin(-1) > 0) & (farthest >= nearer) & (farthest <= reach)
    smallest, index = area(truth).where(learnable, math.inf).min(dim=1)
    return torch.where(smallest < math.inf, index, -1)


def _limits(sizes: tuple[int, ...], reach_px: tuple[float, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest and farthest edge that each point learns: two of (P, 1) px."""
    nearer, reach = like.new_tensor([0.0, *reach_px[:-1]]), like.new_tensor(reach_px)
    counts = torch.tensor(sizes, device=like.device)
    return nearer.repeat_interleave(counts)[:, None], reach.repeat_interleave(counts)[:, None]
