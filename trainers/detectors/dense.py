"""Shared parts of the one-stage baselines: flattened levels, the head of two towers, centerness."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.detector import SharedTower
from trainers.training.anchors import AnchorShapes, anchors_of
from trainers.training.checkpoint_names import Rule

STRIDES = (8, 16, 32, 64, 128)  # of the levels P3 to P7
SIZE = (800, 1344)  # the paper's (800, 1333) in whole steps of 32 px
_PRIOR_LOGIT = -4.59512  # sigmoid gives 0.01: at the start almost every place is background

QUALITY_HEAD_NAMES: tuple[Rule, ...] = (
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.conv\.(.*)", r"head.\1_tower.convs.\2.\3"),
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.gn\.(.*)", r"head.\1_tower.norms.\2.0.\3"),
    (r"bbox_head\.(?:conv|atss)_(cls|reg)\.(.*)", r"head.\1.\2"),
    (r"bbox_head\.(?:conv|atss)_centerness\.(.*)", r"head.quality.\1"),
    (r"bbox_head\.scales\.(\d+)\.scale", r"head.scales.\1"),
)


@dataclass(frozen=True)
class AnchorMaps:
    """classes (N, P) logits; deltas (N, P, 4) of the anchors (P, 4) px; quality (N, P), logits of the centerness (ATSS)
    or the IoU (PAA); sizes: places of each level."""

    classes: Tensor
    deltas: Tensor
    quality: Tensor
    anchors: Tensor
    sizes: tuple[int, ...]


def anchor_maps(model: Any, pixels: Tensor) -> AnchorMaps:
    """Of a net with one square anchor a place: backbone, pyramid and a `QualityHead`."""
    levels = model.pyramid(model.backbone(pixels)[model.config.neck.start :])
    anchors = anchors_of(shapes_of(levels), model.config.strides, AnchorShapes((model.config.anchor_scale,)))
    classes, deltas, quality = model.head(levels)
    return AnchorMaps(classes, deltas, quality, anchors.to(pixels.device), sizes_of(levels))


class QualityHead(nn.Module):
    """The head of FCOS, ATSS and PAA: class, box and quality of each location.

    Pyramid levels (N, C, h, w) -> class logits (N, P), box outputs (N, P, 4) and quality logits (N, P). The quality is
    read off the tower of classes (FCOS) or of boxes (ATSS, PAA); box outputs have a learnt scale for each level.
    """

    def __init__(self, channels: int, stacked_convs: int, levels: int, *, quality_of_boxes: bool) -> None:
        super().__init__()
        self.quality_of_boxes = quality_of_boxes
        self.cls_tower = SharedTower(channels, stacked_convs, levels, "group")
        self.reg_tower = SharedTower(channels, stacked_convs, levels, "group")
        self.cls = nn.Conv2d(channels, 1, 3, padding=1)
        self.reg = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.ParameterList(nn.Parameter(torch.tensor(1.0)) for _ in range(levels))
        initialise(self, self.cls)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        outputs = [self._level(x, level) for level, x in enumerate(levels)]
        classes, boxes, quality = zip(*outputs, strict=True)
        return flatten_levels(classes, 1)[..., 0], flatten_levels(boxes, 4), flatten_levels(quality, 1)[..., 0]

    def _level(self, x: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        of_class, of_box = self.cls_tower(x, level), self.reg_tower(x, level)
        quality = self.quality(of_box if self.quality_of_boxes else of_class)
        return self.cls(of_class), self.reg(of_box) * self.scales[level], quality


def initialise(head: nn.Module, classes: nn.Conv2d) -> None:
    """Small random convolutions without bias, and classes that start out rare (Lin et al., RetinaNet, section 4.1)."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    assert classes.bias is not None
    nn.init.constant_(classes.bias, _PRIOR_LOGIT)


def flatten_levels(maps: list[Tensor] | tuple[Tensor, ...], width: int) -> Tensor:
    """Maps (N, a * width, h, w), one a level -> (N, P, width): row-major, a place's `a` predictions side by side."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width) for x in maps], dim=1)


def shapes_of(levels: list[Tensor]) -> list[tuple[int, int]]:
    """(h, w) of each level's map."""
    return [(x.shape[-2], x.shape[-1]) for x in levels]


def sizes_of(levels: list[Tensor]) -> tuple[int, ...]:
    """How many places each level has."""
    return tuple(x.shape[-2] * x.shape[-1] for x in levels)


def assigned_boxes(index: Tensor, truths: list[Tensor]) -> Tensor:
    """Return the true box that is assigned to each location, zeros for background: (N, P, 4) px.

    index: (N, P) int64, of the true box; below 0 for background. truths: one (m, 4) per image.
    """
    padded = [torch.cat([truth, truth.new_zeros(1, 4)]) for truth in truths]
    return torch.stack([boxes[one.clamp(min=-1)] for one, boxes in zip(index, padded, strict=True)])


def centerness(distances: Tensor) -> Tensor:
    """1 in the middle of a box, 0 at its edges (Tian et al., FCOS, equation 3): distances (n, 4) above 0 -> (n,)."""
    left, top, right, bottom = distances.unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()


def entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy of logits (n,) with soft truth (n,), summed; 0 of nothing."""
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
