"""Convolutions quantized to eight bits, with activation ranges that were measured beforehand.

Each input has one scale, each filter its own. INT8 levels are evenly spaced; FP8 (E4M3) levels are denser near zero.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.weights import Weights
from realtime_polyp.models.deform import DeformConv2d
from realtime_polyp.models.state_names import upgrade_state

RANGES = "ranges"  # the kind of the file with a model's activation ranges
INT8_LEVELS = 127
# Parts of module names that stay in float: everything from the logits on. They cost no time, and in eight bits they
# cost points of AP50 (see the model cards).
_EXACT = ("head.cls.", "head.reg.", "head.quality.", "low_rank", "full_head")
_KEPT_SHARE = 1e-4  # share of an input's values that may exceed its range: a few outliers would coarsen all others

# Values and their largest magnitude -> the quantized values, in float. The magnitude has one element, or one per
# filter: (O, 1, 1, 1).
Round = Callable[[Tensor, Tensor], Tensor]


class FakeQuantize(nn.Module):
    """Quantizes a tensor on a fixed range and returns it in float."""

    def __init__(self, largest: Tensor, round_: Round) -> None:
        super().__init__()
        self.register_buffer("largest", largest)
        self.round = round_

    def forward(self, values: Tensor) -> Tensor:
        rounded: Tensor = self.round(values, self.largest)  # type: ignore[arg-type]
        return rounded


class QuantizedConv2d(nn.Module):
    """A convolution with its input and its weights quantized.

    Torch-TensorRT's converters recognise the two quantizers by their names.
    """

    def __init__(self, conv: nn.Conv2d, input_largest: float, round_: Round, *, per_filter: bool) -> None:
        super().__init__()
        weight = conv.weight.detach().float().abs()
        largest = weight.amax(dim=(1, 2, 3), keepdim=True) if per_filter else weight.amax()
        self.conv = conv
        self.input_quantizer = FakeQuantize(torch.tensor(input_largest).to(weight.device), round_)
        self.weight_quantizer = FakeQuantize(largest.clamp(min=1e-12), round_)  # a filter of zeros has a scale too

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_quantizer(self.conv.weight)
        answer: Tensor = self.conv._conv_forward(self.input_quantizer(x), weight, self.conv.bias)
        return answer


def quantizable(module: nn.Module) -> dict[str, nn.Conv2d]:
    """Return {name: convolution} that may be quantized; the offsets of deformable convolutions may not."""
    deformed = tuple(f"{name}." for name, layer in module.named_modules() if isinstance(layer, DeformConv2d))
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
        and not any(part in f"{name}." for part in _EXACT)
        and not name.startswith(deformed or ("\0",))
    }


def quantize(module: nn.Module, ranges: dict[str, float], round_: Round, *, per_filter: bool) -> nn.Module:
    """Replace the module's convolutions in place and return it.

    ranges: {name: largest magnitude of its input}. Raises EngineError when a convolution has none: the ranges then
    belong to another model.
    """
    found = quantizable(module)
    if missing := sorted(set(found) - set(ranges)):
        raise EngineError(
            f"the activation ranges lack {missing[0]} and {len(missing) - 1} more of {len(found)} convolutions: "
            "measure them again with python -m calibration.ranges"
        )
    for name, conv in found.items():
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, QuantizedConv2d(conv, ranges[name], round_, per_filter=per_filter))
    return module


def read_ranges(weights: Weights) -> dict[str, float]:
    """Return {convolution: largest magnitude of its input}.

    Raises EngineError when the ranges were never measured, or on other weights.
    """
    if RANGES not in weights.files:
        raise EngineError(
            f"{weights.model} has no activation ranges, which eight bits need: measure them with "
            f"python -m calibration.ranges --model {weights.model}"
        )
    found = json.loads(weights.path(RANGES).read_text())
    if found["weights"] != weights.checksums[weights.files["safetensors"]]:
        raise EngineError(
            f"the activation ranges of {weights.model} were measured on other weights: "
            f"run python -m calibration.ranges --model {weights.model}"
        )
    return {name: float(value) for name, value in upgrade_state(found["largest"]).items()}


@torch.inference_mode()
def measure_ranges(module: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """{name: largest magnitude of its input, outliers aside, mean over the batches}; batches (N, 3, h, w) in 0..255.

    A convolution that several pyramid levels share gets the largest of their ranges.
    """
    totals: dict[str, float] = {}
    widest: dict[str, float] = {}

    def record(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(layer: nn.Module, inputs: Any) -> None:
            widest[name] = max(widest.get(name, 0.0), _largest(inputs[0]))

        return hook

    hooks = [layer.register_forward_pre_hook(record(name)) for name, layer in quantizable(module).items()]
    count = 0
    for pixels in batches:
        count += 1
        widest.clear()
        module(pixels)
        for name, value in widest.items():
            totals[name] = totals.get(name, 0.0) + value
    for hook in hooks:
        hook.remove()
    if not count:
        raise ValueError("no frames to measure activation ranges on")
    return {name: total / count for name, total in totals.items()}


def _largest(values: Tensor) -> float:
    magnitudes = values.abs().flatten()
    rank = max(1, int(len(magnitudes) * _KEPT_SHARE))
    return max(float(magnitudes.topk(rank).values[-1]), 1e-6)


def int8_in_torch(values: Tensor, largest: Tensor) -> Tensor:
    """Quantize to INT8 and back to float: for measuring accuracy without a GPU, and for ONNX."""
    scale = largest / INT8_LEVELS
    if scale.numel() == 1:
        return torch.fake_quantize_per_tensor_affine(values, scale.flatten(), _zero(scale)[:1], -128, 127)
    return torch.fake_quantize_per_channel_affine(values, scale.flatten(), _zero(scale), 0, -128, 127)


def _zero(scale: Tensor) -> Tensor:
    return torch.zeros(scale.numel(), dtype=torch.int32, device=scale.device)
