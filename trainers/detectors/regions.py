"""What the two-stage detectors share once regions are proposed: which regions learn what, the small heads' losses,
and candidates in a fixed number.

Sources: Girshick, Fast R-CNN (ICCV 2015); Ren et al., Faster R-CNN (NeurIPS 2015). Sampling and the losses' divisors
are mmdetection's.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.detectors.roi_align import RoIs, rois_of
from trainers.detectors.rpn import RPNMaps, draw, propose
from trainers.training.anchors import decode, encode
from trainers.training.assign import max_iou

Stds = tuple[float, float, float, float]
BOX_STDS: Stds = (0.1, 0.1, 0.2, 0.2)
POLYP, BACKGROUND = 0, 1  # the order of the class logits


@dataclass(frozen=True)
class Sampling:
    """count: regions of an image that learn, positive_share of them at most on polyps; a region is on a polyp from an
    IoU of `positive`, on background below."""

    count: int = 512
    positive_share: float = 0.25
    positive: float = 0.5


@dataclass(frozen=True)
class RoISamples:
    """Regions that learn. positive (n,) bool; truth (n, 4): the box that a positive region learns, itself elsewhere;
    added (n,) bool: which are true boxes that were put among the proposals."""

    rois: RoIs
    positive: Tensor
    truth: Tensor
    added: Tensor


class FCHead(nn.Module):
    """Pooled features (n, C, size, size) -> class logits (n, 2) and deltas (n, 4), through two shared layers."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.shared = shared_layers(inputs, width)
        self.cls = nn.Linear(width, 2)
        self.reg = nn.Linear(width, 4)
        initialise_outputs(self.cls, self.reg)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = through(self.shared, pooled)
        return self.cls(x), self.reg(x)


def shared_layers(inputs: int, width: int) -> nn.ModuleList:
    """Two fully connected layers, for `through`."""
    layers = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width)])
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layers


def through(layers: nn.ModuleList, pooled: Tensor) -> Tensor:
    """Pooled features (n, C, size, size) -> (n, width)."""
    x = pooled.flatten(1)
    for layer in layers:
        x = F.relu(layer(x))
    return x


def initialise_outputs(cls: nn.Linear, reg: nn.Linear | None = None) -> None:
    """Class logits and deltas that start near zero."""
    for layer, std in ((cls, 0.01), (reg, 0.001)):
        if layer is not None:
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)


def pyramid_levels(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    """The pyramid of a detector with `backbone` and `pyramid`."""
    return model.pyramid(model.backbone(pixels)[model.config.neck.start :])


def propose_rois(model: nn.Module, levels: list[Tensor], pixels: Tensor) -> RoIs:
    """The regions that a detector looks at, `config.proposals` an image at most."""
    found = propose(model.rpn(levels), model.config.rpn, tuple(pixels.shape[-2:]), model.config.proposals)
    return rois_of([one.boxes for one in found])


def training_proposals(model: nn.Module, maps: RPNMaps, pixels: Tensor) -> list[Tensor]:
    """The same while training: `config.training_proposals` an image at most, from more candidates."""
    config = model.config
    size, candidates = tuple(pixels.shape[-2:]), config.rpn.training_candidates
    found = propose(maps, config.rpn, size, config.training_proposals, candidates=candidates)
    return [one.boxes for one in found]


@torch.no_grad()
def sample_rois(proposals: list[Tensor], truths: list[Tensor], sampling: Sampling) -> RoISamples:
    """Of each image's proposals (n, 4), with its true boxes (m, 4) among them, the ones that learn."""
    drawn = [_draw_one(boxes, truth, sampling) for boxes, truth in zip(proposals, truths, strict=True)]
    boxes, positive, truth, added = (list(column) for column in zip(*drawn, strict=True))
    return RoISamples(rois_of(boxes), torch.cat(positive), torch.cat(truth), torch.cat(added))


def _draw_one(proposals: Tensor, truth: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    boxes = torch.cat([truth.to(proposals.dtype), proposals])
    learnt = max_iou(boxes, truth, positive=sampling.positive, negative=sampling.positive, rescue=False)
    positive, background = draw(learnt, sampling.count, sampling.positive_share)
    places = torch.cat([positive, background])
    wanted = boxes[places]
    wanted[: len(positive)] = truth[learnt[positive]].to(wanted.dtype)
    is_positive = torch.arange(len(places), device=places.device) < len(positive)
    return boxes[places], is_positive, wanted, places < len(truth)


def class_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Mean cross entropy of logits (n, 2) with the regions being of a polyp."""
    labels = torch.where(positive, POLYP, BACKGROUND)
    return F.cross_entropy(logits, labels, reduction="sum") / max(len(labels), 1)


def box_loss(deltas: Tensor, samples: RoISamples, stds: Stds, *, beta: float = 0.0) -> Tensor:
    """L1 (smooth below `beta`) of the positive regions' deltas, over the number of all regions."""
    chosen = samples.positive
    wanted = encode(samples.rois.boxes[chosen], samples.truth[chosen], stds)
    return F.smooth_l1_loss(deltas[chosen], wanted, beta=beta, reduction="sum") / max(len(chosen), 1)


def polyp_probability(logits: Tensor) -> Tensor:
    """Class logits (n, 2) -> (n,)."""
    return logits.float().softmax(-1)[:, POLYP]


def apply_deltas(boxes: Tensor, deltas: Tensor, stds: Stds) -> Tensor:
    """Boxes (n, 4) where their deltas (n, 4) put them, in full precision."""
    return decode(boxes, deltas.float(), stds)


def pad_to_fixed_count(rois: RoIs, scores: Tensor, images: int, count: int) -> tuple[Tensor, Tensor]:
    """Candidates by image, boxes (N, count, 4) and scores (N, count); empty boxes of score zero fill the rest."""
    boxes, filled = rois.boxes.new_zeros(images, count, 4), scores.new_zeros(images, count)
    for image in range(images):
        here = (rois.image == image).nonzero()[:count, 0]
        boxes[image, : len(here)] = rois.boxes[here]
        filled[image, : len(here)] = scores[here]
    return boxes, filled
