"""PraNet: a coarse map from the deep features, then three stages that look at what it left out.

Source: Fan et al., PraNet (MICCAI 2020); its receptive field blocks after Liu et al. (ECCV 2018), its partial decoder
after Wu et al. (CVPR 2019), its loss after Wei et al., F3Net (AAAI 2020).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.training.contract import Losses, Targets, in_full_precision

_WINDOW_PX = 31  # around a pixel, within which a change of the truth makes it count more
_EDGE_WEIGHT = 5.0


@dataclass(frozen=True)
class PraNetConfig:
    """size: input (h, w) px. width: of the partial decoder. reverse_widths: of the stages at strides 32, 16 and 8."""

    size: tuple[int, int] = (512, 512)
    backbone: ResNetConfig | LiteConfig = R50
    width: int = 32
    reverse_widths: tuple[int, int, int] = (256, 64, 64)


class ReceptiveField(nn.Module):
    """Four branches that see 1, 9, 15 and 21 cells wide, joined, with a shortcut: (N, C, h, w) -> (N, width, h, w)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_conv_bn(inputs, width, 1)])
        for reach in (3, 5, 7):
            steps = (_conv_bn(inputs, width, 1), _conv_bn(width, width, (1, reach)), _conv_bn(width, width, (reach, 1)))
            self.branches.append(nn.Sequential(*steps, _conv_bn(width, width, 3, dilation=reach)))
        self.join = _conv_bn(4 * width, width, 3)
        self.shortcut = _conv_bn(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = self.join(torch.cat([branch(x) for branch in self.branches], 1))
        return F.relu(joined + self.shortcut(x))


class PartialDecoder(nn.Module):
    """Features at strides 8, 16 and 32, one width -> logits of the global map (N, 1, h/8, w/8).

    Finer features are multiplied with all coarser ones, then joined from coarse to fine.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_16 = _conv_bn(width, width, 3)
        self.gate_8 = nn.ModuleList(_conv_bn(width, width, 3) for _ in range(2))
        self.pass_32 = _conv_bn(width, width, 3)
        self.pass_16 = _conv_bn(2 * width, 2 * width, 3)
        self.join_16 = _conv_bn(2 * width, 2 * width, 3)
        self.join_8 = _conv_bn(3 * width, 3 * width, 3)
        self.out = nn.Sequential(_conv_bn(3 * width, 3 * width, 3), nn.Conv2d(3 * width, 1, 1))

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        coarse_at_16 = _resize(coarse, middle)
        gated_16 = self.gate_16(coarse_at_16) * middle
        gated_8 = self.gate_8[0](_resize(coarse_at_16, fine)) * self.gate_8[1](_resize(middle, fine)) * fine
        joined = self.join_16(torch.cat([gated_16, self.pass_32(coarse_at_16)], 1))
        joined = self.join_8(torch.cat([gated_8, self.pass_16(_resize(joined, fine))], 1))
        return self.out(joined)


class ReverseStage(nn.Module):
    """A backbone's feature and a coarser map's logits (N, 1, h', w') -> logits at the feature's resolution."""

    def __init__(self, inputs: int, width: int, *, kernel: int, count: int) -> None:
        super().__init__()
        mixes = [layer for _ in range(count) for layer in (_conv_bn(width, width, kernel), nn.ReLU(inplace=True))]
        self.residue = nn.Sequential(_conv_bn(inputs, width, 1), *mixes, nn.Conv2d(width, 1, 1))

    def forward(self, feature: Tensor, coarser: Tensor) -> Tensor:
        coarser = _resize(coarser, feature)
        return self.residue(reverse_attention(feature, coarser)) + coarser


def reverse_attention(feature: Tensor, logits: Tensor) -> Tensor:
    """The feature with what the map (N, 1, h, w) has found taken away: feature * (1 - sigmoid(logits))."""
    return feature * (1 - logits.sigmoid())


class PraNet(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> polyp probability (N, h/4, w/4)."""

    def __init__(self, config: PraNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        deep = self.backbone.channels[1:]
        self.fields = nn.ModuleList(ReceptiveField(inputs, config.width) for inputs in deep)
        self.decoder = PartialDecoder(config.width)
        shapes = ((5, 3), (3, 2), (3, 2))  # kernel and count of the stages' convolutions, coarsest first
        self.stages = nn.ModuleList(
            ReverseStage(inputs, width, kernel=kernel, count=count)
            for inputs, width, (kernel, count) in zip(deep[::-1], config.reverse_widths, shapes, strict=True)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        finest = self.logits(pixels)[-1][:, None]
        quarter = (pixels.shape[-2] // 4, pixels.shape[-1] // 4)
        return F.interpolate(finest, quarter, mode="bilinear")[:, 0].sigmoid()

    def logits(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits of the global map at stride 8 and of the stages' maps at strides 32, 16 and 8; all are supervised."""
        features = self.backbone(pixels)[1:]
        maps = [self.decoder(*(field(x) for field, x in zip(self.fields, features, strict=True)))]
        for stage, feature in zip(self.stages, features[::-1], strict=True):
            maps.append(stage(feature, maps[-1]))
        return tuple(logits[:, 0] for logits in maps)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear")


def _conv_bn(inputs: int, outputs: int, kernel: int | tuple[int, int], *, dilation: int = 1) -> nn.Sequential:
    """Same shape out as in, and no activation, as the paper's blocks have it."""
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (rows // 2 * dilation, columns // 2 * dilation)
    conv = nn.Conv2d(inputs, outputs, (rows, columns), padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


build = PraNet


def loss(model: PraNet, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.logits(images), targets.masks)


@in_full_precision
def _criterion(logits: tuple[Tensor, ...], truth: Tensor) -> Losses:
    """The structure loss of the global map and of each stage's map, all of weight 1."""
    names, weight = ("global", "stage_5", "stage_4", "stage_3"), edge_weight(truth)
    enlarged = [F.interpolate(x[:, None], truth.shape[-2:], mode="bilinear")[:, 0] for x in logits]
    return {name: structure_loss(x, truth, weight) for name, x in zip(names, enlarged, strict=True)}


def edge_weight(truth: Tensor) -> Tensor:
    """1 + 5 |mean of the truth in a window - truth|, elementwise; beyond the frame the truth counts as background."""
    reach = _WINDOW_PX // 2
    rows = F.avg_pool2d(truth[:, None], (_WINDOW_PX, 1), 1, (reach, 0))  # one direction after the other: 16 times less
    mean = F.avg_pool2d(rows, (1, _WINDOW_PX), 1, (0, reach))[:, 0]
    return 1 + _EDGE_WEIGHT * (mean - truth).abs()


def structure_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross entropy plus weighted IoU loss of each image, averaged; all (N, h, w)."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weighted_entropy = (weight * entropy).sum((1, 2)) / weight.sum((1, 2))
    probability, smooth = logits.sigmoid(), 1.0
    shared = (weight * probability * truth).sum((1, 2))
    union = (weight * (probability + truth)).sum((1, 2)) - shared
    return (weighted_entropy + 1 - (shared + smooth) / (union + smooth)).mean()
