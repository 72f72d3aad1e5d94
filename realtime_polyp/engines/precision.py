"""A model's weights and features in half precision, without rounding what is counted in pixels or summed up."""

from typing import Any

import torch
from torch import Tensor, nn

from realtime_polyp.engines.deployable import exported
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.segmenter import Segmenter


class AtPrecision(nn.Module):
    """Pixels (N, 3, h, w) in 0..255, of the weights' type -> a tuple of float32 answers: boxes and scores, or a map."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        answers = self.module(pixels)
        return tuple(answer.float() for answer in (answers if isinstance(answers, tuple) else (answers,)))


def at_precision(module: nn.Module, dtype: torch.dtype) -> AtPrecision:
    """A trained model as compilers are given it, its weights in `dtype`; the module itself is changed.

    Logits are widened to float32 before they become probabilities, distances or shares: bfloat16 tells distances of 8
    to 16 strides apart by a sixteenth of one only, which is 4 px at stride 64.
    """
    module.eval().to(dtype)
    if dtype != torch.float32:
        for layer in _last_layers(module):
            layer.register_forward_hook(_widen)
    if isinstance(module, Detector):
        module.head.quality.float()  # judges probabilities, which are float32 now
    return AtPrecision(exported(module))


def _last_layers(module: nn.Module) -> list[nn.Module]:
    """The layers whose outputs are logits."""
    if isinstance(module, Detector):
        return [module.head.cls, module.head.reg]
    return [module.low_rank.phi] if isinstance(module, Segmenter) else []


def _widen(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()


def rounded(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module in float32, with weights and every layer's output rounded to `dtype`; the module itself is changed.

    What a tensor core does, whose sums are float32, at a processor's own speed: it has no quick half precision. Sums of
    branches and resized maps, which are no layers, are rounded where the next layer has read them.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.to(dtype))
    for layer in module.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: output.to(dtype).float())
    return module.eval()
