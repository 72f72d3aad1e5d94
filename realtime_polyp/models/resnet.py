"""ResNet and ResNeXt with deformable convolution where it is asked for: the backbone of the paper and of its baselines.

Sources: He et al. (CVPR 2016), stride in the 3x3 convolution; Xie et al., ResNeXt (CVPR 2017); the paper, 2.1.1.
Parameters carry the names that torchvision and mmdetection give them, so that published checkpoints load as they are.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.deform import DeformConv2d

_EXPANSION = 4
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB levels 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
Deform = Literal["none", "v1", "v2"]


@dataclass(frozen=True)
class ResNetConfig:
    """depths: blocks of the four stages. width: channels of the stem. groups, group_width: of the 3x3 convolutions, at
    the first stage. deform: which deformable convolution stages 2 to 4 here (3 to 5 in the paper's count) use.
    mean, std: what pixels in 0..255 are normalised with."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    groups: int = 1
    group_width: int = 64
    deform: Deform = "none"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


R50 = ResNetConfig()
R101 = ResNetConfig(depths=(3, 4, 23, 3))
X101 = ResNetConfig(depths=(3, 4, 23, 3), groups=32, group_width=4)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped, strided, perhaps deformable), 1x1; the shortcut is projected where the shape changes."""

    def __init__(self, inputs: int, planes: int, *, stride: int, config: ResNetConfig, deform: Deform) -> None:
        super().__init__()
        outputs = planes * _EXPANSION
        # `group_width` is of a backbone 64 wide, so that a toy of the same kind is narrower everywhere.
        width = planes if config.groups == 1 else max(1, planes * config.group_width // 64) * config.groups
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, stride, config.groups, deform)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _conv3x3(width: int, stride: int, groups: int, deform: Deform) -> nn.Module:
    if deform == "none":
        return nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
    return DeformConv2d(width, width, 3, stride=stride, groups=groups, modulated=deform == "v2")


class ResNet(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> features at strides 4, 8, 16 and 32; `channels` names their widths."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.normalise = Normalise(config.mean, config.std)
        self.conv1 = nn.Conv2d(3, config.width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        self.layer1, self.layer2, self.layer3, self.layer4 = (_stage(config, index) for index in range(4))
        self.channels = tuple(config.width * 2**index * _EXPANSION for index in range(4))
        _initialise(self)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(self.normalise(pixels))))
        x = F.max_pool2d(x, 3, 2, 1)
        features = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


class Normalise(nn.Module):
    """(pixels - mean) / std, channel by channel; nothing of it is kept in a checkpoint."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std  # type: ignore[operator]


def _stage(config: ResNetConfig, index: int) -> nn.Sequential:
    planes = config.width * 2**index
    inputs = config.width if index == 0 else planes // 2 * _EXPANSION
    deform: Deform = config.deform if index else "none"
    blocks = []
    for position in range(config.depths[index]):
        stride = 2 if position == 0 and index else 1
        blocks.append(Bottleneck(inputs, planes, stride=stride, config=config, deform=deform))
        inputs = planes * _EXPANSION
    return nn.Sequential(*blocks)


def _initialise(backbone: ResNet) -> None:
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d) and not name.endswith("conv_offset"):  # that one begins at zero
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def freeze(backbone: ResNet, *, norms: bool = True) -> None:
    """What the paper holds still: the stem and the first stage, and, as is usual with small batches, the statistics of
    every batch norm."""
    for part in (backbone.conv1, backbone.bn1, backbone.layer1):
        part.eval().requires_grad_(False)
    if norms:
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
