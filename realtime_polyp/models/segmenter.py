"""The polyp segmenter: a backbone that keeps high resolution, and the paper's low-rank module.

Sources: the paper, sections 2.2.1 and 2.2.2; Wang et al., HRNet (TPAMI 2020) for the backbone of `HRNET_W18_SMALL`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.efficientnet_lite import LITE0, EfficientNetLite, LiteConfig, conv_bn
from realtime_polyp.models.hrnet import HRNet, HRNetConfig


@dataclass(frozen=True)
class SegmenterConfig:
    """size: input (h, w) px. width: channels of F_p. bases: D, the rank. backbone: Lite with fusion, or HRNet."""

    backbone: LiteConfig | HRNetConfig = LITE0
    size: tuple[int, int] = (320, 384)
    width: int = 96
    bases: int = 16


class LowRank(nn.Module):
    """F_p (N, C, h, w) -> F_l of the same shape and of rank D at most.

    F_a = softmax(phi(F_p)) over the D bases; b = F_p^T F_a / N over the N = hw pixels; F_l = F_a b^T.
    """

    def __init__(self, channels: int, bases: int) -> None:
        super().__init__()
        self.phi = nn.Conv2d(channels, bases, 1)

    def forward(self, full: Tensor) -> Tensor:
        pixels = full.flatten(2)  # F_p^T: (N, C, hw)
        assignment = self.phi(full).softmax(dim=1).flatten(2)  # F_a^T: (N, D, hw)
        shares = assignment.transpose(1, 2) / pixels.shape[-1]  # divided first: half precision could not hold the sum
        bases = pixels @ shares  # b: (N, C, D)
        low_rank: Tensor = bases @ assignment
        return low_rank.view_as(full)

    def seen_through(self, head: nn.Conv2d, full: Tensor) -> Tensor:
        """`head(self(full))` for a 1x1 convolution with one output, (N, 1, h, w), by less work.

        w^T F_l = w^T b F_a^T = (w^T F_p) F_a / N F_a^T: the head can look at F_p first, and the products over its C
        channels are never formed. Equal but for rounding; 1 ms of 18 in the shipped segmenter.
        """
        assignment = self.phi(full).softmax(dim=1)  # F_a^T: (N, D, h, w)
        seen = F.conv2d(full, head.weight)  # w^T F_p: (N, 1, h, w)
        shares = (seen * assignment).mean(dim=(2, 3), keepdim=True)  # w^T b: (N, D, 1, 1)
        through: Tensor = (shares * assignment).sum(dim=1, keepdim=True)
        return through if head.bias is None else through + head.bias.view(1, -1, 1, 1)


class LiteFusion(nn.Module):
    """EfficientNet-Lite with its four resolutions fused at stride 4, as HRNetV2 fuses its branches.

    Pixels (N, 3, h, w) in 0..255 -> features (N, 4 * branch, h/4, w/4).
    """

    def __init__(self, config: LiteConfig, branch: int = 48) -> None:
        super().__init__()
        self.backbone = EfficientNetLite(config)
        self.lateral = nn.ModuleList(conv_bn(width, branch, 1) for width in self.backbone.channels)
        self.mix = nn.ModuleList(
            nn.Sequential(conv_bn(branch, branch, 5, groups=branch), conv_bn(branch, branch, 1)) for _ in range(4)
        )
        self.channels = 4 * branch

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv, x in zip(self.lateral, self.backbone(x), strict=True)]
        for fine in (2, 1, 0):
            branches[fine] = branches[fine] + _resize(branches[fine + 1], branches[fine])
        mixed = [mix(branch) for mix, branch in zip(self.mix, branches, strict=True)]
        return torch.cat([mixed[0], *(_resize(branch, mixed[0]) for branch in mixed[1:])], dim=1)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Segmenter(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> polyp probability (N, h/4, w/4)."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.fusion: LiteFusion | HRNet
        if isinstance(config.backbone, LiteConfig):
            self.fusion = LiteFusion(config.backbone)
        else:
            self.fusion = HRNet(config.backbone)
        self.project = conv_bn(self.fusion.channels, config.width, 1)
        self.low_rank = LowRank(config.width, config.bases)
        self.full_head = nn.Conv2d(config.width, 1, 1)
        self.low_rank_head = nn.Conv2d(config.width, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        full = self.project(self.fusion(pixels))
        logits: Tensor = self.low_rank.seen_through(self.low_rank_head, full)
        return logits[:, 0].sigmoid()

    def logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, h/4, w/4) from F_p and from F_l; both are supervised, the second is the answer."""
        full = self.project(self.fusion(pixels))
        return self.full_head(full)[:, 0], self.low_rank_head(self.low_rank(full))[:, 0]
