"""ResNet and ResNeXt, optionally with deformable convolution: the backbone of the paper and of its baselines.

The stride of a block is in its 3x3 convolution. Parameters have the names of torchvision and mmdetection, so published
checkpoints load unchanged. Sources: He et al. (CVPR 2016); Xie et al., ResNeXt (CVPR 2017); the paper, 2.1.1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.deform import DeformConv2d

_EXPANSION = 4
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB values in 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
Deform = Literal["none", "v1", "v2"]


@dataclass(frozen=True)
class ResNetConfig:
    """Structure of a ResNet or ResNeXt.

    Attributes:
        depths: blocks in each of the four stages.
        width: channels of the stem.
        groups: groups of the 3x3 convolutions.
        group_width: channels per group in the first stage, for a stem of 64 channels.
        deform: deformable convolution in stages 2 to 4 (which the paper numbers 3 to 5): "none", "v1" or "v2".
        mean: subtracted from pixels in 0..255, per RGB channel.
        std: divides what remains, per RGB channel.
    """

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
    """A residual block of 1x1, 3x3 (grouped, strided or deformable) and 1x1 convolutions.

    The shortcut is projected where the shape changes.
    """

    def __init__(self, inputs: int, planes: int, *, stride: int, config: ResNetConfig, deform: Deform) -> None:
        super().__init__()
        outputs = planes * _EXPANSION
        # `group_width` is for a stem of 64 channels: a narrower backbone gets proportionally narrower groups.
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
    """Pixels (N, 3, h, w) in 0..255 -> features at strides 4, 8, 16 and 32, with `channels` channels."""

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
    """Normalise each channel: (pixels - mean) / std. Checkpoints do not contain mean and std."""

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
        if isinstance(module, nn.Conv2d) and not name.endswith("conv_offset"):  # stays at zero
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def freeze(backbone: ResNet) -> None:
    """Freeze the stem and the first stage, as the paper does, and the statistics of all batch norms."""
    for part in (backbone.conv1, backbone.bn1, backbone.layer1):
        part.eval().requires_grad_(False)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
