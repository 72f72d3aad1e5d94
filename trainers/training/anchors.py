"""Anchors of several shapes and what is learnt about them: the box coding of R-CNN and RetinaNet.

Sources: Ren et al., Faster R-CNN (NeurIPS 2015); Lin et al., RetinaNet (ICCV 2017). The conventions (no half-stride
offset, widths without + 1, the limit on growth) are mmdetection's, whose checkpoints must give the same boxes here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from realtime_polyp.models.boxes import centres

_MOST_GROWTH = math.log(1000 / 16)  # of a decoded side over its anchor's, as a logarithm


@dataclass(frozen=True)
class AnchorShapes:
    """scales: an anchor's side in strides. ratios: height over width. A place has every pair, ratio by ratio."""

    scales: tuple[float, ...]
    ratios: tuple[float, ...] = (1.0,)

    @property
    def count(self) -> int:
        return len(self.scales) * len(self.ratios)


def octaves(base: float, count: int) -> tuple[float, ...]:
    """`count` scales from `base` on, evenly within one doubling."""
    return tuple(base * 2 ** (index / count) for index in range(count))


def anchors_of(level_shapes: list[tuple[int, int]], strides: tuple[int, ...], shapes: AnchorShapes) -> Tensor:
    """(P, 4) xyxy px: levels one after the other, each row-major, a place's anchors side by side."""
    levels = []
    for (height, width), stride in zip(level_shapes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4) * float(stride)
        levels.append((places + _around_zero(stride, shapes)).reshape(-1, 4))
    return torch.cat(levels)


def _around_zero(stride: int, shapes: AnchorShapes) -> Tensor:
    sides = stride * torch.tensor(shapes.scales)
    tall = torch.tensor(shapes.ratios).sqrt()
    half_width, half_height = (sides / tall[:, None]).flatten() / 2, (sides * tall[:, None]).flatten() / 2
    return torch.stack([-half_width, -half_height, half_width, half_height], dim=1)


def encode(anchors: Tensor, boxes: Tensor, stds: tuple[float, float, float, float]) -> Tensor:
    """What turns anchors (n, 4) into boxes (n, 4): shifts in anchor sides and log growths, over `stds`: (n, 4)."""
    sides, wanted = _sides(anchors), _sides(boxes)
    shift = (centres(boxes) - centres(anchors)) / sides
    return torch.cat([shift, (wanted / sides).log()], dim=-1) / anchors.new_tensor(stds)


def decode(anchors: Tensor, deltas: Tensor, stds: tuple[float, float, float, float]) -> Tensor:
    """The inverse of `encode`, for shapes (..., 4) that broadcast; growth is limited."""
    deltas = deltas * deltas.new_tensor(stds)
    sides = _sides(anchors)
    middle = centres(anchors) + deltas[..., :2] * sides
    half = sides * deltas[..., 2:].clamp(-_MOST_GROWTH, _MOST_GROWTH).exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def clip_to(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes (..., 4) cut to an image of (h, w) px."""
    height, width = size
    return torch.stack(
        [
            boxes[..., 0].clamp(0, width),
            boxes[..., 1].clamp(0, height),
            boxes[..., 2].clamp(0, width),
            boxes[..., 3].clamp(0, height),
        ],
        dim=-1,
    )


def _sides(boxes: Tensor) -> Tensor:
    return boxes[..., 2:] - boxes[..., :2]
