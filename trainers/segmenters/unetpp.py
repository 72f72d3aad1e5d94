"""UNet++: skips that are themselves small U-Nets, and a supervised answer at the end of each.

Source: Zhou et al., UNet++ (DLMIA 2018; IEEE TMI 2020). Encoder: the backbone common to the baselines; the finest
row lies at half the input's resolution, where the stem ends.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.segmenters.encoders import encoder_channels, encoder_features
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import mask_loss


@dataclass(frozen=True)
class UNetPPConfig:
    """size: input (h, w) px. widths: of the nodes in the rows at strides 2, 4, 8 and 16."""

    size: tuple[int, int] = (512, 512)
    backbone: ResNetConfig | LiteConfig = R50
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)


class Node(nn.Module):
    """X(i, j): two 3x3 convolutions over all nodes before it in its row and the enlarged one below the last."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(*_conv_bn(inputs, outputs), *_conv_bn(outputs, outputs))

    def forward(self, row: list[Tensor], below: Tensor) -> Tensor:
        enlarged = F.interpolate(below, row[0].shape[-2:], mode="bilinear")
        return self.mix(torch.cat([*row, enlarged], 1))


class UNetPP(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> polyp probability (N, h/2, w/2), the mean of the four answers."""

    def __init__(self, config: UNetPPConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        encoder = encoder_channels(self.backbone)
        self.rows = nn.ModuleList(_row(index, encoder, config.widths) for index in range(4))
        self.heads = nn.ModuleList(nn.Conv2d(config.widths[0], 1, 1) for _ in range(4))

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.stack(self.logits(pixels)).sigmoid().mean(0)

    def logits(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, h/2, w/2) of the nodes X(0, 1) to X(0, 4); all are supervised."""
        rows = [[feature] for feature in encoder_features(self.backbone, pixels)]
        for column in range(4):
            for index in range(4 - column):
                nodes = cast(nn.ModuleList, self.rows[index])
                rows[index].append(nodes[column](rows[index], rows[index + 1][column]))
        return tuple(head(node)[:, 0] for head, node in zip(self.heads, rows[0][1:], strict=True))


def _row(index: int, encoder: tuple[int, ...], widths: tuple[int, ...]) -> nn.ModuleList:
    """The nodes X(index, 1) to X(index, 4 - index)."""
    nodes = []
    for column in range(4 - index):
        below = widths[index + 1] if column else encoder[index + 1]
        nodes.append(Node(encoder[index] + column * widths[index] + below, widths[index]))
    return nn.ModuleList(nodes)


def _conv_bn(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


build = UNetPP


def loss(model: UNetPP, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.logits(images), targets.masks)


@in_full_precision
def _criterion(logits: tuple[Tensor, ...], truth: Tensor) -> Losses:
    """Cross entropy and Dice of each answer, all of weight 1 (TMI 2020)."""
    enlarged = [F.interpolate(x[:, None], truth.shape[-2:], mode="bilinear")[:, 0] for x in logits]
    return {f"depth_{depth}": mask_loss(x, truth) for depth, x in enumerate(enlarged, 1)}
