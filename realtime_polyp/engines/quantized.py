"""Convolutions in eight bits, with the ranges of what flows into them measured beforehand.

Each input is rounded on one scale, each filter on its own; INT8 divides the range evenly, FP8 (E4M3) towards zero.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from realtime_polyp.engines.base import EngineError
from realtime_polyp.models.deform import DeformConv2d

INT8_LEVELS = 127
# Of modules: everything from the logits on. It costs no time, and in eight bits it took points of AP50 (the cards).
_EXACT = ("head.cls.", "head.reg.", "head.quality.", "low_rank", "full_head")
_KEPT_SHARE = 1e-4  # of an input's values may lie beyond its range: a few outliers would coarsen all the others

# Values and their largest magnitude -> the values after eight bits. The magnitude has one element, or one a filter:
# (O, 1, 1, 1).
Round = Callable[[Tensor, Tensor], Tensor]


class FakeQuantize(nn.Module):
    def __init__(self, largest: Tensor, round_: Round) -> None:
        super().__init__()
        self.register_buffer("largest", largest)
        self.round = round_

    def forward(self, values: Tensor) -> Tensor:
        rounded: Tensor = self.round(values, self.largest)  # type: ignore[arg-type]
        return rounded


class QuantizedConv2d(nn.Module):
    """A convolution that sees its input and its weights after eight bits.

    The two parts carry the names that Torch-TensorRT's converters know them by.
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
    """The convolutions that eight bits do not hurt, by name; where a deformed one looks is never rounded."""
    deformed = tuple(f"{name}." for name, layer in module.named_modules() if isinstance(layer, DeformConv2d))
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
        and not any(part in f"{name}." for part in _EXACT)
        and not name.startswith(deformed or ("\0",))
    }


def quantize(module: nn.Module, ranges: dict[str, float], round_: Round, *, per_filter: bool) -> nn.Module:
    """Replace the module's convolutions in place. ranges: {name: largest magnitude of its input}. EngineError when one
    is missing: they are of another model then."""
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


@torch.inference_mode()
def measure_ranges(module: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """{name: largest magnitude of its input, outliers aside, mean over the batches}; batches (N, 3, h, w) in 0..255.

    A convolution that several levels of a pyramid share has the range of the widest.
    """
    totals: dict[str, float] = {}
    widest: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def look(layer: nn.Module, inputs: Any) -> None:
            widest[name] = max(widest.get(name, 0.0), _largest(inputs[0]))

        return look

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in quantizable(module).items()]
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
    """What INT8 leaves of the values, computed in float: for measuring accuracy without a GPU, and for ONNX."""
    scale = largest / INT8_LEVELS
    if scale.numel() == 1:
        return torch.fake_quantize_per_tensor_affine(values, scale.flatten(), _zero(scale)[:1], -128, 127)
    return torch.fake_quantize_per_channel_affine(values, scale.flatten(), _zero(scale), 0, -128, 127)


def _zero(scale: Tensor) -> Tensor:
    return torch.zeros(scale.numel(), dtype=torch.int32, device=scale.device)
