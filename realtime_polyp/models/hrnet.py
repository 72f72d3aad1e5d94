"""HRNetV2: branches of four resolutions that exchange what they see, joined at stride 4.

Source: Wang et al., Deep High-Resolution Representation Learning (TPAMI 2020). Parameters carry the authors' names, so
that their checkpoints load as they are.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEM_CHANNELS = 64
_BOTTLENECK_EXPANSION = 4


@dataclass(frozen=True)
class HRNetConfig:
    """widths: of the four branches. stem_width: inside the first stage's bottlenecks. modules: exchanges in stages 2
    to 4. blocks: residual blocks of a branch between exchanges. mean, std: what pixels in 0..255 are normalised with,
    to [-1, 1] as the paper has it."""

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
    """Two 3x3 convolutions and a shortcut, the width unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(width, width, 3)
        self.conv2, self.bn2 = _conv_bn(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the width; the shortcut is projected where the width changes."""

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


class Exchange(nn.Module):
    """Each branch runs its blocks, then receives the sum of all branches brought to its resolution."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(blocks))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_bring(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        rows = zip(self.fuse_layers, features, strict=True)
        return [F.relu(self._received(row, features, target)) for row, target in rows]

    @staticmethod
    def _received(row: nn.Module, features: list[Tensor], target: Tensor) -> Tensor:
        total = torch.zeros_like(target)
        for layer, x in zip(row, features, strict=True):  # type: ignore[call-overload]
            total = total + _resize(layer(x), target)
        return total


def _resize(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _bring(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    """From a coarser branch: project (the caller enlarges). From a finer one: stride-2 convolutions."""
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
    """Pixels (N, 3, h, w) in 0..255 -> the four branches joined, (N, sum(widths), h/4, w/4)."""

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
            nn.Sequential(*(Exchange(config.widths[: 2 + index], config.blocks) for _ in range(count)))
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
            features = stage(_enter(transition, features))
        return torch.cat([_resize(branch, features[0]) for branch in features], dim=1)


def _transition(before: tuple[int, ...], after: tuple[int, ...]) -> nn.ModuleList:
    """Layers that widen a branch where its width changes, and open one more from the coarsest."""
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


def _enter(transition: nn.Module, features: list[Tensor]) -> list[Tensor]:
    padded = features + [features[-1]] * (len(transition) - len(features))  # type: ignore[arg-type]
    return [layer(x) for layer, x in zip(transition, padded, strict=True)]  # type: ignore[call-overload]
