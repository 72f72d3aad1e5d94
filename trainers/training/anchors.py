"""Anchors of several shapes, and the box coding of R-CNN and RetinaNet.

Sources: Ren et al., Faster R-CNN (NeurIPS 2015); Lin et al., RetinaNet (ICCV 2017). The conventions (no half-stride
offset, widths without + 1, the limit on growth) are mmdetection's, whose checkpoints must give the same boxes here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from realtime_polyp.models.boxes import centres

_MAX_LOG_RATIO = math.log(1000 / 16)  # largest log ratio of a decoded side to that of its anchor


@dataclass(frozen=True)
class AnchorShapes:
    """Anchors of one location: every pair of scale (side in strides) and ratio (height / width), ratio by ratio."""

    scales: tuple[float, ...]
    ratios: tuple[float, ...] = (1.0,)

    @property
    def count(self) -> int:
        return len(self.scales) * len(self.ratios)


def octaves(base: float, count: int) -> tuple[float, ...]:
    """Return `count` scales, from `base`, spaced evenly within one octave."""
    return tuple(base * 2 ** (index / count) for index in range(count))


def anchors_of(level_shapes: list[tuple[int, int]], strides: tuple[int, ...], shapes: AnchorShapes) -> Tensor:
    """Return the anchors (P, 4) xyxy px: level by level, row-major, all anchors of a location together."""
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
    """Return the deltas (n, 4) from anchors to boxes (n, 4): shifts in anchor sides and log ratios, over `stds`."""
    sides, wanted = _sides(anchors), _sides(boxes)
    shift = (centres(boxes) - centres(anchors)) / sides
    return torch.cat([shift, (wanted / sides).log()], dim=-1) / anchors.new_tensor(stds)


def decode(anchors: Tensor, deltas: Tensor, stds: tuple[float, float, float, float]) -> Tensor:
    """Invert `encode`, for shapes (..., 4) that broadcast; the log ratio is clamped."""
    deltas = deltas * deltas.new_tensor(stds)
    sides = _sides(anchors)
    middle = centres(anchors) + deltas[..., :2] * sides
    half = sides * deltas[..., 2:].clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def clip_to(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Clip boxes (..., 4) to an image of (h, w) px."""
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
