"""Faster R-CNN on a pyramid: regions proposed by one network, classified and adjusted by a second.

Sources: Ren et al., Faster R-CNN (NeurIPS 2015); Lin et al., FPN (CVPR 2017), section 4.2.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.detectors.regions import (
    BOX_STDS,
    FCHead,
    RoISamples,
    Sampling,
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

MMDET_NAMES: tuple[Rule, ...] = (
    *RPN_FROM_MMDET,
    (r"roi_head\.bbox_head\.shared_fcs\.(.*)", r"head.shared.\1"),
    (r"roi_head\.bbox_head\.fc_(cls|reg)\.(.*)", r"head.\1.\2"),
)


@dataclass(frozen=True)
class FasterRCNNConfig:
    """size: input (h, w) px. proposals: regions looked at, and so candidates given; training_proposals: regions to draw
    from while training. strides: of the levels that regions are read from. fc_width: of the head's layers."""

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig(start=0, levels=5, extra="pool", channels=256)
    size: tuple[int, int] = (800, 1344)
    rpn: RPNConfig = RPNConfig()
    proposals: int = 1000
    training_proposals: int = 1000
    strides: tuple[int, ...] = (4, 8, 16, 32)
    sampling: Sampling = Sampling()
    fc_width: int = 1024


class FasterRCNN(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> boxes (N, P, 4) input px and scores (N, P), P = `config.proposals`."""

    def __init__(self, config: FasterRCNNConfig = FasterRCNNConfig()) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        self.rpn = RPN(config.neck.channels, config.rpn)
        self.head = FCHead(config.neck.channels * _BINS**2, config.fc_width)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        levels = pyramid_levels(self, pixels)
        rois = propose_rois(self, levels, pixels)
        logits, deltas = self.roi_forward(levels, rois)
        boxes = clip_to(apply_deltas(rois.boxes, deltas, BOX_STDS), pixels.shape[-2:])
        return pad_to_fixed_count(
            RoIs(boxes, rois.image), polyp_probability(logits), len(pixels), self.config.proposals
        )

    def roi_forward(self, levels: list[Tensor], rois: RoIs) -> tuple[Tensor, Tensor]:
        """Class logits (n, 2) and deltas (n, 4) of regions."""
        strides = self.config.strides
        return self.head(pool_levels(levels[: len(strides)], rois, strides, size=_BINS))


build = FasterRCNN


def loss(model: FasterRCNN, images: Tensor, targets: Targets) -> Losses:
    levels = pyramid_levels(model, images)
    maps = model.rpn(levels)
    samples = sample_rois(training_proposals(model, maps, images), targets.boxes, model.config.sampling)
    logits, deltas = model.roi_forward(levels, samples.rois)
    return {**rpn_criterion(maps, model.config.rpn, targets.boxes), **_criterion(logits, deltas, samples)}


@in_full_precision
def _criterion(logits: Tensor, deltas: Tensor, samples: RoISamples) -> Losses:
    return {"class": class_loss(logits, samples.positive), "box": box_loss(deltas, samples, BOX_STDS)}
