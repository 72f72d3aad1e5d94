"""The models as they are, in torch: the reference that every compiled engine is compared with."""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from realtime_polyp.engines.base import Candidates, EngineError, Pixels, Task
from realtime_polyp.engines.weights import Weights
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS


class EagerEngine:
    """In float32. A GPU runs a batch at once; a CPU image by image, so that a result does not depend on its batch."""

    def __init__(self, module: nn.Module, model: str, task: Task, size: tuple[int, int], device: str) -> None:
        self.name, self.model, self.task, self.size, self.device = "eager", model, task, size, device
        self._module = module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pixels: Pixels) -> Candidates | NDArray[np.float32]:
        together = len(pixels) if self.device == "cuda" else 1
        parts = [self._infer(pixels[start : start + together]) for start in range(0, len(pixels), together)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return (columns[0], columns[1]) if self.task == "detector" else columns[0]

    @torch.inference_mode()
    def _infer(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        outputs = self._module(torch.from_numpy(pixels).to(self.device).float())
        return [output.cpu().numpy() for output in (outputs if self.task == "detector" else (outputs,))]


def open_eager(weights: Weights, device: str) -> EagerEngine:
    """device: "cpu" or "cuda". Raises EngineError where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("device cuda: torch sees no GPU here; use --device cpu")
    return EagerEngine(load_module(weights), weights.model, weights.task, weights.size, device)


def load_module(weights: Weights) -> nn.Module:
    """The trained module, in eval mode."""
    state = load_file(weights.path("safetensors"))
    module: nn.Module
    if weights.task == "detector":
        module = Detector(DETECTORS[weights.model])
    else:
        module = Segmenter(SEGMENTERS[weights.model])
    module.load_state_dict(state)
    return module.eval()
