"""Engine `auto` on a GPU: the fastest engine that is available and has passed its gate. Each fallback is printed.

`engines_after` is the way down from there, for a model that fails while it runs.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from realtime_polyp.engines.base import EngineError, Hint
from realtime_polyp.engines.gate import REFERENCE, failure_reason
from realtime_polyp.engines.weights import Weights

Open = Callable[[Weights, str, Hint], Any]


def _tensorrt_key(weights: Weights, device: str) -> str:
    from realtime_polyp.engines.tensorrt import tensorrt_key

    return tensorrt_key(weights, device, precision="float16")


def _compiled_key(weights: Weights, device: str) -> str:
    from realtime_polyp.engines.compiled import compiled_key

    return compiled_key(weights, device, precision="float16")


# Engines and the functions that compute their keys, fastest first. After them comes the reference, without a gate.
LADDER: tuple[tuple[str, Callable[[Weights, str], str]], ...] = (
    ("tensorrt-fp16", _tensorrt_key),
    ("compiled-fp16", _compiled_key),
)


def open_best(
    weights: Weights, device: str, hint: Hint, engines: Mapping[str, Open], *, allow_unverified: bool = False
) -> Any:
    """Open the first engine of LADDER that is available, else the reference. Its `notes` say why faster ones are not.

    allow_unverified: also accept engines whose gate failed or was not run. Raises EngineError if the device is missing.
    """
    from realtime_polyp.engines.static import require_device  # it imports torch

    require_device(device)  # otherwise each engine would report this again
    notes: list[str] = []
    for name, key_of in LADDER:
        try:
            if not allow_unverified and (problem := failure_reason(name, weights.model, key_of(weights, device))):
                raise EngineError(problem)
            engine = engines[name](weights, device, hint)
        except EngineError as error:
            notes.append(f"{error}; continuing without {name}")
            print(f"{weights.model}: {notes[-1]}", file=sys.stderr)
        else:
            engine.notes = tuple(notes)
            return engine
    engine = engines[REFERENCE](weights, device, hint)
    engine.notes = tuple(notes)
    return engine


_CPU_LADDER = ("openvino-int8-bf16", "openvino-int8", "openvino", REFERENCE)


def engines_after(name: str, device: str) -> list[tuple[str, str]]:
    """Return the engines to try when this one fails again and again: (name, device), the best first.

    On a GPU the rest of LADDER and the reference, then those of the CPU, which also run where the GPU is lost.
    """
    on_cpu = [(one, "cpu") for one in _CPU_LADDER]
    if device != "cuda":
        return _below((name, "cpu"), on_cpu)
    on_gpu = [*((one, "cuda") for one, _ in LADDER), (REFERENCE, "cuda")]
    return _below((name, "cuda"), on_gpu) + on_cpu


def _below(engine: tuple[str, str], ladder: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What comes after an engine; all of it for one that is not on the ladder."""
    return ladder[ladder.index(engine) + 1 :] if engine in ladder else ladder
