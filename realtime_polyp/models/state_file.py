"""Weights on disk and in memory: kernels are stored in half precision, and everything is computed in float32."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from realtime_polyp.models.state_names import upgrade_state

LARGEST_HALF = torch.finfo(torch.float16).max


def read_state(path: Path) -> dict[str, Tensor]:
    """Return {name of a parameter: value} of a safetensors file: today's names, floating values in float32.

    Raises OSError or SafetensorError, or what torch raises, for a file that cannot be read.
    """
    state = upgrade_state(load_file(path))
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def to_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state as it is stored: tensors of two and more dimensions in float16, all others unchanged.

    Vectors (biases and what normalisation measured) are 3 % of the values. They stay as they are: variances reach from
    1e-15 to 1e4, and below 6e-8 half precision knows only 0. A kernel's value that small contributes nothing.

    Raises:
        ValueError: a kernel holds a value that float16 cannot hold. The sentence names it.
    """
    return {name: _kernel_to_half(name, value) if _is_kernel(value) else value for name, value in state.items()}


def _is_kernel(value: Tensor) -> bool:
    return value.is_floating_point() and value.dim() > 1


def _kernel_to_half(name: str, value: Tensor) -> Tensor:
    half = value.half()
    if not torch.isfinite(half).all():
        raise ValueError(
            f"{name} holds {value.abs().max().item():.4g}, and half precision holds {LARGEST_HALF:.0f} at most: "
            f"these weights have diverged, train with a lower --learning-rate"
        )
    return half
