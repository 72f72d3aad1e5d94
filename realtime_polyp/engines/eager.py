"""The models in plain torch. In float32, this is the reference that all other engines are compared with."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from realtime_polyp.engines.base import BaseEngine, EngineError, Pixels, Task, as_answer
from realtime_polyp.engines.deployable import at_precision, emulate_precision
from realtime_polyp.engines.weights import Weights, engine_key
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.state_file import read_state
from realtime_polyp.models.variants import DETECTORS, JOINTS, SEGMENTERS

SHORT = {"float16": "fp16", "bfloat16": "bf16"}
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class EagerEngine(BaseEngine):
    """Runs a torch module: whole batches on a GPU, single images on a CPU.

    On a CPU, results therefore do not depend on the batch size.

    Args:
        module: the model; outputs are float32.
        model: name of the weights.
        task: "detector", "segmenter" or "joint".
        size: input (h, w), px.
        device: "cpu" or "cuda".
        name: of the engine.
        key: of the engine (`weights.engine_key`).
        dtype: type that pixels are converted to; also of most weights (`at_precision`).
    """

    device_resident = True

    def __init__(
        self,
        module: nn.Module,
        model: str,
        task: Task,
        size: tuple[int, int],
        device: str,
        *,
        name: str = "eager",
        key: str = "eager",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.model, self.task, self.size, self.device, self.key = name, model, task, size, device, key
        self._dtype = dtype
        self._module = module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pixels: Pixels) -> Any:
        size = len(pixels) if self.device == "cuda" else 1
        parts = [self._infer(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        return as_answer([np.concatenate(column) for column in zip(*parts, strict=True)])

    @torch.inference_mode()
    def on_device(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run on pixels (N, 3, h, w) on the device; returns float32 outputs there, without waiting for the device."""
        outputs = self._module(pixels.to(self._dtype))
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _infer(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        return [output.cpu().numpy() for output in self.on_device(torch.from_numpy(pixels).to(self.device))]


def open_eager(weights: Weights, device: str, *, precision: str = "float32") -> EagerEngine:
    """Open the model in torch. Raises EngineError if torch finds no GPU for "cuda".

    device: "cpu" or "cuda". A CPU emulates float16 (`emulate_precision`).
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("device cuda: torch sees no GPU here; use --device cpu")
    name = "eager" if precision == "float32" else f"eager-{SHORT[precision]}"
    key = engine_key(name, weights, ("safetensors",), torch=torch.__version__, device=device)
    module, dtype = load_module(weights), PRECISIONS[precision]
    if precision == "float16" and device == "cpu":
        module, dtype = emulate_precision(module, dtype), torch.float32
    elif precision != "float32":
        module = at_precision(module, dtype)
    return EagerEngine(
        module,
        weights.model,
        weights.task,
        weights.size,
        device,
        name=name,
        key=key,
        dtype=dtype,
    )


def load_module(weights: Weights) -> nn.Module:
    """Load the trained model, in eval mode and float32.

    Raises EngineError for a file that is damaged, of another model, or holds values that are not finite.
    """
    module = _new_module(weights)
    try:
        module.load_state_dict(read_state(weights.path("safetensors")))
    except (SafetensorError, RuntimeError, OSError, TypeError, LookupError) as error:
        raise weights.refuse("safetensors", error) from error
    if not_finite := sorted(name for name, values in module.state_dict().items() if not torch.isfinite(values).all()):
        raise weights.refuse("safetensors", f"{not_finite[0]} holds values that are not finite")
    return module.eval()


def _new_module(weights: Weights) -> nn.Module:
    kinds: dict[Task, tuple[Callable[[Any], nn.Module], dict[str, Any]]] = {
        "detector": (Detector, DETECTORS),
        "segmenter": (Segmenter, SEGMENTERS),
        "joint": (JointModel, JOINTS),
    }
    build, known = kinds[weights.task]
    if weights.model not in known:
        raise weights.refuse("safetensors", f"this program knows no {weights.task} of that name")
    return build(replace(known[weights.model], size=weights.size))
