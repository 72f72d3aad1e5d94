"""`auto` on a GPU: the fastest engine that is there and passed its gate; every step down is said aloud."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from realtime_polyp.engines.base import EngineError, Hint
from realtime_polyp.engines.gate import failure_reason
from realtime_polyp.engines.static import require_device
from realtime_polyp.engines.weights import Weights

Open = Callable[[Weights, str, Hint], Any]


def _tensorrt_key(weights: Weights, device: str) -> str:
    from realtime_polyp.engines.tensorrt import tensorrt_key

    return tensorrt_key(weights, device, precision="float16")


def _compiled_key(weights: Weights, device: str) -> str:
    from realtime_polyp.engines.compiled import compiled_key

    return compiled_key(weights, device, precision="float16")


# From the fastest down; the last is the reference itself, which needs no gate.
LADDER: tuple[tuple[str, Callable[[Weights, str], str]], ...] = (
    ("tensorrt-fp16", _tensorrt_key),
    ("compiled-fp16", _compiled_key),
)
LAST = "eager"


def open_best(
    weights: Weights, device: str, hint: Hint, engines: Mapping[str, Open], *, allow_unverified: bool = False
) -> Any:
    """The first engine of the ladder that can be had. `notes` of the engine: why those above it could not.

    allow_unverified: take one whose gate was never run or failed. Raises EngineError where there is no such device.
    """
    require_device(device)  # else every step would say the same
    notes: list[str] = []
    for name, key_of in LADDER:
        try:
            if not allow_unverified and (problem := failure_reason(name, weights.model, key_of(weights, device))):
                raise EngineError(problem)
            engine = engines[name](weights, device, hint)
        except EngineError as error:
            notes.append(f"{error}; going on without {name}")
            print(f"{weights.model}: {notes[-1]}", file=sys.stderr)
        else:
            engine.notes = tuple(notes)
            return engine
    engine = engines[LAST](weights, device, hint)
    engine.notes = tuple(notes)
    return engine
