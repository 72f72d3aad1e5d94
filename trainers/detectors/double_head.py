"""Double-Head-Ext: fully connected layers that classify, convolutions that place the box, each taught a little of the
other's task as well.

Source: Wu et al., Rethinking Classification and Localization for Object Detection (CVPR 2020), section 5. The layers of
the convolution head, and the weights of the two heads, are mmdetection's.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, Bottleneck, ResNetConfig
from trainers.detectors.regions import (
    BOX_STDS,
    FCHead,
    RoISamples,
    Sampling,
    apply_deltas,
    box_loss,
    class_loss,
    initialise_outputs,
    pad_to_fixed_count,
    polyp_probability,
    propose_rois,
    pyramid_levels,
    sample_rois,
    training_proposals,
)
from trainers.detectors.roi_align import RoIs, pool_levels
from trainers.detectors.rpn import RPN, RPN_FROM_MMDET, RPNConfig, rpn_criterion
from trainers.training.anchors import clip_to
from trainers.training.checkpoint_names import Rule
from trainers.training.contract import Losses, Targets, in_full_precision

_BINS = 7
_BETA = 1.0  # of the heads' smooth L1

# What each head is taught of the other's task has no published tensors: fc_head.reg and conv_head.cls.
MMDET_NAMES: tuple[Rule, ...] = (
    *RPN_FROM_MMDET,
    (r"roi_head\.bbox_head\.fc_branch\.(.*)", r"fc_head.shared.\1"),
    (r"roi_head\.bbox_head\.fc_cls\.(.*)", r"fc_head.cls.\1"),
    (r"roi_head\.bbox_head\.fc_reg\.(.*)", r"conv_head.reg.\1"),
    (r"roi_head\.bbox_head\.res_block\.conv(\d)\.(.*)", r"conv_head.widen.conv\1.\2"),
    (r"roi_head\.bbox_head\.res_block\.conv_identity\.(.*)", r"conv_head.widen.shortcut.\1"),
    (r"roi_head\.bbox_head\.conv_branch\.(.*)", r"conv_head.blocks.\1"),
)


@dataclass(frozen=True)
class DoubleHeadConfig:
    """As `FasterRCNNConfig`; conv_width, conv_blocks: of the convolution head. enlarge: of the regions that it sees.

    fc_focus, conv_focus: how much of a head's loss is its own task's (the paper's lambdas). fc_weight, conv_weight: of
    the heads' losses.
    """

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig(start=0, levels=5, extra="pool", channels=256)
    size: tuple[int, int] = (800, 1344)
    rpn: RPNConfig = RPNConfig()
    proposals: int = 1000
    training_proposals: int = 1000
    strides: tuple[int, ...] = (4, 8, 16, 32)
    sampling: Sampling = Sampling()
    fc_width: int = 1024
    conv_width: int = 1024
    conv_blocks: int = 4
    enlarge: float = 1.3
    fc_focus: float = 0.7
    conv_focus: float = 0.8
    fc_weight: float = 2.0
    conv_weight: float = 2.0


class ConvNorm(nn.Module):
    """A convolution without bias, then a batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Widen(nn.Module):
    """3x3 then 1x1 to more channels, with a projected shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, inputs, 3)
        self.conv2 = ConvNorm(inputs, outputs, 1)
        self.shortcut = ConvNorm(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ConvHead(nn.Module):
    """Pooled features (n, C, size, size) -> class logits (n, 2) and deltas (n, 4), through bottlenecks and a mean."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        plain = ResNetConfig()
        self.widen = Widen(inputs, width)
        self.blocks = nn.Sequential(
            *(Bottleneck(width, width // 4, stride=1, config=plain, deform="none") for _ in range(blocks))
        )
        self.cls = nn.Linear(width, 2)
        self.reg = nn.Linear(width, 4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        initialise_outputs(self.cls, self.reg)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(self.widen(pooled)).mean((2, 3))
        return self.cls(x), self.reg(x)


@dataclass(frozen=True)
class HeadOutputs:
    """What both heads say of regions: class logits (n, 2) and deltas (n, 4) of each."""

    fc: tuple[Tensor, Tensor]
    conv: tuple[Tensor, Tensor]


class DoubleHead(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> boxes (N, P, 4) input px and scores (N, P), P = `config.proposals`."""

    def __init__(self, config: DoubleHeadConfig = DoubleHeadConfig()) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        self.rpn = RPN(config.neck.channels, config.rpn)
        self.fc_head = FCHead(config.neck.channels * _BINS**2, config.fc_width)
        self.conv_head = ConvHead(config.neck.channels, config.conv_width, config.conv_blocks)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        levels = pyramid_levels(self, pixels)
        rois = propose_rois(self, levels, pixels)
        outputs = self.roi_forward(levels, rois)
        scores = fuse_scores(polyp_probability(outputs.fc[0]), polyp_probability(outputs.conv[0]))
        boxes = clip_to(apply_deltas(rois.boxes, outputs.conv[1], BOX_STDS), pixels.shape[-2:])
        return pad_to_fixed_count(RoIs(boxes, rois.image), scores, len(pixels), self.config.proposals)

    def roi_forward(self, levels: list[Tensor], rois: RoIs) -> HeadOutputs:
        """The fully connected head sees the regions as they are, the convolution head enlarged ones."""
        strides = self.config.strides
        used = levels[: len(strides)]
        tight = pool_levels(used, rois, strides, size=_BINS)
        wide = pool_levels(used, rois, strides, size=_BINS, factor=self.config.enlarge)
        return HeadOutputs(self.fc_head(tight), self.conv_head(wide))


build = DoubleHead


def fuse_scores(fc: Tensor, conv: Tensor) -> Tensor:
    """Complementary fusion of two classifiers' scores (section 5.2): the second adds where the first is unsure."""
    return fc + conv * (1 - fc)


def loss(model: DoubleHead, images: Tensor, targets: Targets) -> Losses:
    levels = pyramid_levels(model, images)
    maps = model.rpn(levels)
    samples = sample_rois(training_proposals(model, maps, images), targets.boxes, model.config.sampling)
    outputs = model.roi_forward(levels, samples.rois)
    return {**rpn_criterion(maps, model.config.rpn, targets.boxes), **_criterion(outputs, samples, model.config)}


@in_full_precision
def _criterion(outputs: HeadOutputs, samples: RoISamples, config: DoubleHeadConfig) -> Losses:
    """Each head's two losses, its own task weighted by its focus, the other's by the rest."""
    fc, conv = config.fc_weight, config.conv_weight
    return {
        "fc_class": fc * config.fc_focus * class_loss(outputs.fc[0], samples.positive),
        "fc_box": fc * (1 - config.fc_focus) * box_loss(outputs.fc[1], samples, BOX_STDS, beta=_BETA),
        "conv_class": conv * (1 - config.conv_focus) * class_loss(outputs.conv[0], samples.positive),
        "conv_box": conv * config.conv_focus * box_loss(outputs.conv[1], samples, BOX_STDS, beta=_BETA),
    }
