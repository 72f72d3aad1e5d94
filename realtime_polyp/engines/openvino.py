"""The models compiled by OpenVINO for a CPU.

The float32 model is converted when it is opened; the INT8 model is read from the shipped weights. Its layers that INT8
would harm compute in float32, or in bfloat16 on a CPU with such instructions, nearly twice as fast.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties
from openvino.preprocess import PrePostProcessor

from realtime_polyp.engines.base import BaseEngine, EngineError, Hint, Pixels, Task, as_answer
from realtime_polyp.engines.vector_units import check_bfloat16, check_sums
from realtime_polyp.engines.weights import Weights, engine_key
from realtime_polyp.telemetry.priority import with_low_priority

if TYPE_CHECKING:
    from torch import nn

_INT8_FILES = ("int8-xml", "int8-bin")
_OUTPUTS: dict[Task, int] = {"detector": 2, "segmenter": 1, "joint": 3}
# Of what is not in INT8. Without a hint OpenVINO would choose bfloat16 on some CPUs, for float32 models too.
_PRECISIONS = {"float32": ov.Type.f32, "bfloat16": ov.Type.bf16}
_INT8_NAMES = {"float32": "openvino-int8", "bfloat16": "openvino-int8-bf16"}


class OpenVinoEngine(BaseEngine):
    """Runs the images of a batch one after the other: results do not depend on the batch size."""

    def __init__(self, name: str, compiled: ov.CompiledModel, weights: Weights, key: str) -> None:
        self.name, self.model, self.device, self.key = name, weights.model, "cpu", key
        self.task, self.size = weights.task, weights.size
        self._compiled = compiled
        self._idle: list[ov.InferRequest] = []  # infer requests that no batch is using
        self._outputs = range(len(compiled.outputs))

    def __call__(self, pixels: Pixels) -> Any:
        return self._concatenate([self._infer(image) for image in _split_images(pixels)])

    def _infer(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        request = self._take_request()
        # Inputs are shared in every call: a copy would be written into the image that was shared before.
        request.infer({0: image}, share_inputs=True)
        outputs = self._copy_outputs(request)
        self._idle.append(request)
        return outputs

    def _take_request(self) -> ov.InferRequest:
        return self._idle.pop() if self._idle else self._compiled.create_infer_request()

    def _copy_outputs(self, request: ov.InferRequest) -> list[NDArray[np.float32]]:
        return [request.get_output_tensor(index).data.copy() for index in self._outputs]

    def _concatenate(self, rows: list[list[NDArray[np.float32]]]) -> Any:
        return as_answer([np.concatenate(column) for column in zip(*rows, strict=True)])


class OverlappingOpenVinoEngine(OpenVinoEngine):
    """Can start a batch without waiting for it. It is compiled so that other work has cores left."""

    overlaps = True

    def start(self, pixels: Pixels) -> Callable[[], Any]:
        """Start a batch. The function returned waits for what `__call__` returns; call it exactly once.

        Several batches may run at the same time.
        """
        images = _split_images(pixels)
        running: list[ov.InferRequest] = []
        try:
            for image in images:
                request = self._take_request()
                request.start_async({0: image}, share_inputs=True)
                running.append(request)
        except BaseException:
            _wait_for_all(running)  # they still read their images
            raise

        def collect() -> Any:
            _wait_for_all(running)
            del images[:]  # the requests read them until here
            outputs = self._concatenate([self._copy_outputs(request) for request in running])
            self._idle.extend(running)
            return outputs

        return collect


def _wait_for_all(requests: list[ov.InferRequest]) -> None:
    """Wait for every request, also if one fails: a running request still reads its image. Raises a request's error."""
    with ExitStack() as stack:
        for request in requests:
            stack.callback(request.wait)


def _split_images(pixels: Pixels) -> list[NDArray[np.uint8]]:
    """Split (N, 3, h, w) into N contiguous (1, h, w, 3) images, the layout of the graph's input."""
    return [np.ascontiguousarray(image)[None] for image in pixels.transpose(0, 2, 3, 1)]


def open_float32(weights: Weights, device: str, hint: Hint) -> OpenVinoEngine:
    """Convert the float32 model and compile it. Raises EngineError if `device` is not "cpu"."""
    _require_cpu("openvino", device)
    from realtime_polyp.engines.eager import load_module  # torch takes seconds to import; INT8 does not need it

    graph = convert(load_module(weights), weights.size)
    return _open("openvino", graph, weights, ("safetensors",), hint)


def open_int8(weights: Weights, device: str, hint: Hint, *, precision: str = "float32") -> OpenVinoEngine:
    """Compile the shipped INT8 model.

    precision: of the layers that are not in INT8: "float32", or "bfloat16" on a CPU with such instructions.

    Raises EngineError if it has none, if the file passes its checksum and is damaged or of another model, or if
    `device` is not "cpu" or lacks the precision; SaturationError if its sums would saturate on this CPU.
    """
    name = _INT8_NAMES[precision]
    _require_cpu(name, device)
    if precision == "bfloat16":
        check_bfloat16(name)
    weights.path("int8-bin")  # verifies the file, which OpenVINO reads together with the graph
    path = weights.path("int8-xml")
    try:
        graph = ov.Core().read_model(path)
        if problem := graph_problem(graph, weights):
            raise RuntimeError(problem)
        check_sums(graph, weights.model)
        return _open(name, graph, weights, _INT8_FILES, hint, precision=precision)
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter where OpenVINO's own message quotes the file
        raise weights.refuse("int8-xml", error) from error


def int8_key(weights: Weights, *, precision: str) -> str:
    """Return the key of the engine that `open_int8` would open."""
    return engine_key(_INT8_NAMES[precision], weights, _INT8_FILES, openvino=ov.__version__)


def graph_problem(graph: ov.Model, weights: Weights) -> str | None:
    """Return what is wrong with a graph that was read from a file; None if it is of the model and finite."""
    (height, width), outputs = weights.size, _OUTPUTS[weights.task]
    shapes = [port.partial_shape for port in graph.inputs]
    if shapes != [ov.PartialShape([1, height, width, 3])] or graph.inputs[0].element_type != ov.Type.u8:
        return f"its input is not 1 x {height} x {width} x 3 in 8 bits"
    if len(graph.outputs) != outputs or any(port.element_type != ov.Type.f32 for port in graph.outputs):
        return f"it has {len(graph.outputs)} outputs, not {outputs} of float32"
    for node in graph.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().is_real():
            if not np.isfinite(node.data).all():
                return f"its weights {node.get_friendly_name()!r} are not finite"
    return None


def _open(
    name: str, graph: ov.Model, weights: Weights, kinds: tuple[str, ...], hint: Hint, *, precision: str = "float32"
) -> OpenVinoEngine:
    key = engine_key(name, weights, kinds, openvino=ov.__version__)
    kind = OpenVinoEngine if hint == "latency" else OverlappingOpenVinoEngine
    compile_ = partial(compile_for_cpu, graph, hint=hint, precision=precision)
    # Live video is displayed while the model compiles, so compilation has a low priority.
    compiled = compile_() if hint == "throughput" else with_low_priority(compile_)
    return kind(name, compiled, weights, key)


def compile_for_cpu(graph: ov.Model, *, hint: Hint = "latency", precision: str = "float32") -> ov.CompiledModel:
    """Compile a graph for the CPU.

    hint: "latency" runs one image on all cores, "shared latency" one image on half of them, and "throughput" one image
    per core. The last two are not pinned, because OpenVINO would pin two models to the same core. Two models side by
    side on one core each have the same latency as one after the other on two cores, with a fifth less CPU time
    (`bench --steps`).
    precision: of what is not in INT8. What follows the last convolution or matrix product is always in float32.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options: dict[object, object] = {properties.hint.inference_precision: _PRECISIONS[precision]}
    if hint == "latency":
        options[properties.hint.performance_mode] = properties.hint.PerformanceMode.LATENCY
    else:
        shared = hint == "shared latency"
        options[properties.num_streams] = 1 if shared else cores
        options[properties.inference_num_threads] = max(1, cores // 2) if shared else cores
        options[properties.hint.enable_cpu_pinning] = False
    return ov.Core().compile_model(graph, "CPU", options)


def convert(module: "nn.Module", size: tuple[int, int]) -> ov.Model:
    """Convert a torch module to a graph with uint8 (1, h, w, 3) pixels as input; it includes the normalisation.

    size: input (h, w), px.
    """
    import torch  # takes seconds

    from realtime_polyp.engines.deployable import to_deployable

    height, width = size
    graph = ov.convert_model(
        to_deployable(module), example_input=torch.zeros(1, 3, height, width), input=[1, 3, height, width]
    )
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(ov.Type.f32)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _require_cpu(name: str, device: str) -> None:
    if device != "cpu":
        raise EngineError(f"engine {name} runs on cpu, not on {device}: use --engine eager for a GPU")
