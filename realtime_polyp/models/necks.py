"""Necks, which turn a backbone's features into a feature pyramid: FPN, PAFPN and BiFPN.

Sources: Lin et al., FPN (CVPR 2017); Liu et al., PANet (CVPR 2018); Tan et al., EfficientDet (CVPR 2020).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["fpn", "pafpn", "bifpn"]
Extra = Literal["on_input", "on_output", "pool"]


@dataclass(frozen=True)
class NeckConfig:
    """A neck's structure.

    Attributes:
        kind: which neck.
        channels: width of every level.
        levels: number of levels.
        start: index of the first backbone feature that is used.
        extra: how the levels above the backbone's are made: stride-2 convolutions that begin with the backbone's last
            feature ("on_input") or with the pyramid's last level ("on_output"), or max pooling ("pool").
        relu_before_extra: apply ReLU before each of these convolutions, except before one on the backbone's feature.
        relu_before_first_extra: also before the first one; False in FCOS and in mmdetection's necks.
        repeats: number of BiFPN layers.
        smooth_from: index of FPN's first level that is smoothed; finer ones are left to what reads them.
    """

    kind: Kind = "fpn"
    channels: int = 256
    levels: int = 5
    start: int = 1
    extra: Extra = "on_output"
    relu_before_extra: bool = False
    relu_before_first_extra: bool = True
    repeats: int = 3
    smooth_from: int = 0


def build_neck(inputs: tuple[int, ...], config: NeckConfig) -> nn.Module:
    """Build a neck on the backbone's features from `config.start` on; `inputs` are their widths."""
    return NECKS[config.kind](inputs, config)


class FPN(nn.Module):
    """Top-down pyramid over the backbone's features, then coarser levels on top of it."""

    def __init__(self, inputs: tuple[int, ...], config: NeckConfig) -> None:
        super().__init__()
        channels = config.channels
        self.config = config
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in inputs)
        self.smooth = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) if level >= config.smooth_from else nn.Identity()
            for level in range(len(inputs))
        )
        self.extra = _extra_levels(inputs[-1], len(inputs), config)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = [smooth(x) for smooth, x in zip(self.smooth, self.top_down(features), strict=True)]
        return add_levels(maps, features[-1], self.extra, self.config)

    def top_down(self, features: list[Tensor]) -> list[Tensor]:
        """The laterals, each with all coarser ones added, before any smoothing."""
        maps = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for fine in range(len(maps) - 2, -1, -1):
            maps[fine] = maps[fine] + _enlarge(maps[fine + 1], maps[fine])
        return maps


class PAFPN(nn.Module):
    """FPN, then a path from fine to coarse as well."""

    def __init__(self, inputs: tuple[int, ...], config: NeckConfig) -> None:
        super().__init__()
        channels = config.channels
        self.config = config
        self.fpn = FPN(inputs, config)
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in inputs[1:])
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs[1:])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = [smooth(x) for smooth, x in zip(self.fpn.smooth, self.fpn.top_down(features), strict=True)]
        for coarse, down in enumerate(self.down, 1):
            maps[coarse] = maps[coarse] + down(maps[coarse - 1])
        maps = [maps[0], *(smooth(x) for smooth, x in zip(self.smooth, maps[1:], strict=True))]
        return add_levels(maps, features[-1], self.fpn.extra, self.config)


class BiFPN(nn.Module):
    """Levels that exchange what they see in both directions, several times, each sum weighted by what was learnt."""

    def __init__(self, inputs: tuple[int, ...], config: NeckConfig) -> None:
        super().__init__()
        self.config = config
        self.lateral = nn.ModuleList(_conv_bn(width, config.channels, 1) for width in inputs)
        self.extra = _extra_levels(inputs[-1], len(inputs), config)
        self.layers = nn.ModuleList(BiFPNLayer(config.channels, config.levels) for _ in range(config.repeats))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        maps = add_levels(maps, features[-1], self.extra, self.config)
        for layer in self.layers:
            maps = layer(maps)
        return maps


class BiFPNLayer(nn.Module):
    """One exchange: from the coarsest level down to the finest, then back up; same shapes in and out."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.top_down = nn.ModuleList(WeightedSum(channels, 2) for _ in range(levels - 1))
        # the coarsest level has no middle state: it receives itself and the level below
        self.bottom_up = nn.ModuleList(WeightedSum(channels, 3 if i < levels - 2 else 2) for i in range(levels - 1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        middle = list(maps)
        for fine in range(len(maps) - 2, -1, -1):
            middle[fine] = self.top_down[fine]([maps[fine], _enlarge(middle[fine + 1], maps[fine])])
        out = [middle[0]]
        for coarse in range(1, len(maps)):
            received = F.adaptive_max_pool2d(out[-1], maps[coarse].shape[-2:])
            parts = [maps[coarse], received] if coarse == len(maps) - 1 else [maps[coarse], middle[coarse], received]
            out.append(self.bottom_up[coarse - 1](parts))
        return out


class WeightedSum(nn.Module):
    """Maps of one shape, weighted by learnt shares that are never negative, then a separable convolution."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(count))
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = _conv_bn(channels, channels, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        weights = F.relu(self.weights)
        shares = weights / (weights.sum() + 1e-4)
        total = sum((share * x for share, x in zip(shares, maps, strict=True)), torch.zeros_like(maps[0]))
        return self.pointwise(self.depthwise(F.silu(total)))  # type: ignore[no-any-return]


NECKS: dict[str, Callable[[tuple[int, ...], NeckConfig], nn.Module]] = {"fpn": FPN, "pafpn": PAFPN, "bifpn": BiFPN}


def _extra_levels(last_input: int, used: int, config: NeckConfig) -> nn.ModuleList:
    count = 0 if config.extra == "pool" else config.levels - used
    widths = [last_input if config.extra == "on_input" and index == 0 else config.channels for index in range(count)]
    return nn.ModuleList(nn.Conv2d(width, config.channels, 3, 2, 1) for width in widths)


def add_levels(maps: list[Tensor], last_input: Tensor, extra: nn.ModuleList, config: NeckConfig) -> list[Tensor]:
    """The pyramid with its coarser levels."""
    for index, conv in enumerate(extra):
        on_input = index == 0 and config.extra == "on_input"
        x = last_input if on_input else maps[-1]
        rectified = config.relu_before_extra and not on_input and (index > 0 or config.relu_before_first_extra)
        maps = [*maps, conv(F.relu(x) if rectified else x)]
    while len(maps) < config.levels:
        maps = [*maps, F.max_pool2d(maps[-1], 1, 2)]
    return maps


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")


def _conv_bn(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs))
