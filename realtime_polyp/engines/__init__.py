"""Compiled models behind one face: choose with `open_engine`."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict, Unpack, cast

from realtime_polyp.engines.base import DetectorEngine, Engine, EngineError, Hint, SegmenterEngine, Task
from realtime_polyp.engines.gate import is_rejected
from realtime_polyp.engines.weights import Weights, find_weights

_NVIDIA_DRIVER = "/proc/driver/nvidia/version"


def _open_eager(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.eager import open_eager

    return open_eager(weights, device, precision=precision)


def _open_openvino(weights: Weights, device: str, hint: Hint) -> Engine:
    from realtime_polyp.engines.openvino import open_float32

    return open_float32(weights, device, hint)


def _open_openvino_int8(weights: Weights, device: str, hint: Hint) -> Engine:
    from realtime_polyp.engines.openvino import open_int8

    return open_int8(weights, device, hint)


def _open_compiled(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.compiled import open_compiled

    return open_compiled(weights, device, hint, precision=precision)


def _open_tensorrt(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.tensorrt import open_tensorrt

    return open_tensorrt(weights, device, hint, precision=precision)


# Each opens its own module only when chosen: torch and OpenVINO take seconds to import.
ENGINES: dict[str, Callable[[Weights, str, Hint], Engine]] = {
    "eager": _open_eager,
    "eager-fp16": partial(_open_eager, precision="float16"),
    "eager-bf16": partial(_open_eager, precision="bfloat16"),
    "openvino": _open_openvino,
    "openvino-int8": _open_openvino_int8,
    "compiled": _open_compiled,
    "compiled-fp16": partial(_open_compiled, precision="float16"),
    "compiled-bf16": partial(_open_compiled, precision="bfloat16"),
    "tensorrt": _open_tensorrt,
    "tensorrt-fp16": partial(_open_tensorrt, precision="float16"),
    "tensorrt-bf16": partial(_open_tensorrt, precision="bfloat16"),
    "tensorrt-int8": partial(_open_tensorrt, precision="int8"),
    "tensorrt-fp8": partial(_open_tensorrt, precision="fp8"),
}
ENGINE_NAMES = ("auto", *ENGINES)
DEVICES = ("auto", "cpu", "cuda")


def open_engine(
    model: str,
    task: Task | None = None,
    engine: str = "auto",
    device: str = "auto",
    *,
    hint: Hint = "latency",
    allow_unverified: bool = False,
) -> Any:
    """Open the model `model` in the engine named, compiled for short delays or for many frames.

    task: what the model must be for; None for either. allow_unverified: on a GPU, `auto` may take an engine that passed
    no gate. Raises EngineError, one sentence, for whatever is not there.
    """
    if engine not in ENGINE_NAMES:
        raise EngineError(f"unknown engine {engine!r}: choose from {', '.join(ENGINE_NAMES)}")
    if device not in DEVICES:
        raise EngineError(f"unknown device {device!r}: choose from {', '.join(DEVICES)}")
    weights = find_weights(model, task)
    chosen_device = _choose_device(engine) if device == "auto" else device
    if engine == "auto" and chosen_device == "cuda":
        from realtime_polyp.engines.fallback import open_best

        return open_best(weights, chosen_device, hint, ENGINES, allow_unverified=allow_unverified)
    chosen = _choose_engine(weights) if engine == "auto" else engine
    return ENGINES[chosen](weights, chosen_device, hint)


class OpenOptions(TypedDict, total=False):
    """The options of `open_engine` that a detector and a segmenter share."""

    hint: Hint
    allow_unverified: bool


def open_detector(model: str, engine: str = "auto", device: str = "auto", **how: Unpack[OpenOptions]) -> DetectorEngine:
    return cast(DetectorEngine, open_engine(model, "detector", engine, device, **how))


def open_segmenter(
    model: str, engine: str = "auto", device: str = "auto", **how: Unpack[OpenOptions]
) -> SegmenterEngine:
    return cast(SegmenterEngine, open_engine(model, "segmenter", engine, device, **how))


def _choose_engine(weights: Weights) -> str:
    """On a processor: INT8 where there is one that the gate has not refused."""
    quick = "openvino-int8"
    return quick if "int8-xml" in weights.files and not is_rejected(weights.model, quick) else "openvino"


def decoding_device(device: str) -> str | None:
    """What may decode video where models run on `device`: "cuda", or None for the processor."""
    return "cuda" if device == "cuda" or (device == "auto" and os.path.exists(_NVIDIA_DRIVER)) else None


def _choose_device(engine: str) -> str:
    """A GPU where there is one that torch can use and the engine can run on."""
    if engine.startswith("openvino") or not os.path.exists(_NVIDIA_DRIVER):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
