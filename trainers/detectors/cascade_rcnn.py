"""Cascade R-CNN: three heads in a row, each trained on the boxes that the one before it gives, to a stricter overlap.

Source: Cai and Vasconcelos (CVPR 2018). As in mmdetection, each head sees its own stage's boxes while detecting too,
and the heads' class logits are averaged before the softmax.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.detectors.regions import (
    FCHead,
    RoISamples,
    Sampling,
    Stds,
    apply_deltas,
    box_loss,
    class_loss,
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

MMDET_NAMES: tuple[Rule, ...] = (
    *RPN_FROM_MMDET,
    (r"roi_head\.bbox_head\.(\d)\.shared_fcs\.(.*)", r"heads.\1.shared.\2"),
    (r"roi_head\.bbox_head\.(\d)\.fc_(cls|reg)\.(.*)", r"heads.\1.\2.\3"),
)


@dataclass(frozen=True)
class Stage:
    """positive: IoU from which a region learns a polyp. stds: of this stage's deltas. weight: of its losses."""

    positive: float
    stds: Stds
    weight: float


STAGES = (
    Stage(0.5, (0.1, 0.1, 0.2, 0.2), 1.0),
    Stage(0.6, (0.05, 0.05, 0.1, 0.1), 0.5),
    Stage(0.7, (0.033, 0.033, 0.067, 0.067), 0.25),
)


@dataclass(frozen=True)
class CascadeRCNNConfig:
    """As `FasterRCNNConfig`, and the stages, whose IoUs take the place of `sampling.positive`.

    In mmdetection its proposal network learns from anchors inside the image only, and its heads from more proposals.
    """

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig(start=0, levels=5, extra="pool", channels=256)
    size: tuple[int, int] = (800, 1344)
    rpn: RPNConfig = RPNConfig(beta=1 / 9, inside_only=True)
    proposals: int = 1000
    training_proposals: int = 2000
    strides: tuple[int, ...] = (4, 8, 16, 32)
    sampling: Sampling = Sampling()
    stages: tuple[Stage, ...] = STAGES
    fc_width: int = 1024


class CascadeRCNN(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> boxes (N, P, 4) input px and scores (N, P), P = `config.proposals`."""

    def __init__(self, config: CascadeRCNNConfig = CascadeRCNNConfig()) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        self.rpn = RPN(config.neck.channels, config.rpn)
        inputs = config.neck.channels * _BINS**2
        self.heads = nn.ModuleList(FCHead(inputs, config.fc_width) for _ in config.stages)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        levels = pyramid_levels(self, pixels)
        rois, all_logits = propose_rois(self, levels, pixels), []
        for number in range(len(self.heads)):
            logits, deltas = self.roi_forward(number, levels, rois)
            all_logits.append(logits.float())
            rois = self.refine(number, rois, deltas, pixels.shape[-2:])
        scores = polyp_probability(torch.stack(all_logits).mean(0))
        return pad_to_fixed_count(rois, scores, len(pixels), self.config.proposals)

    def roi_forward(self, number: int, levels: list[Tensor], rois: RoIs) -> tuple[Tensor, Tensor]:
        """What head `number` says of regions: class logits (n, 2) and deltas (n, 4)."""
        strides = self.config.strides
        return self.heads[number](pool_levels(levels[: len(strides)], rois, strides, size=_BINS))

    def refine(self, number: int, rois: RoIs, deltas: Tensor, size: Sequence[int]) -> RoIs:
        """The regions where head `number` puts them, within an image of (h, w) px."""
        return replace(rois, boxes=clip_to(apply_deltas(rois.boxes, deltas, self.config.stages[number].stds), size))


build = CascadeRCNN


def loss(model: CascadeRCNN, images: Tensor, targets: Targets) -> Losses:
    config = model.config
    levels = pyramid_levels(model, images)
    maps = model.rpn(levels)
    losses = rpn_criterion(maps, config.rpn, targets.boxes)
    proposals = training_proposals(model, maps, images)
    for number, stage in enumerate(config.stages):
        samples = sample_rois(proposals, targets.boxes, replace(config.sampling, positive=stage.positive))
        logits, deltas = model.roi_forward(number, levels, samples.rois)
        parts = _criterion(logits, deltas, samples, stage)
        losses |= {f"{name}_{number + 1}": value for name, value in parts.items()}
        rois = model.refine(number, samples.rois, deltas.detach(), images.shape[-2:])
        proposals = _next_proposals(rois, samples, len(images))
    return losses


def _next_proposals(rois: RoIs, samples: RoISamples, images: int) -> list[Tensor]:
    """What the next stage draws from: all regions but the true boxes, which drawing adds anew."""
    return [rois.boxes[(rois.image == image) & ~samples.added] for image in range(images)]


@in_full_precision
def _criterion(logits: Tensor, deltas: Tensor, samples: RoISamples, stage: Stage) -> Losses:
    return {
        "class": stage.weight * class_loss(logits, samples.positive),
        "box": stage.weight * box_loss(deltas, samples, stage.stds, beta=_BETA),
    }
