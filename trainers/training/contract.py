"""The interface that all models and their training share.

The forward of a net returns what an engine returns: pixels (N, 3, h, w) in 0..255 -> boxes (N, P, 4) in input px and
scores (N, P), or polyp probabilities (N, h', w'); a joint model returns all three. A loss function compares the net
with the truth. `ModelWithLoss` combines both: `model(images, targets) -> {"loss": sum, name of each part: value}`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Targets:
    """The ground truth of a batch.

    Attributes:
        boxes: one (m, 4) per image, xyxy input px.
        masks: (N, h, w) float32, 1 on polyps.
    """

    boxes: list[Tensor]
    masks: Tensor


Losses = dict[str, Tensor]
Loss = Callable[[Any, Tensor, Targets], Losses]


class ModelWithLoss(nn.Module):
    """A net with its loss: (images (N, 3, h, w) in 0..255, targets) -> {"loss": their sum, and each weighted part}."""

    def __init__(self, net: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.net, self._loss = net, loss

    def forward(self, images: Tensor, targets: Targets) -> Losses:
        parts = self._loss(self.net, images, targets)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def in_full_precision(criterion: Callable[..., Losses]) -> Callable[..., Losses]:
    """Decorate a criterion to compute in float32: its logarithms and long sums need the precision."""

    @functools.wraps(criterion)
    def wrapped(*arguments: Any) -> Losses:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return criterion(*(as_float32(argument) for argument in arguments))

    return wrapped


def as_float32(value: Any) -> Any:
    """Convert the half-precision tensors in nested tuples, lists, dicts and dataclasses to float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, dict):
        return {name: as_float32(one) for name, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(as_float32(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: as_float32(getattr(value, field.name)) for field in fields(value)})
    return value
