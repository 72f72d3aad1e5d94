"""RetinaNet: nine anchors a place, each with a class and a box, and focal loss against the many easy ones.

Source: Lin et al., Focal Loss for Dense Object Detection (ICCV 2017); a baseline of the paper's Table 1.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.detectors.dense import SIZE, STRIDES, assigned_boxes, flatten_levels, initialise, shapes_of
from trainers.training.anchors import AnchorShapes, anchors_of, clip_to, decode, encode, octaves
from trainers.training.assign import max_iou
from trainers.training.checkpoint_names import Rule
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import focal

_STDS = (1.0, 1.0, 1.0, 1.0)

MMDET_NAMES: tuple[Rule, ...] = (
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.conv\.(.*)", r"head.\1_tower.\2.\3"),
    (r"bbox_head\.retina_(cls|reg)\.(.*)", r"head.\1.\2"),
)


@dataclass(frozen=True)
class RetinaNetConfig:
    """size: input (h, w) px. strides: of the pyramid's levels. positive_iou, negative_iou: an anchor whose best IoU
    reaches the first learns a polyp, below the second it is background, between them it is left out."""

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig(extra="on_input")
    size: tuple[int, int] = SIZE
    stacked_convs: int = 4
    strides: tuple[int, ...] = STRIDES
    anchors: AnchorShapes = AnchorShapes(octaves(4.0, 3), (0.5, 1.0, 2.0))
    positive_iou: float = 0.5
    negative_iou: float = 0.4


@dataclass(frozen=True)
class RetinaMaps:
    """P counts anchors. classes (N, P) logits; deltas (N, P, 4) as `encode` codes them; anchors (P, 4) px."""

    classes: Tensor
    deltas: Tensor
    anchors: Tensor


class RetinaHead(nn.Module):
    """Pyramid levels (N, C, h, w) -> class logits (N, P) and deltas (N, P, 4); the same weights on every level."""

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        channels, count = config.neck.channels, config.anchors.count
        self.cls_tower, self.reg_tower = (_tower(channels, config.stacked_convs) for _ in range(2))
        self.cls = nn.Conv2d(channels, count, 3, padding=1)
        self.reg = nn.Conv2d(channels, count * 4, 3, padding=1)
        initialise(self, self.cls)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        classes = [self.cls(_through(self.cls_tower, x)) for x in levels]
        deltas = [self.reg(_through(self.reg_tower, x)) for x in levels]
        return flatten_levels(classes, 1)[..., 0], flatten_levels(deltas, 4)


def _tower(channels: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))


def _through(tower: nn.ModuleList, x: Tensor) -> Tensor:
    for conv in tower:
        x = F.relu(conv(x))
    return x


class RetinaNet(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> boxes (N, P, 4) in input px, inside the image, and scores (N, P)."""

    def __init__(self, config: RetinaNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        self.head = RetinaHead(config)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(pixels)
        boxes = decode(maps.anchors, maps.deltas, _STDS)
        return clip_to(boxes, pixels.shape[-2:]), maps.classes.sigmoid()

    def maps(self, pixels: Tensor) -> RetinaMaps:
        """What the losses compare with the truth."""
        levels = self.pyramid(self.backbone(pixels)[self.config.neck.start :])
        anchors = anchors_of(shapes_of(levels), self.config.strides, self.config.anchors)
        classes, deltas = self.head(levels)
        return RetinaMaps(classes, deltas, anchors.to(pixels.device))


build = RetinaNet


def loss(model: RetinaNet, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.maps(images), model.config, targets)


@in_full_precision
def _criterion(maps: RetinaMaps, config: RetinaNetConfig, targets: Targets) -> Losses:
    """Focal loss of every anchor that is not left out and L1 loss of the positive ones, over the number of these."""
    index = torch.stack([_assign(maps.anchors, truth, config) for truth in targets.boxes])
    learnt, counted = index >= 0, index != -2
    anchors = maps.anchors.expand_as(maps.deltas)[learnt]
    wanted = encode(anchors, assigned_boxes(index, targets.boxes)[learnt], _STDS)
    positives = learnt.sum().clamp(min=1)
    return {
        "cls": focal(maps.classes, learnt.float())[counted].sum() / positives,
        "bbox": (maps.deltas[learnt] - wanted).abs().sum() / positives,
    }


def _assign(anchors: Tensor, truth: Tensor, config: RetinaNetConfig) -> Tensor:
    return max_iou(anchors, truth, positive=config.positive_iou, negative=config.negative_iou)
