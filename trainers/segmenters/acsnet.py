"""ACSNet: a U-Net whose decoder chooses, channel by channel, between near detail, far context and what it knew before.

Source: Zhang et al., Adaptive Context Selection for Polyp Segmentation (MICCAI 2020).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.segmenters.encoders import encoder_channels, encoder_features
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import mask_loss

_POOLED = (1, 3, 5)  # cells a side of the context's grids
_STRIDES = (16, 8, 4, 2)  # of the decoder's outputs that a selection follows


@dataclass(frozen=True)
class ACSNetConfig:
    """size: input (h, w) px. widths: of the decoder at strides 16, 8, 4, 2 and 1. context_widths: of the global context
    sent to strides 16, 8, 4 and 2. branch: of each of its four parts. squeeze: how much narrower the selection's middle
    is. dropout: of the answers' channels in training."""

    size: tuple[int, int] = (512, 512)
    backbone: ResNetConfig | LiteConfig = R50
    widths: tuple[int, int, int, int, int] = (512, 256, 128, 64, 64)
    context_widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    branch: int = 64
    squeeze: int = 16
    dropout: float = 0.1


def local_attention(feature: Tensor, logits: Tensor) -> Tensor:
    """The feature, up to twice as strong where the coarser map (N, 1, h, w) is unsure: x + x (1 - |p - 0.5| / 0.5)."""
    unsure = 1 - (logits.sigmoid() - 0.5).abs() / 0.5
    return feature + feature * unsure


class NonLocal(nn.Module):
    """Each cell receives a mixture of all others, by similarity: x + W(softmax(theta phi) g) (Wang et al., CVPR 2018).

    The others are the strongest of every `pool` x `pool` cells. The authors pool by 2, at their 224 px; at the paper's
    512 px that is a matrix of 65536 x 16384 at stride 2, so here every stride is pooled to the backbone's coarsest.
    """

    def __init__(self, channels: int, pool: int = 1) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.pool = pool
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1, bias=False)  # the softmax would cancel a bias
        self.g = nn.Conv2d(channels, inner, 1, bias=False)  # and the batch norm after it this one
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)  # the block starts as the identity
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        keys, values = (F.max_pool2d(y, self.pool, ceil_mode=True).flatten(2) for y in (self.phi(x), self.g(x)))
        queries = self.theta(x)
        shares = (queries.flatten(2).transpose(1, 2) @ keys).softmax(-1)
        return x + self.out((values @ shares.transpose(1, 2)).view_as(queries))


class GlobalContext(nn.Module):
    """The deepest feature -> what it holds of the whole picture, once for each of the decoder's strides."""

    def __init__(self, inputs: int, config: ACSNetConfig) -> None:
        super().__init__()
        # no batch norm: the 1 x 1 grid of a single image has no statistics
        self.pooled = nn.ModuleList(_conv_relu(inputs, config.branch, 1) for _ in _POOLED)
        self.whole = nn.Sequential(_conv_relu(inputs, config.branch, 1), NonLocal(config.branch))
        self.send = nn.ModuleList(_conv_relu(4 * config.branch, width, 3) for width in config.context_widths)

    def forward(self, deepest: Tensor, likes: list[Tensor]) -> list[Tensor]:
        parts = [
            _resize(conv(F.adaptive_avg_pool2d(deepest, cells)), deepest)
            for conv, cells in zip(self.pooled, _POOLED, strict=True)
        ]
        context = torch.cat([*parts, self.whole(deepest)], 1)
        return [_resize(send(context), like) for send, like in zip(self.send, likes, strict=True)]


class Selection(nn.Module):
    """The joined features, each channel weighted by what squeeze and excitation makes of all their means."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // squeeze), bias=False)
        self.excite = nn.Linear(max(1, channels // squeeze), channels, bias=False)

    def forward(self, joined: Tensor) -> Tensor:
        weight = self.excite(F.relu(self.squeeze(joined.mean((2, 3))))).sigmoid()
        return joined * weight[:, :, None, None]


class Level(nn.Module):
    """One step of the decoder at stride `stride`: its answer, and what is selected for the next step."""

    def __init__(self, skip: int, index: int, config: ACSNetConfig) -> None:
        super().__init__()
        width = config.widths[index]
        self.channels = skip + width + config.context_widths[index]
        self.head = _head(width, config.dropout, shrink=4)
        self.non_local = NonLocal(width, pool=32 // _STRIDES[index])
        self.selection = Selection(self.channels, config.squeeze)

    def forward(self, decoded: Tensor, skip: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.head(decoded)
        joined = torch.cat([local_attention(skip, answer), self.non_local(decoded), context], 1)
        return answer[:, 0], self.selection(joined)


class ACSNet(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> polyp probability (N, h, w)."""

    def __init__(self, config: ACSNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        *skips, deepest = encoder_channels(self.backbone)
        self.context = GlobalContext(deepest, config)
        levels = [Level(skip, index, config) for index, skip in enumerate(skips[::-1])]
        self.levels = nn.ModuleList(levels)
        inputs = (deepest, *(level.channels for level in levels))
        self.decoders = nn.ModuleList(_decoder(*shape) for shape in zip(inputs, config.widths, strict=True))
        self.head = _head(config.widths[-1], config.dropout, shrink=2)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logits(pixels)[-1].sigmoid()

    def logits(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits at strides 16, 8, 4, 2 and 1; all are supervised, the last is the answer."""
        *skips, x = encoder_features(self.backbone, pixels)
        skips = skips[::-1]
        answers = []
        levels = zip(self.levels, self.decoders[:-1], skips, self.context(x, skips), strict=True)
        for level, decoder, skip, context in levels:
            answer, x = level(_resize(decoder(x), skip), skip, context)
            answers.append(answer)
        return (*answers, self.head(_resize(self.decoders[-1](x), pixels))[:, 0])


def _decoder(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_conv_bn(inputs, inputs // 4), *_conv_bn(inputs // 4, outputs))


def _head(inputs: int, dropout: float, *, shrink: int) -> nn.Sequential:
    return nn.Sequential(*_conv_bn(inputs, inputs // shrink), nn.Dropout2d(dropout), nn.Conv2d(inputs // shrink, 1, 1))


def _conv_bn(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _conv_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear")


build = ACSNet


def loss(model: ACSNet, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.logits(images), targets.masks)


@in_full_precision
def _criterion(logits: tuple[Tensor, ...], truth: Tensor) -> Losses:
    """Cross entropy and Dice of each answer, all of weight 1."""
    enlarged = [F.interpolate(x[:, None], truth.shape[-2:], mode="bilinear")[:, 0] for x in logits]
    return {f"stride_{stride}": mask_loss(x, truth) for stride, x in zip((*_STRIDES, 1), enlarged, strict=True)}
