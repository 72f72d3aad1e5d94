"""Rounds in torch what a convolution reads, much as its INT8 engine does: to learn weights that bear it.

As in `calibration.int8`, activations are rounded to 256 levels, per channel before a depthwise convolution, and weights
per output channel to 7 bits, to 8 in depthwise convolutions. Gradients pass through unchanged (the straight-through
estimator of Jacob et al., CVPR 2018). The rounding of additions and of resized maps is not imitated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from realtime_polyp.engines.quantized import quantizable

_ACTIVATION_STEPS = 255
_WEIGHT_STEPS, _DEPTHWISE_WEIGHT_STEPS = 63.5, 127.0  # to the largest magnitude
_LEAST_RANGE = 1e-6  # of a tensor that is 0 throughout


def activation_range(conv: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest value of a convolution's input (N, C, h, w), and 0 if it lies outside.

    Each is (1, C, 1, 1), per channel, before a depthwise convolution and otherwise (1, 1, 1, 1).
    """
    axes = (0, 2, 3) if conv.groups == x.shape[1] > 1 else (0, 1, 2, 3)
    return x.amin(axes, keepdim=True).clamp(max=0), x.amax(axes, keepdim=True).clamp(min=0)


def step_of(low: Tensor, high: Tensor) -> Tensor:
    """Return the distance of two of the 256 levels of a range."""
    return (high - low).clamp(min=_LEAST_RANGE) / _ACTIVATION_STEPS


class Rounded(torch.autograd.Function):
    """x rounded to multiples of `step`, which broadcasts to it -> the same shape. NaN and infinity become NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor) -> Tensor:
        return (x / step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@contextmanager
def rounded_weights(net: nn.Module) -> Iterator[None]:
    """Hold rounded weights in the net for a forward and its backward; afterwards the float weights return.

    The gradients are those at the rounded weights.
    """
    weights = [conv.weight for conv in quantizable(net).values()]
    floats = [weight.detach().clone() for weight in weights]
    try:
        for weight in weights:
            weight.data.copy_(round_per_filter(weight.data))
        yield
    finally:
        for weight, value in zip(weights, floats, strict=True):
            weight.data.copy_(value)


def round_per_filter(weight: Tensor) -> Tensor:
    """Round (O, I, k, k) per output channel: to 8 bits if I is 1, as in a depthwise convolution, otherwise to 7."""
    steps = _DEPTHWISE_WEIGHT_STEPS if weight.shape[1] == 1 else _WEIGHT_STEPS
    step = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=_LEAST_RANGE) / steps
    return (weight / step).round() * step
