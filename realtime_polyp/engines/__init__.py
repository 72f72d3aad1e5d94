"""Engines: models compiled by one of several backends, behind one interface. `open_engine` opens them."""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict, Unpack, cast

from realtime_polyp.engines.base import DetectorEngine, Engine, EngineError, Hint, SegmenterEngine, Task
from realtime_polyp.engines.gate import failure_reason, is_rejected
from realtime_polyp.engines.halves import halves_of
from realtime_polyp.engines.weights import Weights, find_weights

_NVIDIA_DRIVER = "/proc/driver/nvidia/version"


def _open_eager(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.eager import open_eager

    return open_eager(weights, device, precision=precision)


def _open_openvino(weights: Weights, device: str, hint: Hint) -> Engine:
    from realtime_polyp.engines.openvino import open_float32

    return open_float32(weights, device, hint)


def _open_openvino_int8(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.openvino import open_int8

    return open_int8(weights, device, hint, precision=precision)


def _open_compiled(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.compiled import open_compiled

    return open_compiled(weights, device, hint, precision=precision)


def _open_tensorrt(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> Engine:
    from realtime_polyp.engines.tensorrt import open_tensorrt

    return open_tensorrt(weights, device, hint, precision=precision)


# The modules are imported when an engine is opened: torch and OpenVINO take seconds to import.
ENGINES: dict[str, Callable[[Weights, str, Hint], Engine]] = {
    "eager": _open_eager,
    "eager-fp16": partial(_open_eager, precision="float16"),
    "eager-bf16": partial(_open_eager, precision="bfloat16"),
    "openvino": _open_openvino,
    "openvino-int8": _open_openvino_int8,
    "openvino-int8-bf16": partial(_open_openvino_int8, precision="bfloat16"),
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
    """Open a model in an engine.

    Args:
        model: name of the weights.
        task: the required task: a joint model is opened as the half that has it. None accepts all; a joint model is
            then opened as it is (`halves.roles_of`).
        engine: one of ENGINE_NAMES. "auto" chooses the fastest that has passed its gate.
        device: one of DEVICES. "auto" chooses the GPU if torch and the engine can use it.
        hint: what to optimise for: latency or throughput.
        allow_unverified: on a GPU, "auto" may choose an engine that has not passed its gate.

    Raises:
        EngineError: the model, engine or device is unknown or unavailable; the message is one sentence with the cure.
    """
    if engine not in ENGINE_NAMES:
        raise EngineError(f"unknown engine {engine!r}: choose from {', '.join(ENGINE_NAMES)}")
    if device not in DEVICES:
        raise EngineError(f"unknown device {device!r}: choose from {', '.join(DEVICES)}")
    weights = find_weights(model, task)
    chosen_device = _choose_device(engine) if device == "auto" else device
    if engine == "auto" and chosen_device == "cuda":
        from realtime_polyp.engines.fallback import open_best

        opened = open_best(weights, chosen_device, hint, ENGINES, allow_unverified=allow_unverified)
    elif engine == "auto":
        opened = _open_best_on_cpu(weights, hint)
    else:
        opened = ENGINES[engine](weights, chosen_device, hint)
    return opened if task in (None, weights.task) else halves_of(opened)[task == "segmenter"]


class OpenOptions(TypedDict, total=False):
    """Options of `open_engine` that apply to detectors and segmenters alike."""

    hint: Hint
    allow_unverified: bool


def open_detector(
    model: str, engine: str = "auto", device: str = "auto", **options: Unpack[OpenOptions]
) -> DetectorEngine:
    """Open a detector; see `open_engine`."""
    return cast(DetectorEngine, open_engine(model, "detector", engine, device, **options))


def open_segmenter(
    model: str, engine: str = "auto", device: str = "auto", **options: Unpack[OpenOptions]
) -> SegmenterEngine:
    """Open a segmenter; see `open_engine`."""
    return cast(SegmenterEngine, open_engine(model, "segmenter", engine, device, **options))


def _open_best_on_cpu(weights: Weights, hint: Hint) -> Engine:
    """Open INT8 in the fastest way that the gate and this CPU allow, else float32.

    The engine's `notes` say if INT8's sums would saturate.
    """
    name = _int8_engine(weights) if "int8-xml" in weights.files else None
    notes: list[str] = []
    if name:
        from realtime_polyp.engines.vector_units import SaturationError  # imports OpenVINO

        try:
            return ENGINES[name](weights, "cpu", hint)
        except SaturationError as error:
            notes.append(f"{error}; continuing without {name}")
            print(f"{weights.model}: {notes[0]}", file=sys.stderr)
    engine = ENGINES["openvino"](weights, "cpu", hint)
    if notes:
        engine.notes = tuple(notes)
    return engine


def _int8_engine(weights: Weights) -> str | None:
    """Return the name of the fastest INT8 engine for this CPU; None if the gate has rejected INT8.

    Without a record, INT8 alone is returned, so that the caller's check names the missing comparison.
    """
    from realtime_polyp.engines.openvino import int8_key
    from realtime_polyp.engines.vector_units import has_bfloat16

    name = "openvino-int8-bf16"
    if has_bfloat16() and failure_reason(name, weights.model, int8_key(weights, precision="bfloat16")) is None:
        return name
    return None if is_rejected(weights.model, "openvino-int8") else "openvino-int8"


def decoding_device(device: str) -> str | None:
    """Return the device for video decoding if models run on `device`: "cuda", or None for the CPU."""
    return "cuda" if device == "cuda" or (device == "auto" and os.path.exists(_NVIDIA_DRIVER)) else None


def _choose_device(engine: str) -> str:
    """Choose "cuda" if torch finds a GPU and the engine can run on it, else "cpu"."""
    if engine.startswith("openvino") or not os.path.exists(_NVIDIA_DRIVER):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
