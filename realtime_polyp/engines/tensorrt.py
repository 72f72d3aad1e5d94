"""The models compiled by Torch-TensorRT. Each engine is built once per machine and kept in the engine cache.

Written for Torch-TensorRT 2.13, which uses explicit typing: layers run in the types that the graph states, so the
weights are cast before the export. Its speed and accuracy have not been measured in this project, because
TensorRT's libraries come only from NVIDIA's own package index.
"""

import contextlib
import importlib
import io
import operator
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from tqdm import tqdm

from realtime_polyp.engines.base import EngineError, Hint
from realtime_polyp.engines.cache import EngineSpec, get_or_build, is_cached
from realtime_polyp.engines.compiled import FAILURES
from realtime_polyp.engines.deployable import at_precision
from realtime_polyp.engines.eager import SHORT, load_module
from realtime_polyp.engines.quantized import RANGES, quantize, read_ranges
from realtime_polyp.engines.static import BUCKETS, Run, StaticEngine, example_of, first_line, machine_of, require_device
from realtime_polyp.engines.weights import Weights, engine_key

_CURE = "pip install 'realtime-polyp[gpu]' with NVIDIA's package index, or use --engine compiled-fp16"
_QUANTIZER = "nvidia-modelopt"
_EIGHT_BITS = ("int8", "fp8")  # the layers that are not quantized run in float16
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.float16,
    "fp8": torch.float16,
}
# Lowest compute capability for which TensorRT has kernels of this precision: 7.5 Turing, 8.0 Ampere, 8.9 Ada.
MIN_CAPABILITY = {"float32": (7, 5), "float16": (7, 5), "bfloat16": (8, 0), "int8": (7, 5), "fp8": (8, 9)}


def open_tensorrt(
    weights: Weights, device: str, hint: Hint, *, precision: str = "float32", accept_partial: bool = False
) -> StaticEngine:
    """Load the engine from the cache, or build it. A build takes minutes and shows a progress bar.

    Args:
        precision: a key of DTYPES.
        accept_partial: run operations that TensorRT does not support in torch, and print their names; otherwise they
            raise EngineError.

    Raises:
        EngineError: TensorRT or a suitable GPU is missing, or the build fails.
    """
    _require_support(device, precision)
    compiler, name, dtype = _torch_tensorrt(), name_of(precision), DTYPES[precision]
    key = tensorrt_key(weights, device, precision=precision)
    made_of = machine_of(device) | versions_of(compiler)
    specs = [EngineSpec(weights.model, name, key, bucket, made_of) for bucket in BUCKETS]
    module = None if all(map(is_cached, specs)) else prepare_module(weights, precision)
    runs: dict[int, Run] = {}
    for spec in tqdm(specs, desc=f"{weights.model} ({name})", unit="batch size", disable=None):
        example = example_of(weights, spec.bucket, device, dtype)
        # `module` is None if all files exist; `_build` prepares it if one of them turns out to be damaged.
        build = partial(_build, compiler, module, weights, precision, example, accept_partial)
        runs[spec.bucket] = get_or_build(spec, build, _load)
    return StaticEngine(weights, runs, name=name, device=device, key=key, dtype=dtype)


def name_of(precision: str) -> str:
    return "tensorrt" if precision == "float32" else f"tensorrt-{SHORT.get(precision, precision)}"


def tensorrt_key(weights: Weights, device: str, *, precision: str) -> str:
    """Return the key of an engine without building it. Raises EngineError if TensorRT or the GPU is missing."""
    _require_support(device, precision)
    kinds = ("safetensors", RANGES) if precision in _EIGHT_BITS else ("safetensors",)
    return engine_key(name_of(precision), weights, kinds, **machine_of(device), **versions_of(_torch_tensorrt()))


def _require_support(device: str, precision: str) -> None:
    require_device(device)
    if device != "cuda":
        raise EngineError(f"engine {name_of(precision)} runs on cuda, not on {device}: use --engine eager for a CPU")
    check_capability(precision, torch.cuda.get_device_capability(), torch.cuda.get_device_name())


def check_capability(precision: str, capability: tuple[int, int], gpu: str) -> None:
    """Raise EngineError if TensorRT has no kernels of this precision for the GPU."""
    required = MIN_CAPABILITY[precision]
    if capability < required:
        found, needed = (f"{major}.{minor}" for major, minor in (capability, required))
        raise EngineError(
            f"engine {name_of(precision)} needs compute capability {needed}, {gpu} has {found}: "
            "use --engine tensorrt-fp16 or compiled-fp16"
        )


def _torch_tensorrt() -> Any:
    """Import Torch-TensorRT, which prints and raises errors of many kinds if a GPU or a library is missing."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module("torch_tensorrt")
    except Exception as error:  # noqa: BLE001 - it also raises plain Exception, AssertionError and RuntimeError
        raise EngineError(f"TensorRT on cuda cannot be used here ({first_line(error)}): {_CURE}") from error


def versions_of(compiler: Any) -> dict[str, str]:
    tensorrt = importlib.import_module("tensorrt")
    return {"torch_tensorrt": str(compiler.__version__), "tensorrt": str(tensorrt.__version__)}


def prepare_module(weights: Weights, precision: str) -> nn.Module:
    """Load the model and cast it; for int8 and fp8, also insert quantizers around its convolutions."""
    module = load_module(weights)
    cast = at_precision(module, DTYPES[precision])
    if precision in _EIGHT_BITS:  # after the cast, which would round the ranges
        ranges = read_ranges(weights)
        round_ = _quantize_op(exponent_bits=4 if precision == "fp8" else 0)
        quantize(module, ranges, round_, per_filter=precision == "int8")  # TensorRT supports FP8 scales per tensor only
    return cast


def _quantize_op(*, exponent_bits: int) -> Any:
    """Return the operation that Torch-TensorRT converts to TensorRT's quantize and dequantize layers."""
    try:
        importlib.import_module("modelopt.torch.quantization")  # the import registers the operation
        op = torch.ops.tensorrt.quantize_op
    except (ImportError, AttributeError, RuntimeError) as error:
        raise EngineError(
            f"int8 and fp8 in TensorRT need {_QUANTIZER} ({first_line(error)}): pip install {_QUANTIZER}"
        ) from error

    def round_(values: Tensor, largest: Tensor) -> Tensor:
        return op(values, largest, 8, exponent_bits, False, False)  # type: ignore[no-any-return]

    return round_


def _build(
    compiler: Any,
    module: nn.Module | None,
    weights: Weights,
    precision: str,
    example: Tensor,
    accept_partial: bool,
    path: Path,
) -> None:
    """Build one engine and write it to `path`. Raises EngineError that names unsupported operations."""
    module = (module or prepare_module(weights, precision)).to(device=example.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    options = {
        "arg_inputs": [example],
        "min_block_size": 1,  # the default leaves small subgraphs in torch
        "use_explicit_typing": True,  # the only mode of 2.13, not the default of earlier versions
        "disable_tf32": precision == "float32",  # TF32 has 10 bits of mantissa, float32 has 23
        # By default its caches have names in the shared temporary folder, which another user can take.
        "timing_cache_path": str(path.parent / "tensorrt_timing.bin"),
        "cache_built_engines": False,
        "reuse_cached_engines": False,
    }
    try:
        with torch.no_grad():
            program = torch.export.export(module, (example,))
        unsupported = unsupported_operations(_partition(compiler, program, options))
        _report_unsupported(unsupported, weights, name_of(precision), accept_partial)
        built = compiler.dynamo.compile(program, require_full_compilation=not accept_partial, **options)
        compiler.save(built, str(path), output_format="exported_program", arg_inputs=[example])
    except EngineError:
        raise
    except FAILURES as error:
        raise EngineError(
            f"TensorRT cannot build {name_of(precision)} for {weights.model} ({first_line(error)}): "
            "use --engine compiled-fp16"
        ) from error


def _partition(compiler: Any, program: Any, options: dict[str, Any]) -> fx.GraphModule:
    """Return the graph as TensorRT would partition it, without building engines. The printed report is discarded."""
    with contextlib.redirect_stdout(io.StringIO()):
        return compiler.dynamo.compile(program, dryrun=True, **options)  # type: ignore[no-any-return]


def unsupported_operations(partitioned: fx.GraphModule) -> list[str]:
    """List the operations that would run in torch, with the modules they come from, in order and without repetition.

    In Torch-TensorRT's partition, children named `_run_on_acc_N` become engines. Children named `_run_on_gpu_N` and
    operations outside of any child run in torch.
    """
    in_torch = [node for node in partitioned.graph.nodes if node.op in ("call_function", "call_method")]
    for name, part in partitioned.named_children():
        if "_run_on_acc" not in name and isinstance(part, fx.GraphModule):
            in_torch += [node for node in part.graph.nodes if node.op in ("call_function", "call_method")]
    return list(dict.fromkeys(_describe(node) for node in in_torch if node.target is not operator.getitem))


def _describe(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    module = str(stack[-1][0]) if stack else ""
    return f"{node.target} in {module}" if module else str(node.target)


def _report_unsupported(operations: Iterable[str], weights: Weights, name: str, accept_partial: bool) -> None:
    """Raise EngineError that names the operations, or print them if `accept_partial`."""
    if not (names := ", ".join(operations)):
        return
    if not accept_partial:
        raise EngineError(f"TensorRT does not support {names} of {weights.model}: use --engine compiled-fp16")
    print(f"{name} of {weights.model}: {names} runs in torch, the rest in TensorRT", file=sys.stderr)


def _load(path: Path) -> Run:
    return torch.export.load(path).module()
