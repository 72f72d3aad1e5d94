"""Check without a GPU that TensorRT converts the models: python -m calibration.convertible

Each model is exported from PyTorch to ONNX and built into an engine of fixed shape with TensorRT-RTX, whose builder
needs no GPU. Speed and accuracy are not measured, and the engines are not saved.
"""

import io
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from realtime_polyp.engines.deployable import at_precision
from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.quantized import fake_quantize_int8, measure_ranges, quantize
from realtime_polyp.engines.weights import find_weights, read_manifest
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.variants import DETECTORS, JOINTS, SEGMENTERS
from realtime_polyp.telemetry.text_table import format_table
from trainers.command import command_parser, report_bad_input

PAPER = ("gflv2-x101-dcn", "lowrank-hrnet-w48")
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "int8": torch.float32}  # int8: explicit, around it float32
_OPSET = 18
_PACKAGE = "tensorrt-rtx"
_EPILOG = """examples:
  python -m calibration.convertible
  python -m calibration.convertible --model gflv2-lite0 --model lowrank-lite2 --precision int8"""


@dataclass(frozen=True)
class Proof:
    """The result of converting one model.

    Attributes:
        model: its name.
        layers: number of layers of the TensorRT network.
        build_s: time to parse and build, s.
        engine_mb: size of the engine, MB.
        refused: unsupported operations, one sentence each; empty if the model converts.
    """

    model: str
    layers: int
    build_s: float
    engine_mb: float
    refused: tuple[str, ...]


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "calibration.convertible",
        description="Convert models to TensorRT engines without a GPU and list unsupported operations. Exit code 1 "
        "if there are any.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="may be repeated (default: the installed models, and the paper's pair with random weights)",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="default: %(default)s")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        proofs = [
            prove(name, module_of(name), options.precision)
            for name in tqdm(options.model or [*read_manifest(), *PAPER], unit="model", disable=None)
        ]
    print(table(proofs, options.precision))
    if any(proof.refused for proof in proofs):
        raise SystemExit(1)


def module_of(name: str) -> nn.Module:
    """Load the model, with random weights if none are installed. Raises ValueError for an unknown name."""
    if name in read_manifest():
        return load_module(find_weights(name))
    torch.manual_seed(0)
    if name in DETECTORS:
        return Detector(DETECTORS[name]).eval()
    if name in SEGMENTERS:
        return Segmenter(SEGMENTERS[name]).eval()
    if name in JOINTS:
        return JointModel(JOINTS[name]).eval()
    raise ValueError(f"unknown model {name!r}: choose from {', '.join([*DETECTORS, *SEGMENTERS, *JOINTS])}")


def prove(name: str, module: nn.Module, precision: str = "fp32", *, size: tuple[int, int] | None = None) -> Proof:
    """Convert one model for one image of `size` (h, w) px, by default its own.

    Raises ValueError if TensorRT-RTX is not installed.
    """
    height, width = size or module.config.size  # type: ignore[misc]
    pixels = 255 * torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
    return build(name, onnx_of(module, pixels, precision))


def onnx_of(module: nn.Module, pixels: torch.Tensor, precision: str) -> bytes:
    """Export the model to ONNX. For "int8", the ranges are those of `pixels`, which suffice to test the conversion."""
    dtype = PRECISIONS[precision]
    cast = at_precision(module, dtype)
    if precision == "int8":
        quantize(module, measure_ranges(module, [pixels]), fake_quantize_int8, per_filter=True)
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter by tracing is old, but needs no further package
        torch.onnx.export(cast, (pixels.to(dtype),), written, dynamo=False, opset_version=_OPSET)  # type: ignore[arg-type]
    return written.getvalue()


def build(name: str, model: bytes) -> Proof:
    """Parse and build one ONNX file."""
    trt = _tensorrt()
    log = _log_of(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    began_s = time.perf_counter()
    plan = None
    if parser.parse(model):
        plan = builder.build_serialized_network(network, builder.create_builder_config())
    built_s = time.perf_counter() - began_s
    refused = _errors(parser) or (() if plan else tuple(log.errors) or ("the builder returned no engine and no error",))
    return Proof(name, network.num_layers, built_s, plan.nbytes / 1e6 if plan else 0.0, refused)


def _errors(parser: Any) -> tuple[str, ...]:
    """Return the parser's errors: operation, node and reason."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return tuple(f"{one.node_operator()} ({one.node_name() or 'no name'}): {one.desc().strip()}" for one in errors)


def _tensorrt() -> Any:
    try:
        import tensorrt_rtx  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(f"{_PACKAGE} is not installed ({error}): pip install {_PACKAGE}") from error
    return tensorrt_rtx


def _log_of(trt: Any) -> Any:
    """Return a TensorRT logger that collects errors and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Log()


def table(proofs: Iterable[Proof], precision: str) -> str:
    shown = list(proofs)
    rows = [(one.model, str(one.layers), f"{one.build_s:.1f}", f"{one.engine_mb:.1f}") for one in shown]
    lines = format_table((f"model ({precision})", "layers", "build s", "engine MB"), rows).split("\n")
    results = ["REFUSED: " + "; ".join(one.refused) if one.refused else "converts" for one in shown]
    lines = [f"{line}  {result}" for line, result in zip(lines, ["result", *results], strict=True)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
