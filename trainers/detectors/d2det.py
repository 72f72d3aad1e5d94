"""D2Det: every cell of a region places the box by itself, and the region's class is read from where it shows best.

Source: Cao et al., D2Det (CVPR 2020): dense local regression (section 3.1), discriminative RoI pooling (3.2). Where the
paper is silent (layers of the dense head, loss weights, shaken regions while training, how many boxes are placed while
detecting) the authors' release decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.boxes import from_distances, iou
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, ResNetConfig
from trainers.detectors.regions import (
    RoISamples,
    Sampling,
    apply_layers,
    class_loss,
    initialise_outputs,
    pad_to_fixed_count,
    polyp_probability,
    propose_rois,
    pyramid_levels,
    sample_rois,
    shared_layers,
    training_proposals,
)
from trainers.detectors.roi_align import RoIs, bin_points, pool_levels, read_levels, rois_of
from trainers.detectors.rpn import RPN, Proposals, RPNConfig, rpn_criterion, suppress
from trainers.training.anchors import clip_to
from trainers.training.contract import Losses, Targets, in_full_precision

_BINS = 7
_LIGHT_BINS = _BINS // 2  # offsets come from a coarser view of the region
_OFFSET_SCALE = 0.1  # an offset of 1 moves a sample by a tenth of the region's side
_NORM_GROUPS = 36
_MOST_LEARNT = 192  # positive regions of a batch that the dense head learns from
_SHAKE = 0.15  # of a region's sides, while the dense head learns
_LEAST_IOU = 0.1  # from which a cell's box loss is -log(IoU); below it -log(0.1 + IoU), whose slope is bounded


@dataclass(frozen=True)
class D2DetConfig:
    """As `FasterRCNNConfig`; tower_width, tower_depth: of the dense head. placed: regions that get a box while
    detecting, and so candidates given: the best after NMS at `placed_iou`. class_weight: of the class loss. The
    proposal network and its proposals are those of the authors' release."""

    backbone: ResNetConfig | LiteConfig = R50
    neck: NeckConfig = NeckConfig(start=0, levels=5, extra="pool", channels=256)
    size: tuple[int, int] = (800, 1344)
    rpn: RPNConfig = RPNConfig(beta=1 / 9, inside_only=True)
    proposals: int = 1000
    training_proposals: int = 2000
    strides: tuple[int, ...] = (4, 8, 16, 32)
    sampling: Sampling = Sampling()
    fc_width: int = 1024
    tower_width: int = 576
    tower_depth: int = 8
    placed: int = 125
    placed_iou: float = 0.5
    class_weight: float = 2.0


class DiscriminativePool(nn.Module):
    """Features of regions, four samples a bin, read where learnt offsets say and weighted by what they show."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.shared = shared_layers(channels * _LIGHT_BINS**2, width)
        self.offsets = nn.Linear(width, _BINS**2 * 2)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        for parameter in (self.offsets.weight, self.offsets.bias, self.gate.weight):
            nn.init.zeros_(parameter)  # at the start samples lie evenly and count the same

    def forward(self, levels: list[Tensor], rois: RoIs, strides: tuple[int, ...]) -> Tensor:
        light = pool_levels(levels, rois, strides, size=_LIGHT_BINS, samples=2)
        offsets = self.offsets(apply_layers(self.shared, light)).float().view(-1, _BINS, _BINS, 2)
        read = read_levels(levels, rois, shifted_points(rois.boxes, offsets), strides)
        return weighted_mean(read, self.gate(read))


def shifted_points(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Where regions (n, 4) are read, 2 x 2 points a bin, each bin moved by its offset (n, k, k, 2): (n, 2k, 2k, 2)."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None, None]
    shifts = (offsets * _OFFSET_SCALE * sides).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    return bin_points(boxes, 2 * offsets.shape[1]) + shifts


def weighted_mean(x: Tensor, logits: Tensor) -> Tensor:
    """Each 2 x 2 cells of x (n, C, 2k, 2k) as one, weighted by the softmax of their logits: (n, C, k, k)."""
    return (_in_fours(x) * _in_fours(logits).softmax(-1)).sum(-1)


def _in_fours(x: Tensor) -> Tensor:
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).transpose(3, 4).flatten(4)


class DenseHead(nn.Module):
    """Pooled features (n, C, 2k, 2k) -> of each cell, distances (n, k, k, 4) to the polyp's left, top, right and bottom
    edge in sides of the region, and the logit (n, k, k) of its lying within the polyp."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(_layer(inputs if i == 0 else width, width, 2 if i == 0 else 1) for i in range(depth))
        )
        self.reg = nn.Conv2d(width, 4, 3, padding=1)
        self.inside = nn.Conv2d(width, 1, 3, padding=1)
        for layer in (self.reg, self.inside):
            nn.init.normal_(layer.weight, std=0.001)
        assert self.reg.bias is not None and self.inside.bias is not None
        nn.init.constant_(self.reg.bias, 0.5)  # an edge's mean distance, above the rectifier's dead half
        nn.init.zeros_(self.inside.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = self.tower(pooled)
        return F.relu(self.reg(x)).permute(0, 2, 3, 1), self.inside(x)[:, 0]


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(_NORM_GROUPS, outputs), outputs), nn.ReLU())


def dense_boxes(boxes: Tensor, distances: Tensor) -> Tensor:
    """The box that each cell of regions (n, 4) proposes with its distances (n, k, k, 4): (n, k, k, 4) px."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)[:, None, None]
    return from_distances(bin_points(boxes, distances.shape[1]), distances * sides)


def average_boxes(dense: Tensor, inside: Tensor, boxes: Tensor) -> Tensor:
    """Return the mean of the boxes (n, k, k, 4) whose logit `inside` is positive; without any, the region itself."""
    chosen = (inside > 0)[..., None].to(dense.dtype)
    count = chosen.sum((1, 2))
    return torch.where(count > 0, (dense * chosen).sum((1, 2)) / count.clamp(min=1), boxes)


class D2Det(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> boxes (N, P, 4) input px and scores (N, P), P = `config.placed`."""

    def __init__(self, config: D2DetConfig = D2DetConfig()) -> None:
        super().__init__()
        self.config = config
        channels = config.neck.channels
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        self.rpn = RPN(channels, config.rpn)
        self.pool = DiscriminativePool(channels, config.fc_width)
        self.shared = shared_layers(channels * _BINS**2, config.fc_width)
        self.cls = nn.Linear(config.fc_width, 2)
        self.dense = DenseHead(channels, config.tower_width, config.tower_depth)
        initialise_outputs(self.cls)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        levels = pyramid_levels(self, pixels)
        rois = propose_rois(self, levels, pixels)
        scores = polyp_probability(self.classify(levels, rois))
        rois, scores = self._best(rois, scores, len(pixels))
        distances, inside = self.place(levels, rois)
        boxes = average_boxes(dense_boxes(rois.boxes, distances.float()), inside, rois.boxes)
        boxes = clip_to(boxes, pixels.shape[-2:])
        return pad_to_fixed_count(RoIs(boxes, rois.image), scores, len(pixels), self.config.placed)

    def classify(self, levels: list[Tensor], rois: RoIs) -> Tensor:
        """Class logits (n, 2) of regions."""
        strides = self.config.strides
        return self.cls(apply_layers(self.shared, self.pool(levels[: len(strides)], rois, strides)))

    def place(self, levels: list[Tensor], rois: RoIs) -> tuple[Tensor, Tensor]:
        """What every cell of regions says: see `DenseHead`."""
        strides = self.config.strides
        return self.dense(pool_levels(levels[: len(strides)], rois, strides, size=2 * _BINS, samples=2))

    def _best(self, rois: RoIs, scores: Tensor, images: int) -> tuple[RoIs, Tensor]:
        kept = []
        for image in range(images):
            here = (rois.image == image).nonzero()[:, 0]
            here = here[scores[here].argsort(descending=True, stable=True)]
            found = suppress(Proposals(rois.boxes[here], scores[here]), self.config.placed_iou)
            kept.append(Proposals(*(column[: self.config.placed] for column in found)))
        return rois_of([one.boxes for one in kept]), torch.cat([one.scores for one in kept])


build = D2Det


def loss(model: D2Det, images: Tensor, targets: Targets) -> Losses:
    levels = pyramid_levels(model, images)
    maps = model.rpn(levels)
    samples = sample_rois(training_proposals(model, maps, images), targets.boxes, model.config.sampling)
    logits = model.classify(levels, samples.rois)
    rois, truth = _to_place(samples, images.shape[-2:])
    distances, inside = model.place(levels, rois)
    return {
        **rpn_criterion(maps, model.config.rpn, targets.boxes),
        **_class_criterion(logits, samples, model.config),
        **_dense_criterion(distances, inside, rois.boxes, truth),
    }


def _to_place(samples: RoISamples, size: Sequence[int]) -> tuple[RoIs, Tensor]:
    """The positive regions that the dense head learns from, shaken, and their true boxes (n, 4)."""
    positive = samples.positive.nonzero()[:, 0]
    chosen = positive[torch.randperm(len(positive))[:_MOST_LEARNT].to(positive.device)]
    boxes = clip_to(shaken(samples.rois.boxes[chosen]), size)
    return RoIs(boxes, samples.rois.image[chosen]), samples.truth[chosen]


def shaken(boxes: Tensor) -> Tensor:
    """Boxes (n, 4) moved and resized at random, by up to `_SHAKE` of their sides."""
    amounts = ((torch.rand(len(boxes), 4) * 2 - 1) * _SHAKE).to(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + amounts[:, :2] * sides
    half = sides * (1 + amounts[:, 2:]) / 2
    return torch.cat([middle - half, middle + half], dim=1)


@in_full_precision
def _class_criterion(logits: Tensor, samples: RoISamples, config: D2DetConfig) -> Losses:
    return {"class": config.class_weight * class_loss(logits, samples.positive)}


@in_full_precision
def _dense_criterion(distances: Tensor, inside: Tensor, boxes: Tensor, truth: Tensor) -> Losses:
    """IoU loss of the cells within the polyp, cross entropy of which those are.

    Which cells lie within is the paper's (overlap of region and polyp, 3.1): the release leaves a margin of a cell.
    """
    points, wanted = bin_points(boxes, distances.shape[1]), truth[:, None, None]
    within = ((points > wanted[..., :2]) & (points < wanted[..., 2:])).all(-1)
    overlaps = iou(dense_boxes(boxes, distances), wanted)[within]
    overlaps = torch.where(overlaps > _LEAST_IOU, overlaps, _LEAST_IOU + overlaps)
    mask = F.binary_cross_entropy_with_logits(inside, within.to(inside.dtype), reduction="sum")
    return {
        "box": -overlaps.log().sum() / max(len(overlaps), 1),
        "inside": mask / max(inside.numel(), 1),
    }
