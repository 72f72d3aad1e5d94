"""The deployable form of a model: what compilers are given, in float32 or half precision."""

from typing import Any

import torch
from torch import Tensor, nn

from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter

_MIN_CANDIDATES, _MAX_CANDIDATES = 300, 1000


class BestCandidates(nn.Module):
    """A detector that returns its `count` likeliest locations: pixels (N, 3, h, w) -> (N, count, 4), (N, count).

    A joint model also returns its probability.
    """

    def __init__(self, detector: Detector | JointModel, count: int) -> None:
        super().__init__()
        self.detector, self.count = detector, count

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.detector.best(pixels, self.count)


class AtPrecision(nn.Module):
    """Pixels (N, 3, h, w) in 0..255, in the weights' type -> a tuple of float32 outputs: boxes, scores, a map."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(pixels)
        return tuple(output.float() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


def to_deployable(module: nn.Module) -> nn.Module:
    """Return the module in the form that compiled engines run.

    A detector keeps a tenth of its locations, 300 to 1000: NMS keeps only a few, and less data leaves the device.
    """
    if not isinstance(module, Detector | JointModel):
        return module
    height, width = module.config.size
    locations = sum(-(-height // stride) * -(-width // stride) for stride in module.config.strides)
    count = max(_MIN_CANDIDATES, min(_MAX_CANDIDATES, locations // 10))
    return BestCandidates(module, min(locations, count))


def at_precision(module: nn.Module, dtype: torch.dtype) -> AtPrecision:
    """Return the deployable form of a trained model with weights in `dtype`. The module itself is changed.

    Logits are converted to float32 before they become probabilities, distances or shares: between 8 and 16 strides,
    bfloat16 resolves a distance to 1/16 stride only, which is 4 px at stride 64.
    """
    module.eval().to(dtype)
    if dtype != torch.float32:
        for layer in _logit_layers(module):
            layer.register_forward_hook(_to_float32)
    if isinstance(module, Detector | JointModel) and module.head.quality is not None:
        module.head.quality.float()  # its input, probabilities, is float32
    return AtPrecision(to_deployable(module))


def _logit_layers(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Detector):
        return [module.head.cls, module.head.reg]
    if isinstance(module, JointModel):
        return [module.head.cls, module.head.reg, module.mask.low_rank.phi]
    return [module.low_rank.phi] if isinstance(module, Segmenter) else []


def _to_float32(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()


def emulate_precision(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the module in float32, with weights and every layer's output rounded to `dtype`. The module is changed.

    This emulates a tensor core, which sums in float32, at a CPU's full speed; CPUs have no fast half precision. Sums of
    branches and resized maps are no layers: they are rounded by the next layer.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.to(dtype))
    for layer in module.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: output.to(dtype).float())
    return module.eval()
