"""FCOS with one square anchor a place and adaptive training sample selection: the second row of the paper's Table 3.

Source: Zhang et al., ATSS (CVPR 2020); the paper, section 2.1.3, which raises k from 9 to 13.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.boxes import centres, giou, to_distances
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
    centerness,
    entropy,
)
from trainers.training.anchors import clip_to, decode
from trainers.training.assign import PAPER_K, atss
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import focal

STDS = (0.1, 0.1, 0.2, 0.2)
_GIOU_WEIGHT = 2.0
MMDET_NAMES = QUALITY_HEAD_NAMES


@dataclass(frozen=True)
class ATSSConfig:
    """size: input (h, w) px. strides: of the pyramid's levels. anchor_scale: anchor side in strides. k: candidates that
    each level gives a polyp."""

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig()
    size: tuple[int, int] = SIZE
    stacked_convs: int = 4
    strides: tuple[int, ...] = STRIDES
    anchor_scale: float = 8.0
    k: int = PAPER_K


class ATSS(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> boxes (N, P, 4) in input px, inside the image, and scores (N, P)."""

    def __init__(self, config: ATSSConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        levels = len(config.strides)
        self.head = QualityHead(config.neck.channels, config.stacked_convs, levels, quality_of_boxes=True)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(pixels)
        boxes = decode(maps.anchors, maps.deltas, STDS)
        return clip_to(boxes, pixels.shape[-2:]), maps.classes.sigmoid() * maps.quality.sigmoid()

    def maps(self, pixels: Tensor) -> AnchorMaps:
        """What the losses compare with the truth."""
        return anchor_maps(self, pixels)


build = ATSS


def loss(model: ATSS, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.maps(images), model.config, targets)


@in_full_precision
def _criterion(maps: AnchorMaps, config: ATSSConfig, targets: Targets) -> Losses:
    """Classes and centerness count over the positive anchors; GIoU is weighted by the true centerness."""
    index = torch.stack([atss(maps.anchors, list(maps.sizes), truth, k=config.k) for truth in targets.boxes])
    learnt = index >= 0
    anchors, true = maps.anchors.expand_as(maps.deltas)[learnt], assigned_boxes(index, targets.boxes)[learnt]
    overlap = giou(decode(anchors, maps.deltas[learnt], STDS), true)
    weight = centerness(to_distances(centres(anchors), true))
    positives = learnt.sum().clamp(min=1)
    return {
        "cls": focal(maps.classes, learnt.float()).sum() / positives,
        "bbox": _GIOU_WEIGHT * (weight * (1 - overlap)).sum() / weight.sum().clamp(min=1),
        "centerness": entropy(maps.quality[learnt], weight) / positives,
    }
