"""Where to look: the region proposal network that every two-stage detector starts from.

Source: Ren et al., Faster R-CNN (NeurIPS 2015), section 3, on a pyramid (Lin et al., FPN, CVPR 2017, section 4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.postprocess.nms import nms
from trainers.training.anchors import AnchorShapes, anchors_of, clip_to, decode, encode
from trainers.training.assign import max_iou
from trainers.training.checkpoint_names import Rule
from trainers.training.contract import Losses, in_full_precision

_UNIT_STDS = (1.0, 1.0, 1.0, 1.0)
RPN_FROM_MMDET: tuple[Rule, ...] = (
    (r"rpn_head\.rpn_conv\.(.*)", r"rpn.conv.\1"),
    (r"rpn_head\.rpn_(cls|reg)\.(.*)", r"rpn.\1.\2"),
)


@dataclass(frozen=True)
class RPNConfig:
    """strides: of the pyramid's levels. candidates: of each level, before NMS; training_candidates: while training.
    samples: anchors of an image that learn, positive_share of them at most on polyps. positive, negative, least: see
    `max_iou`. beta: where the box loss turns from square to absolute, 0 for never square. inside_only: anchors that
    cross the image's border do not learn."""

    shapes: AnchorShapes = AnchorShapes(scales=(8.0,), ratios=(0.5, 1.0, 2.0))
    strides: tuple[int, ...] = (4, 8, 16, 32, 64)
    candidates: int = 1000
    training_candidates: int = 2000
    nms_iou: float = 0.7
    samples: int = 256
    positive_share: float = 0.5
    positive: float = 0.7
    negative: float = 0.3
    least: float = 0.3
    beta: float = 0.0
    inside_only: bool = False


@dataclass(frozen=True)
class RPNMaps:
    """logits (N, A) of there being a polyp; deltas (N, A, 4); anchors (A, 4) px; sizes: anchors of each level;
    learning (A,) bool: the anchors that may learn, None for all."""

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    sizes: list[int]
    learning: Tensor | None = None


class Proposals(NamedTuple):
    """One image's, best first: boxes (n, 4) input px, scores (n,)."""

    boxes: Tensor
    scores: Tensor


class RPN(nn.Module):
    """Pyramid levels (N, C, h, w) -> what they say of every anchor."""

    def __init__(self, channels: int, config: RPNConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.cls = nn.Conv2d(channels, config.shapes.count, 1)
        self.reg = nn.Conv2d(channels, config.shapes.count * 4, 1)
        for layer in (self.conv, self.cls, self.reg):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, levels: list[Tensor]) -> RPNMaps:
        seen = [F.relu(self.conv(x)) for x in levels]
        logits = [self.cls(x).permute(0, 2, 3, 1).flatten(1) for x in seen]
        deltas = [self.reg(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4) for x in seen]
        shapes = [(x.shape[-2], x.shape[-1]) for x in levels]
        anchors = anchors_of(shapes, self.config.strides, self.config.shapes).to(levels[0].device)
        learning = is_inside(anchors, shapes[0], self.config.strides[0]) if self.config.inside_only else None
        return RPNMaps(torch.cat(logits, 1), torch.cat(deltas, 1), anchors, [x.shape[1] for x in logits], learning)


def is_inside(anchors: Tensor, shape: tuple[int, int], stride: int) -> Tensor:
    """Return whether each anchor (A, 4) lies within the image, whose finest level has this shape (h, w) and stride."""
    size = anchors.new_tensor([shape[1] * stride, shape[0] * stride])
    return ((anchors[:, :2] >= 0) & (anchors[:, 2:] < size)).all(1)


@torch.no_grad()
def propose(
    maps: RPNMaps, config: RPNConfig, size: Sequence[int], most: int, *, candidates: int | None = None
) -> list[Proposals]:
    """The `most` best regions of each image of (h, w) px, after NMS within each level."""
    count = config.candidates if candidates is None else candidates
    scores, deltas = maps.logits.float().sigmoid(), maps.deltas.float()
    return [_propose_one(*one, maps, config, size, count, most) for one in zip(scores, deltas, strict=True)]


def _propose_one(
    scores: Tensor, deltas: Tensor, maps: RPNMaps, config: RPNConfig, size: Sequence[int], count: int, most: int
) -> Proposals:
    kept, start = [], 0
    for length in maps.sizes:
        best, place = scores[start : start + length].topk(min(count, length))
        place = place + start
        boxes = clip_to(decode(maps.anchors[place], deltas[place], _UNIT_STDS), size)
        solid = (boxes[:, 2:] > boxes[:, :2]).all(1)
        kept.append(suppress(Proposals(boxes[solid], best[solid]), config.nms_iou))
        start += length
    boxes, ranked = torch.cat([one.boxes for one in kept]), torch.cat([one.scores for one in kept])
    order = ranked.argsort(descending=True, stable=True)[:most]
    return Proposals(boxes[order], ranked[order])


def suppress(found: Proposals, most_iou: float) -> Proposals:
    """Without the boxes that overlap a better one by more than `most_iou`; `found` must be sorted, best first."""
    kept = torch.from_numpy(nms(found.boxes.detach().cpu().contiguous().numpy(), most_iou)).to(found.boxes.device)
    return Proposals(found.boxes[kept], found.scores[kept])


def draw(learnt: Tensor, count: int, positive_share: float) -> tuple[Tensor, Tensor]:
    """Indices of the places that learn, drawn at random: positive ones (at most their share), background for the rest.

    learnt: (P,) as `max_iou` gives it. With few positive ones, background takes their places.
    """
    positive = _at_most((learnt >= 0).nonzero()[:, 0], int(count * positive_share))
    return positive, _at_most((learnt == -1).nonzero()[:, 0], count - len(positive))


def _at_most(index: Tensor, count: int) -> Tensor:
    return index if len(index) <= count else index[torch.randperm(len(index))[:count].to(index.device)]


@in_full_precision
def rpn_criterion(maps: RPNMaps, config: RPNConfig, truths: list[Tensor]) -> Losses:
    """Cross entropy on the drawn anchors and box loss on the positive ones, both over the number drawn."""
    parts = [
        _rpn_parts(logits, deltas, maps, config, truth)
        for logits, deltas, truth in zip(maps.logits, maps.deltas, truths, strict=True)
    ]
    classes, boxes, drawn = (sum(values) for values in zip(*parts, strict=True))
    return {"rpn_class": classes / max(drawn, 1), "rpn_box": boxes / max(drawn, 1)}


def _rpn_parts(
    logits: Tensor, deltas: Tensor, maps: RPNMaps, config: RPNConfig, truth: Tensor
) -> tuple[Tensor, Tensor, int]:
    anchors = maps.anchors
    if maps.learning is not None:
        logits, deltas, anchors = logits[maps.learning], deltas[maps.learning], anchors[maps.learning]
    learnt = max_iou(anchors, truth, positive=config.positive, negative=config.negative, least=config.least)
    positive, background = draw(learnt, config.samples, config.positive_share)
    places = torch.cat([positive, background])
    is_polyp = torch.zeros_like(logits[places])
    is_polyp[: len(positive)] = 1
    classes = F.binary_cross_entropy_with_logits(logits[places], is_polyp, reduction="sum")
    wanted = encode(anchors[positive], truth[learnt[positive]], _UNIT_STDS)
    boxes = F.smooth_l1_loss(deltas[positive], wanted, beta=config.beta, reduction="sum")
    return classes, boxes, len(places)
