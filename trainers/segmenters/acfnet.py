"""ACFNet: a coarse segmentation says what each class looks like in this picture, and every pixel is decided anew.

Source: Zhang et al., ACFNet (ICCV 2019), with the stronger of its two base networks (dilated ResNet and ASPP), here of
two classes: background and polyp.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.segmenters.encoders import dilate
from trainers.training.contract import Losses, Targets, in_full_precision

_CLASSES = 2
_WEIGHTS = {"auxiliary": 0.4, "coarse": 0.6, "fine": 0.7}  # the paper's lambda_a, lambda_c, lambda_f


@dataclass(frozen=True)
class ACFNetConfig:
    """size: input (h, w) px. width: of the features that are classified. branch: of each part of the spatial pyramid.
    rates: dilations of its 3x3 convolutions, cells at stride 8."""

    size: tuple[int, int] = (512, 512)
    backbone: ResNetConfig | LiteConfig = R50
    width: int = 512
    branch: int = 256
    rates: tuple[int, ...] = (12, 24, 36)


class SpatialPyramid(nn.Module):
    """ASPP: one cell, wider and wider rings, and the whole picture, joined: (N, C, h, w) -> (N, width, h, w)."""

    def __init__(self, inputs: int, config: ACFNetConfig) -> None:
        super().__init__()
        branch = config.branch
        self.rings = nn.ModuleList([_conv_bn(inputs, branch, 1)])
        self.rings.extend(_conv_bn(inputs, branch, 3, dilation=rate) for rate in config.rates)
        # no batch norm: the mean of a single image has no statistics
        self.whole = nn.Sequential(nn.Conv2d(inputs, branch, 1), nn.ReLU(inplace=True))
        self.join = _conv_bn((2 + len(config.rates)) * branch, config.width, 3)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.join(torch.cat([*(ring(x) for ring in self.rings), whole], 1))


class ClassFeature(nn.Module):
    """Features (N, C, h, w) and a coarse segmentation (N, K, h, w), probabilities -> class features (N, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = _conv_bn(channels, channels, 1)
        self.refine = _conv_bn(channels, channels, 1)

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        return self.refine(class_attention(coarse, class_centres(self.reduce(features), coarse)))


def class_centres(features: Tensor, coarse: Tensor) -> Tensor:
    """Class centre block: the features' mean over the pixels, weighted by each class's probability: (N, K, C)."""
    weights = coarse.flatten(2)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)
    return weights @ features.flatten(2).transpose(1, 2)


def class_attention(coarse: Tensor, centres: Tensor) -> Tensor:
    """Class attention block: at every pixel the centres' mean, weighted by the pixel's probabilities: (N, C, h, w)."""
    return (centres.transpose(1, 2) @ coarse.flatten(2)).unflatten(2, coarse.shape[-2:])


class ACFNet(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> polyp probability (N, h/4, w/4)."""

    def __init__(self, config: ACFNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = dilate(build_backbone(config.backbone))
        *_, middle, deepest = self.backbone.channels
        self.auxiliary_head = nn.Sequential(_conv_bn(middle, config.width, 3), nn.Conv2d(config.width, _CLASSES, 1))
        self.pyramid = SpatialPyramid(deepest, config)
        self.coarse_head = nn.Conv2d(config.width, _CLASSES, 1)
        self.class_feature = ClassFeature(config.width)
        self.join = _conv_bn(2 * config.width, config.width, 3)
        self.fine_head = nn.Conv2d(config.width, _CLASSES, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        fine = self.logits(pixels)[-1][:, None]
        quarter = (pixels.shape[-2] // 4, pixels.shape[-1] // 4)
        return F.interpolate(fine, quarter, mode="bilinear")[:, 0].sigmoid()

    def logits(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Polyp logits (N, h/8, w/8): auxiliary from the third stage, coarse, and fine, which is the answer."""
        *_, middle, deepest = self.backbone(pixels)
        features = self.pyramid(deepest)
        coarse = self.coarse_head(features)
        context = self.class_feature(features, coarse.softmax(1))
        fine = self.fine_head(self.join(torch.cat([features, context], 1)))
        return _of_polyp(self.auxiliary_head(middle)), _of_polyp(coarse), _of_polyp(fine)


def _of_polyp(logits: Tensor) -> Tensor:
    """Of two classes' logits the one whose sigmoid is the second's share in their softmax."""
    return logits[:, 1] - logits[:, 0]


def _conv_bn(inputs: int, outputs: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


build = ACFNet


def loss(model: ACFNet, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.logits(images), targets.masks)


@in_full_precision
def _criterion(logits: tuple[Tensor, ...], truth: Tensor) -> Losses:
    """Cross entropy of the three, weighted."""
    enlarged = [F.interpolate(x[:, None], truth.shape[-2:], mode="bilinear")[:, 0] for x in logits]
    return {
        name: weight * F.binary_cross_entropy_with_logits(x, truth)
        for (name, weight), x in zip(_WEIGHTS.items(), enlarged, strict=True)
    }
