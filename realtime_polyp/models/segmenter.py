"""The polyp segmenter: a high-resolution backbone and the paper's low-rank module.

Sources: the paper, sections 2.2.1 and 2.2.2; Wang et al., HRNet (TPAMI 2020) for the backbone of `HRNET_W18_SMALL`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.efficientnet_lite import LITE0, EfficientNetLite, LiteConfig, conv_bn
from realtime_polyp.models.hrnet import HRNet, HRNetConfig


@dataclass(frozen=True)
class PyramidConfig:
    """A feature pyramid in the backbone's place, whose levels are computed elsewhere.

    Attributes:
        channels: of every level.
        branch: channels of each resolution before the fusion.
    """

    channels: int = 64
    branch: int = 48


@dataclass(frozen=True)
class SegmenterConfig:
    """Structure of a segmenter.

    Attributes:
        backbone: EfficientNet-Lite with multi-resolution fusion, HRNet, or a pyramid that it shares.
        size: input (h, w), px.
        width: channels of the features F_p.
        bases: number of bases D, which bounds the rank.
    """

    backbone: LiteConfig | HRNetConfig | PyramidConfig = LITE0
    size: tuple[int, int] = (320, 384)
    width: int = 96
    bases: int = 16


class LowRank(nn.Module):
    """Low-rank reconstruction of features: F_p (N, C, h, w) -> F_l of the same shape, of rank D at most.

    F_a = softmax(phi(F_p)) over the D bases; b = F_p^T F_a / N over the N = hw pixels; F_l = F_a b^T.
    """

    def __init__(self, channels: int, bases: int) -> None:
        super().__init__()
        self.phi = nn.Conv2d(channels, bases, 1)

    def forward(self, full: Tensor) -> Tensor:
        pixels = full.flatten(2)  # F_p^T: (N, C, hw)
        assignment = self.phi(full).softmax(dim=1).flatten(2)  # F_a^T: (N, D, hw)
        shares = (
            assignment.transpose(1, 2) / pixels.shape[-1]
        )  # divided before the sum, which would overflow in half precision
        bases = pixels @ shares  # b: (N, C, D)
        low_rank: Tensor = bases @ assignment
        return low_rank.view_as(full)

    def apply_head(self, head: nn.Conv2d, full: Tensor) -> Tensor:
        """Compute `head(self(full))`, (N, 1, h, w), faster, for a 1x1 convolution `head` with one output.

        w^T F_l = w^T b F_a^T = (w^T F_p) F_a / N F_a^T: the head is applied to F_p first, which avoids the products
        over C channels. The result is equal up to rounding. This saves 1 ms of 18 in the shipped segmenter.
        """
        assignment = self.phi(full).softmax(dim=1)  # F_a^T: (N, D, h, w)
        projected = F.conv2d(full, head.weight)  # w^T F_p: (N, 1, h, w)
        shares = (projected * assignment).mean(dim=(2, 3), keepdim=True)  # w^T b: (N, D, 1, 1)
        logits: Tensor = (shares * assignment).sum(dim=1, keepdim=True)
        return logits if head.bias is None else logits + head.bias.view(1, -1, 1, 1)


class LiteFusion(nn.Module):
    """EfficientNet-Lite with its four resolutions fused at stride 4, like the branches of HRNetV2.

    Pixels (N, 3, h, w) in 0..255 -> features (N, 4 * branch, h/4, w/4).
    """

    def __init__(self, config: LiteConfig, branch: int = 48) -> None:
        super().__init__()
        self.backbone = EfficientNetLite(config)
        self.lateral = nn.ModuleList(conv_bn(width, branch, 1) for width in self.backbone.channels)
        self.mix = nn.ModuleList(_mix(branch, branch) for _ in range(4))
        self.channels = 4 * branch

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv, x in zip(self.lateral, self.backbone(x), strict=True)]
        for fine in (2, 1, 0):
            branches[fine] = branches[fine] + _resize(branches[fine + 1], branches[fine])
        return _fuse(self.mix, branches)


class PyramidFusion(nn.Module):
    """The four levels of a pyramid, each (N, C, h, w), strides 4 to 32 -> features (N, 4 * branch, h/4, w/4)."""

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.mix = nn.ModuleList(_mix(config.channels, config.branch) for _ in range(4))
        self.channels = 4 * config.branch

    def forward(self, levels: list[Tensor]) -> Tensor:
        return _fuse(self.mix, levels)


def _mix(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(inputs, inputs, 5, groups=inputs), conv_bn(inputs, outputs, 1))


def _fuse(layers: nn.ModuleList, branches: list[Tensor]) -> Tensor:
    mixed = [mix(branch) for mix, branch in zip(layers, branches, strict=True)]
    return torch.cat([mixed[0], *(_resize(branch, mixed[0]) for branch in mixed[1:])], dim=1)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Segmenter(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> polyp probability (N, h/4, w/4).

    On a `PyramidConfig`, it takes the levels of the pyramid instead of pixels.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.fusion = _fusion(config.backbone)
        self.project = conv_bn(self.fusion.channels, config.width, 1)
        self.low_rank = LowRank(config.width, config.bases)
        self.full_head = nn.Conv2d(config.width, 1, 1)
        self.low_rank_head = nn.Conv2d(config.width, 1, 1)

    def forward(self, pixels: Tensor | list[Tensor]) -> Tensor:
        full = self.project(self.fusion(pixels))
        logits: Tensor = self.low_rank.apply_head(self.low_rank_head, full)
        return logits[:, 0].sigmoid()

    def logits(self, pixels: Tensor | list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (N, h/4, w/4) from F_p and from F_l. Both are supervised; the second is the prediction."""
        full = self.project(self.fusion(pixels))
        return self.full_head(full)[:, 0], self.low_rank_head(self.low_rank(full))[:, 0]


def _fusion(config: LiteConfig | HRNetConfig | PyramidConfig) -> LiteFusion | HRNet | PyramidFusion:
    if isinstance(config, LiteConfig):
        return LiteFusion(config)
    return PyramidFusion(config) if isinstance(config, PyramidConfig) else HRNet(config)
