"""The models through torch.compile: generated kernels, on a GPU replayed from CUDA graphs.

The graphs are captured here and not by `mode="reduce-overhead"`: that keeps its graphs for the thread that compiled,
and ours analyses in another; and a graph inside a graph cannot be capture_runs, which `on_device` must allow.
"""

import torch
from torch import nn
from tqdm import tqdm

from realtime_polyp.engines.base import EngineError, Hint
from realtime_polyp.engines.deployable import at_precision
from realtime_polyp.engines.eager import PRECISIONS, SHORT, load_module
from realtime_polyp.engines.static import (
    BUCKETS,
    Run,
    StaticEngine,
    capture_runs,
    example_of,
    first_line,
    machine_of,
    require_device,
)
from realtime_polyp.engines.weights import Weights, engine_key

# A compiler, a linker, Triton or a driver may be missing or fail: each says so in its own way.
FAILURES = (RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError)


def open_compiled(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> StaticEngine:
    """device: "cpu" (image by image) or "cuda" (buckets, CUDA graphs). EngineError where nothing can be compiled.

    Takes a minute or more on first use; torch keeps the kernels on disk for the next time.
    """
    require_device(device)
    name, dtype = name_of(precision), PRECISIONS[precision]
    buckets = BUCKETS if device == "cuda" else (1,)
    try:
        module = at_precision(load_module(weights), dtype).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        progress = tqdm(buckets, desc=f"compiling {weights.model} ({name})", unit="batch size", disable=None)
        runs = {bucket: compiled_run(module, example_of(weights, bucket, device, dtype)) for bucket in progress}
        replays = capture_runs(runs, weights, device, dtype) if device == "cuda" else None
    except FAILURES as error:
        raise EngineError(
            f"torch.compile cannot build {name} of {weights.model} here ({first_line(error)}): use --engine eager"
        ) from error
    key = compiled_key(weights, device, precision=precision)
    return StaticEngine(weights, runs, name=name, device=device, key=key, dtype=dtype, replays=replays)


def compiled_key(weights: Weights, device: str, *, precision: str) -> str:
    return engine_key(name_of(precision), weights, ("safetensors",), **machine_of(device))


def name_of(precision: str) -> str:
    return "compiled" if precision == "float32" else f"compiled-{SHORT[precision]}"


def compiled_run(module: nn.Module, example: torch.Tensor) -> Run:
    """The module for batches like `example`, compiled now rather than with the first frame.

    Exported first: torch.compile allows a piece of code only a few shapes, and counts those of all engines together;
    an exported graph is code of its own.
    """
    with torch.no_grad():
        graph = torch.export.export(module, (example,)).module()
    run: Run = torch.compile(graph, dynamic=False, fullgraph=True)
    with torch.inference_mode():
        run(example)
    return run
