"""Convolutions quantized to 8 bits, with activation ranges that were measured beforehand.

Activations are quantized per tensor; weights per tensor, or per output channel for INT8. INT8 levels are evenly
spaced; FP8 (E4M3) levels are denser near zero.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.weights import Weights
from realtime_polyp.json_files import check_format, check_json, read_json
from realtime_polyp.models.deform import DeformConv2d
from realtime_polyp.models.state_names import upgrade_state

RANGES = "ranges"  # the kind of the file with a model's activation ranges
RANGES_FORMAT = 1  # of that file; the first files had no number
INT8_LEVELS = 127
# Modules whose names contain one of these stay in float: the layers that compute the logits, and those after them. They
# take hardly any time, and quantizing them lowers AP50 (see the model cards).
_FLOAT_PARTS = ("head.cls.", "head.reg.", "head.quality.", "low_rank", "full_head")
_CLIPPED_SHARE = 1e-4  # share of an input's values that are clipped, so that few outliers do not widen the range

# (values, largest magnitude) -> quantized values in float. The magnitude has one element, or one per output channel:
# (O, 1, 1, 1).
QuantizeFn = Callable[[Tensor, Tensor], Tensor]


class _Ranges(msgspec.Struct, frozen=True):
    """The file of activation ranges. `largest` is bounded, so that float16 and a step of 1/127 hold it."""

    weights: str
    largest: dict[str, Annotated[float, msgspec.Meta(ge=1e-6, le=65504.0)]]


class FakeQuantize(nn.Module):
    """Quantizes a tensor on a fixed range and returns it in float."""

    def __init__(self, largest: Tensor, quantize_fn: QuantizeFn) -> None:
        super().__init__()
        self.register_buffer("largest", largest)
        self.quantize_fn = quantize_fn

    def forward(self, values: Tensor) -> Tensor:
        quantized: Tensor = self.quantize_fn(values, self.largest)  # type: ignore[arg-type]
        return quantized


class QuantizedConv2d(nn.Module):
    """A convolution with its input and its weights quantized.

    Torch-TensorRT's converters recognise the two quantizers by their names.
    """

    def __init__(self, conv: nn.Conv2d, input_largest: float, quantize_fn: QuantizeFn, *, per_filter: bool) -> None:
        super().__init__()
        weight = conv.weight.detach().float().abs()
        largest = weight.amax(dim=(1, 2, 3), keepdim=True) if per_filter else weight.amax()
        self.conv = conv
        self.input_quantizer = FakeQuantize(torch.tensor(input_largest).to(weight.device), quantize_fn)
        self.weight_quantizer = FakeQuantize(largest.clamp(min=1e-12), quantize_fn)  # weights may be all 0

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_quantizer(self.conv.weight)
        output: Tensor = self.conv._conv_forward(self.input_quantizer(x), weight, self.conv.bias)
        return output


def quantizable(module: nn.Module) -> dict[str, nn.Conv2d]:
    """Return {name: convolution} of those to quantize; convolutions inside DeformConv2d stay in float."""
    deformable = tuple(f"{name}." for name, layer in module.named_modules() if isinstance(layer, DeformConv2d))
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
        and not any(part in f"{name}." for part in _FLOAT_PARTS)
        and not name.startswith(deformable)
    }


def quantize(module: nn.Module, ranges: dict[str, float], quantize_fn: QuantizeFn, *, per_filter: bool) -> nn.Module:
    """Replace the module's convolutions in place and return it.

    ranges: {name: largest magnitude of its input}. Raises EngineError if a convolution has none, because the ranges
    were measured on another model.
    """
    convolutions = quantizable(module)
    if missing := sorted(set(convolutions) - set(ranges)):
        raise EngineError(
            f"the activation ranges lack {len(missing)} of {len(convolutions)} convolutions, such as {missing[0]}: "
            "measure them again with python -m calibration.ranges"
        )
    for name, conv in convolutions.items():
        parent, _, last = name.rpartition(".")
        setattr(
            module.get_submodule(parent),
            last,
            QuantizedConv2d(conv, ranges[name], quantize_fn, per_filter=per_filter),
        )
    return module


def read_ranges(weights: Weights) -> dict[str, float]:
    """Return {convolution: largest magnitude of its input}.

    Raises EngineError if the ranges were never measured, are of another format, not in 1e-6..65504, or were measured on
    other weights.
    """
    if RANGES not in weights.files:
        raise EngineError(
            f"{weights.model} has no activation ranges, which 8-bit quantization needs: measure them with "
            f"python -m calibration.ranges --model {weights.model}"
        )
    path, cure = weights.path(RANGES), f"run python -m calibration.ranges --model {weights.model}"
    what = "a file of activation ranges"
    document = read_json(path, dict[str, Any], what=what, error=EngineError, cure=cure)
    check_format(document, RANGES_FORMAT, str(path), what, EngineError, cure, default=RANGES_FORMAT)
    found = check_json(document, _Ranges, str(path), what, EngineError, cure)
    if found.weights != weights.checksums.get(weights.files.get("safetensors", "")):
        raise EngineError(f"the activation ranges of {weights.model} were measured on other weights: {cure}")
    return upgrade_state(found.largest)


@torch.inference_mode()
def measure_ranges(module: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """Return {convolution: largest magnitude of its input without outliers}, averaged over the batches.

    batches: (N, 3, h, w) in 0..255. A convolution that several pyramid levels share gets the largest of their ranges.
    """
    totals: dict[str, float] = {}
    batch_largest: dict[str, float] = {}

    def record(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(layer: nn.Module, inputs: Any) -> None:
            batch_largest[name] = max(batch_largest.get(name, 0.0), _largest_magnitude(inputs[0]))

        return hook

    hooks = [layer.register_forward_pre_hook(record(name)) for name, layer in quantizable(module).items()]
    count = 0
    for pixels in batches:
        count += 1
        batch_largest.clear()
        module(pixels)
        for name, value in batch_largest.items():
            totals[name] = totals.get(name, 0.0) + value
    for hook in hooks:
        hook.remove()
    if not count:
        raise ValueError("no frames to measure activation ranges on")
    return {name: total / count for name, total in totals.items()}


def _largest_magnitude(values: Tensor) -> float:
    """Return the largest magnitude once the largest `_CLIPPED_SHARE` of the values is left out."""
    magnitudes = values.abs().flatten()
    rank = max(1, int(len(magnitudes) * _CLIPPED_SHARE))
    return max(float(magnitudes.topk(rank).values[-1]), 1e-6)


def fake_quantize_int8(values: Tensor, largest: Tensor) -> Tensor:
    """Quantize to INT8 and back to float with torch: to measure accuracy without a GPU, and to export to ONNX."""
    scale = largest / INT8_LEVELS
    if scale.numel() == 1:
        return torch.fake_quantize_per_tensor_affine(values, scale.flatten(), _zero_points(scale)[:1], -128, 127)
    return torch.fake_quantize_per_channel_affine(values, scale.flatten(), _zero_points(scale), 0, -128, 127)


def _zero_points(scale: Tensor) -> Tensor:
    return torch.zeros(scale.numel(), dtype=torch.int32, device=scale.device)
