"""The models compiled by TensorRT through Torch-TensorRT, built once for this machine and get_or_build in its cache.

Written against Torch-TensorRT 2.13, whose engines are typed explicitly: it computes in the types that the graph states,
so the weights are cast before the export. Not measured here: TensorRT's libraries need NVIDIA's own package index.
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
_QUANTISER = "nvidia-modelopt"
_EIGHT_BITS = ("int8", "fp8")  # around them everything is float16
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.float16,
    "fp8": torch.float16,
}
# The first compute capability that TensorRT has kernels of this precision for: Turing, Ampere, Ada.
FIRST_CAPABILITY = {"float32": (7, 5), "float16": (7, 5), "bfloat16": (8, 0), "int8": (7, 5), "fp8": (8, 9)}


def open_tensorrt(
    weights: Weights, device: str, hint: Hint, *, precision: str = "float32", accept_partial: bool = False
) -> StaticEngine:
    """From the cache, or built with a progress bar, which takes minutes. precision: one of DTYPES.

    accept_partial: leave in torch what TensorRT refuses, and say what that is, instead of raising EngineError.
    """
    _require(device, precision)
    compiler, name, dtype = _torch_tensorrt(), name_of(precision), DTYPES[precision]
    key = tensorrt_key(weights, device, precision=precision)
    made_of = machine_of(device) | versions_of(compiler)
    specs = [EngineSpec(weights.model, name, key, bucket, made_of) for bucket in BUCKETS]
    module = None if all(map(is_cached, specs)) else prepared(weights, precision)
    runs: dict[int, Run] = {}
    for spec in tqdm(specs, desc=f"{weights.model} ({name})", unit="batch size", disable=None):
        example = example_of(weights, spec.bucket, device, dtype)
        # A harmed file is found late: the module is then made after all.
        build = partial(_build, compiler, module, weights, precision, example, accept_partial)
        runs[spec.bucket] = get_or_build(spec, build, _load)
    return StaticEngine(weights, runs, name=name, device=device, key=key, dtype=dtype)


def name_of(precision: str) -> str:
    return "tensorrt" if precision == "float32" else f"tensorrt-{SHORT.get(precision, precision)}"


def tensorrt_key(weights: Weights, device: str, *, precision: str) -> str:
    """The key of an engine without building it. EngineError where TensorRT or the device is not there."""
    _require(device, precision)
    kinds = ("safetensors", RANGES) if precision in _EIGHT_BITS else ("safetensors",)
    return engine_key(name_of(precision), weights, kinds, **machine_of(device), **versions_of(_torch_tensorrt()))


def _require(device: str, precision: str) -> None:
    require_device(device)
    if device != "cuda":
        raise EngineError(f"engine {name_of(precision)} runs on cuda, not on {device}: choose --engine eager for a CPU")
    check_capability(precision, torch.cuda.get_device_capability(), torch.cuda.get_device_name())


def check_capability(precision: str, capability: tuple[int, int], gpu: str) -> None:
    """EngineError where the card has no kernels of this precision."""
    first = FIRST_CAPABILITY[precision]
    if capability < first:
        found, wanted = (f"{major}.{minor}" for major, minor in (capability, first))
        raise EngineError(
            f"engine {name_of(precision)} needs compute capability {wanted}, {gpu} has {found}: "
            "use --engine tensorrt-fp16 or compiled-fp16"
        )


def _torch_tensorrt() -> Any:
    """The package, imported here only: without a GPU or its libraries it raises errors of any kind, and prints."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            return importlib.import_module("torch_tensorrt")
    except Exception as error:  # noqa: BLE001 - it raises plain Exception, AssertionError and RuntimeError too
        raise EngineError(f"TensorRT on cuda cannot be used here ({first_line(error)}): {_CURE}") from error


def versions_of(compiler: Any) -> dict[str, str]:
    tensorrt = importlib.import_module("tensorrt")
    return {"torch_tensorrt": str(compiler.__version__), "tensorrt": str(tensorrt.__version__)}


def prepared(weights: Weights, precision: str) -> nn.Module:
    """The model as TensorRT is given it: cast, and for eight bits with its convolutions rounded explicitly."""
    module = load_module(weights)
    cast = at_precision(module, DTYPES[precision])
    if precision in _EIGHT_BITS:  # after the cast, which would round the ranges too
        ranges = read_ranges(weights)
        round_ = _quantise_op(exponent_bits=4 if precision == "fp8" else 0)
        quantize(module, ranges, round_, per_filter=precision == "int8")  # TensorRT takes one FP8 scale a tensor
    return cast


def _quantise_op(*, exponent_bits: int) -> Any:
    """The operation that Torch-TensorRT converts to TensorRT's own quantize and dequantise layers."""
    try:
        importlib.import_module("modelopt.torch.quantization")  # defines it, and Torch-TensorRT looks for it
        op = torch.ops.tensorrt.quantize_op
    except (ImportError, AttributeError, RuntimeError) as error:
        raise EngineError(
            f"eight bits in TensorRT need {_QUANTISER} ({first_line(error)}): pip install {_QUANTISER}"
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
    """One engine, written to `path`. EngineError that names what TensorRT refuses."""
    module = (module or prepared(weights, precision)).to(device=example.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    options = {
        "arg_inputs": [example],
        "min_block_size": 1,  # the default leaves small parts in torch
        "use_explicit_typing": True,  # 2.13 does nothing else; before, it had to be asked for
        "disable_tf32": precision == "float32",  # which would round to ten bits what is called float32
    }
    try:
        with torch.no_grad():
            program = torch.export.export(module, (example,))
        _refuse(left_out(_planned(compiler, program, options)), weights, name_of(precision), accept_partial)
        built = compiler.dynamo.compile(program, require_full_compilation=not accept_partial, **options)
        compiler.save(built, str(path), output_format="exported_program", arg_inputs=[example])
    except EngineError:
        raise
    except FAILURES as error:
        raise EngineError(
            f"TensorRT cannot build {name_of(precision)} of {weights.model} ({first_line(error)}): "
            "use --engine compiled-fp16"
        ) from error


def _planned(compiler: Any, program: Any, options: dict[str, Any]) -> fx.GraphModule:
    """How the graph would be shared between TensorRT and torch, without the report that a dry run prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return compiler.dynamo.compile(program, dryrun=True, **options)  # type: ignore[no-any-return]


def left_out(planned: fx.GraphModule) -> list[str]:
    """Operations that would stay in torch, each with the module it comes from, in order and once.

    Torch-TensorRT's partition: children named `_run_on_acc_N` become engines, `_run_on_gpu_N` and all that stands
    between them do not.
    """
    outside = [node for node in planned.graph.nodes if node.op in ("call_function", "call_method")]
    for name, part in planned.named_children():
        if "_run_on_acc" not in name and isinstance(part, fx.GraphModule):
            outside += [node for node in part.graph.nodes if node.op in ("call_function", "call_method")]
    return list(dict.fromkeys(_called(node) for node in outside if node.target is not operator.getitem))


def _called(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    place = str(stack[-1][0]) if stack else ""
    return f"{node.target} in {place}" if place else str(node.target)


def _refuse(units: Iterable[str], weights: Weights, name: str, accept_partial: bool) -> None:
    if not (named := ", ".join(units)):
        return
    if not accept_partial:
        raise EngineError(f"TensorRT refuses {named} of {weights.model}: use --engine compiled-fp16")
    print(f"{name} of {weights.model}: {named} stays in torch, the rest runs in TensorRT", file=sys.stderr)


def _load(path: Path) -> Run:
    return torch.export.load(path).module()
