"""The models compiled by torch.compile; on a GPU, their kernels are replayed from CUDA graphs.

`mode="reduce-overhead"` cannot be used for the CUDA graphs: it binds them to the thread that compiled, but inference
runs in another. It would also prevent the caller from capturing `on_device`, as graphs cannot be nested.
"""

import functools
import os
import sys
import tempfile
from pathlib import Path

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
from realtime_polyp.folders import cache_folder, private_folder

# Raised if a compiler, a linker, Triton or a driver is missing or fails.
FAILURES = (RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError)


def open_compiled(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> StaticEngine:
    """Compile the model. The first time takes a minute or more; then torch finds the kernels in its own disk cache.

    device: "cpu" (one image at a time) or "cuda" (batch sizes `BUCKETS`, CUDA graphs). Raises EngineError if the device
    is missing or the compilation fails.
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
            f"torch.compile cannot build {name} for {weights.model} ({first_line(error)}): use --engine eager"
        ) from error
    key = compiled_key(weights, device, precision=precision)
    return StaticEngine(weights, runs, name=name, device=device, key=key, dtype=dtype, replays=replays)


def compiled_key(weights: Weights, device: str, *, precision: str) -> str:
    """Return the key of an engine without building it."""
    return engine_key(name_of(precision), weights, ("safetensors",), **machine_of(device))


def name_of(precision: str) -> str:
    return "compiled" if precision == "float32" else f"compiled-{SHORT[precision]}"


_FOLDERS = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


def use_private_caches() -> None:
    """Let torch and Triton keep kernels in the user's cache, where nobody else can write; folders that are named in the
    environment stay.

    Their default is a fixed name in the shared temporary folder, where another user could place code. If the user's
    cache cannot be used, this process gets a temporary folder of its own.
    """
    for variable, name in _FOLDERS.items():
        if not os.environ.get(variable):
            os.environ[variable] = str(_private(name))


def _private(name: str) -> Path:
    try:
        return private_folder(cache_folder() / name)
    except OSError as error:
        print(f"compiled models cannot be kept: {error.filename or cache_folder()} ({error.strerror})", file=sys.stderr)
        return Path(_temporary().name) / name


@functools.cache  # cached: removed when the process ends
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="realtime-polyp-", ignore_cleanup_errors=True)


def compiled_run(module: nn.Module, example: torch.Tensor) -> Run:
    """Compile the module for batches like `example`, now rather than at the first frame.

    The module is exported first: torch.compile limits the shapes per code object, and all engines share the modules'
    code. Each exported graph has its own.
    """
    use_private_caches()
    with torch.no_grad():
        graph = torch.export.export(module, (example,)).module()
    run: Run = torch.compile(graph, dynamic=False, fullgraph=True)
    with torch.inference_mode():
        run(example)
    return run
