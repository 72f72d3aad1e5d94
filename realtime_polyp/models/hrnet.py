"""HRNetV2: parallel branches at four resolutions, fused repeatedly and concatenated at stride 4.

Parameters have the authors' names, so their checkpoints load unchanged. Source: Wang et al., Deep High-Resolution
Representation Learning (TPAMI 2020).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEM_CHANNELS = 64
_BOTTLENECK_EXPANSION = 4


@dataclass(frozen=True)
class HRNetConfig:
    """Structure of an HRNet.

    Attributes:
        widths: channels of the four branches, finest first.
        stem_width: channels inside the bottlenecks of stage 1.
        stem_blocks: bottlenecks in stage 1.
        modules: high-resolution modules in stages 2, 3 and 4.
        blocks: residual blocks per branch in each module.
        mean: subtracted from pixels in 0..255.
        std: divides what remains; the result is in [-1, 1], as in the paper.
    """

    widths: tuple[int, int, int, int]
    stem_width: int = 64
    stem_blocks: int = 4
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    mean: float = 127.0
    std: float = 128.0


HRNET_W18_SMALL = HRNetConfig((16, 32, 64, 128), stem_width=32, stem_blocks=1, modules=(1, 1, 1), blocks=2)
HRNET_W18 = HRNetConfig((18, 36, 72, 144))
HRNET_W32 = HRNetConfig((32, 64, 128, 256))
HRNET_W48 = HRNetConfig((48, 96, 192, 384))


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions. The shape does not change."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(width, width, 3)
        self.conv2, self.bn2 = _conv_bn(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions with 4 * width outputs.

    The shortcut is projected where the number of channels changes.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        outputs = width * _BOTTLENECK_EXPANSION
        self.conv1, self.bn1 = _conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = _conv_bn(width, width, 3)
        self.conv3, self.bn3 = _conv_bn(width, outputs, 1)
        self.downsample = nn.Sequential(*_conv_bn(inputs, outputs, 1)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class HighResolutionModule(nn.Module):
    """Residual blocks in each branch, then fusion: each branch becomes the sum of all, converted to its resolution."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(blocks))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse_layer(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        rows = zip(self.fuse_layers, features, strict=True)
        return [F.relu(self._fuse(row, features, target)) for row, target in rows]

    @staticmethod
    def _fuse(row: nn.Module, features: list[Tensor], target: Tensor) -> Tensor:
        total = torch.zeros_like(target)
        for layer, x in zip(row, features, strict=True):  # type: ignore[call-overload]
            total = total + _resize(layer(x), target)
        return total


def _resize(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _fuse_layer(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    """Return the layers from one branch to another.

    From a coarser branch: a projection, which the caller then upsamples. From a finer one: stride-2 convolutions.
    """
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(*_conv_bn(widths[source], widths[target], 1))
    steps: list[nn.Module] = []
    for step in range(target - source):
        last = step == target - source - 1
        outputs = widths[target] if last else widths[source]
        activation = [] if last else [nn.ReLU(inplace=True)]
        steps.append(nn.Sequential(*_conv_bn(widths[source], outputs, 3, 2), *activation))
    return nn.Sequential(*steps)


class HRNet(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> the four branches concatenated, (N, sum(widths), h/4, w/4)."""

    def __init__(self, config: HRNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1, self.bn1 = _conv_bn(3, _STEM_CHANNELS, 3, 2)
        self.conv2, self.bn2 = _conv_bn(_STEM_CHANNELS, _STEM_CHANNELS, 3, 2)
        first = config.stem_width * _BOTTLENECK_EXPANSION
        inputs = [_STEM_CHANNELS] + [first] * (config.stem_blocks - 1)
        self.layer1 = nn.Sequential(*(Bottleneck(width, config.stem_width) for width in inputs))
        self.transition1 = _transition((first,), config.widths[:2])
        self.transition2 = _transition(config.widths[:2], config.widths[:3])
        self.transition3 = _transition(config.widths[:3], config.widths)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(*(HighResolutionModule(config.widths[: 2 + index], config.blocks) for _ in range(count)))
            for index, count in enumerate(config.modules)
        )
        self.channels = sum(config.widths)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1((pixels - self.config.mean) / self.config.std)))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        features = [x]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            features = stage(_apply_transition(transition, features))
        return torch.cat([_resize(branch, features[0]) for branch in features], dim=1)


def _transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """Return layers that change the branches' widths where needed and add a branch, made from the coarsest."""
    layers: list[nn.Module] = []
    for index, width in enumerate(after):
        if index >= len(before):
            step = nn.Sequential(*_conv_bn(before[-1], width, 3, 2), nn.ReLU(inplace=True))
            layers.append(nn.Sequential(step))
        elif before[index] != width:
            layers.append(nn.Sequential(*_conv_bn(before[index], width, 3), nn.ReLU(inplace=True)))
        else:
            layers.append(nn.Identity())
    return nn.ModuleList(layers)


def _apply_transition(transition: nn.Module, features: list[Tensor]) -> list[Tensor]:
    padded = features + [features[-1]] * (len(transition) - len(features))  # type: ignore[arg-type]
    return [layer(x) for layer, x in zip(transition, padded, strict=True)]  # type: ignore[call-overload]
