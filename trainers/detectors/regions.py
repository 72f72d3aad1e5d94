"""The second stage of the two-stage detectors: sampling of proposals, box head, losses and padding of the detections.

Sources: Girshick, Fast R-CNN (ICCV 2015); Ren et al., Faster R-CNN (NeurIPS 2015). The sampling and the normalisation
of the losses follow mmdetection.
"""

from dataclasses import dataclass
from typing import Any

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
    """How the proposals of an image are sampled for training.

    Attributes:
        count: number of proposals sampled per image.
        positive_share: largest share of positive ones among them.
        positive: IoU with a true box from which a proposal is positive; below it is background.
    """

    count: int = 512
    positive_share: float = 0.25
    positive: float = 0.5


@dataclass(frozen=True)
class RoISamples:
    """The n regions sampled from the proposals of a batch.

    Attributes:
        rois: the regions.
        positive: (n,) bool.
        truth: (n, 4), the true box of each positive region; the region itself for background.
        added: (n,) bool, whether the region is a true box that was added to the proposals.
    """

    rois: RoIs
    positive: Tensor
    truth: Tensor
    added: Tensor


class FCHead(nn.Module):
    """Pooled features (n, C, size, size) -> class logits (n, 2) and deltas (n, 4), from two shared linear layers."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.shared = shared_layers(inputs, width)
        self.cls = nn.Linear(width, 2)
        self.reg = nn.Linear(width, 4)
        initialise_outputs(self.cls, self.reg)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = apply_layers(self.shared, pooled)
        return self.cls(x), self.reg(x)


def shared_layers(inputs: int, width: int) -> nn.ModuleList:
    """Return two fully connected layers for `apply_layers`."""
    layers = [nn.Linear(inputs, width), nn.Linear(width, width)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.ModuleList(layers)


def apply_layers(layers: nn.ModuleList, pooled: Tensor) -> Tensor:
    """Apply the layers, each followed by ReLU: pooled features (n, C, size, size) -> (n, width)."""
    x = pooled.flatten(1)
    for layer in layers:
        x = F.relu(layer(x))
    return x


def initialise_outputs(cls: nn.Linear, reg: nn.Linear | None = None) -> None:
    """Initialise the output layers so that class logits and deltas are near zero at first."""
    for layer, std in ((cls, 0.01), (reg, 0.001)):
        if layer is not None:
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)


def pyramid_levels(model: Any, pixels: Tensor) -> list[Tensor]:
    """Return the levels of the feature pyramid of a detector with `backbone` and `pyramid`."""
    return model.pyramid(model.backbone(pixels)[model.config.neck.start :])


def propose_rois(model: Any, levels: list[Tensor], pixels: Tensor) -> RoIs:
    """Return the proposals for inference, at most `config.proposals` per image."""
    proposals = propose(model.rpn(levels), model.config.rpn, pixels.shape[-2:], model.config.proposals)
    return rois_of([image.boxes for image in proposals])


def training_proposals(model: Any, maps: RPNMaps, pixels: Tensor) -> list[Tensor]:
    """Return the proposals (n, 4) of each image for training, at most `config.training_proposals` per image.

    They are chosen from more candidates than for inference.
    """
    config = model.config
    size, candidates = pixels.shape[-2:], config.rpn.training_candidates
    proposals = propose(maps, config.rpn, size, config.training_proposals, candidates=candidates)
    return [image.boxes for image in proposals]


@torch.no_grad()
def sample_rois(proposals: list[Tensor], truths: list[Tensor], sampling: Sampling) -> RoISamples:
    """Sample regions for training from the proposals (n, 4) and true boxes (m, 4) of each image."""
    sampled = [_sample_image(boxes, truth, sampling) for boxes, truth in zip(proposals, truths, strict=True)]
    boxes, positive, truth, added = (list(column) for column in zip(*sampled, strict=True))
    return RoISamples(rois_of(boxes), torch.cat(positive), torch.cat(truth), torch.cat(added))


def _sample_image(proposals: Tensor, truth: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the regions sampled from one image, and `positive`, `truth` and `added` of `RoISamples`."""
    boxes = torch.cat([truth.to(proposals.dtype), proposals])
    assigned = max_iou(boxes, truth, positive=sampling.positive, negative=sampling.positive, rescue=False)
    positive, background = draw(assigned, sampling.count, sampling.positive_share)
    indices = torch.cat([positive, background])
    targets = boxes[indices]
    targets[: len(positive)] = truth[assigned[positive]].to(targets.dtype)
    is_positive = torch.arange(len(indices), device=indices.device) < len(positive)
    return boxes[indices], is_positive, targets, indices < len(truth)


def class_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Return the mean cross entropy of the logits (n, 2). positive: (n,) bool, whether the region is a polyp."""
    labels = torch.where(positive, POLYP, BACKGROUND)
    return F.cross_entropy(logits, labels, reduction="sum") / max(len(labels), 1)


def box_loss(deltas: Tensor, samples: RoISamples, stds: Stds, *, beta: float = 0.0) -> Tensor:
    """Return the smooth L1 loss of the positive regions' deltas, divided by the number of all regions.

    beta: difference below which the loss is quadratic; 0 is the L1 loss.
    """
    positive = samples.positive
    targets = encode(samples.rois.boxes[positive], samples.truth[positive], stds)
    return F.smooth_l1_loss(deltas[positive], targets, beta=beta, reduction="sum") / max(len(positive), 1)


def polyp_probability(logits: Tensor) -> Tensor:
    """Return the probability (n,) of the polyp class from class logits (n, 2)."""
    return logits.float().softmax(-1)[:, POLYP]


def apply_deltas(boxes: Tensor, deltas: Tensor, stds: Stds) -> Tensor:
    """Return the boxes (n, 4) corrected by the deltas (n, 4), in float32."""
    return decode(boxes, deltas.float(), stds)


def pad_to_fixed_count(rois: RoIs, scores: Tensor, images: int, count: int) -> tuple[Tensor, Tensor]:
    """Return boxes (N, count, 4) and scores (N, count), padded per image with empty boxes of score 0."""
    boxes, padded_scores = rois.boxes.new_zeros(images, count, 4), scores.new_zeros(images, count)
    for image in range(images):
        indices = (rois.image == image).nonzero()[:count, 0]
        boxes[image, : len(indices)] = rois.boxes[indices]
        padded_scores[image, : len(indices)] = scores[indices]
    return boxes, padded_scores
