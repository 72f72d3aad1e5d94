"""The models compiled by OpenVINO for a CPU: float32 converted when opened, INT8 from the project's weights."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties
from openvino.preprocess import PrePostProcessor

from realtime_polyp.engines.base import BaseEngine, EngineError, Hint, Pixels, RawPredictions
from realtime_polyp.engines.weights import Weights, engine_key
from realtime_polyp.telemetry.priority import with_low_priority

if TYPE_CHECKING:
    from torch import nn

# bf16, which OpenVINO picks by itself on some CPUs, is slower here and less exact.
_COMPILE_OPTIONS = {properties.hint.inference_precision: ov.Type.f32}


class OpenVinoEngine(BaseEngine):
    """Runs image by image, so that a batch's results do not depend on its length, one after the other."""

    def __init__(self, name: str, compiled: ov.CompiledModel, weights: Weights, key: str) -> None:
        self.name, self.model, self.device, self.key = name, weights.model, "cpu", key
        self.task, self.size = weights.task, weights.size
        self._compiled = compiled
        self._idle: list[ov.InferRequest] = []  # requests; a batch takes what it needs and gives it back
        self._outputs = range(len(compiled.outputs))

    def __call__(self, pixels: Pixels) -> RawPredictions | NDArray[np.float32]:
        return self._joined([self._infer(image) for image in _rows(pixels)])

    def _infer(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        request = self._request()
        request.infer({0: image}, share_inputs=True)  # always: a copy would go where the last shared picture was
        answers = self._answers(request)
        self._idle.append(request)
        return answers

    def _request(self) -> ov.InferRequest:
        return self._idle.pop() if self._idle else self._compiled.create_infer_request()

    def _answers(self, request: ov.InferRequest) -> list[NDArray[np.float32]]:
        return [request.get_output_tensor(index).data.copy() for index in self._outputs]

    def _joined(self, rows: list[list[NDArray[np.float32]]]) -> RawPredictions | NDArray[np.float32]:
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
        return (columns[0], columns[1]) if self.task == "detector" else columns[0]


class OverlappingOpenVinoEngine(OpenVinoEngine):
    """Can be started without waiting, because it leaves cores to what runs beside it."""

    overlaps = True

    def start(self, pixels: Pixels) -> Callable[[], RawPredictions | NDArray[np.float32]]:
        """Begin a batch; the function returned waits for its answers, which `__call__` would give too. Batches may be
        under way at once; each is to be collected once."""
        images = _rows(pixels)
        running = [self._request() for _ in images]
        for request, image in zip(running, images, strict=True):
            request.start_async({0: image}, share_inputs=True)

        def collect() -> RawPredictions | NDArray[np.float32]:
            for request in running:
                request.wait()
            del images[:]  # kept until here: the requests read them
            answers = self._joined([self._answers(request) for request in running])
            self._idle.extend(running)
            return answers

        return collect


def _rows(pixels: Pixels) -> list[NDArray[np.uint8]]:
    """Each image as the graph reads it: (1, h, w, 3), contiguous."""
    return [np.ascontiguousarray(image)[None] for image in pixels.transpose(0, 2, 3, 1)]


def open_float32(weights: Weights, device: str, hint: Hint) -> OpenVinoEngine:
    _refuse_gpu("openvino", device)
    from realtime_polyp.engines.eager import load_module  # torch takes seconds to import, and INT8 needs none of it

    graph = convert(load_module(weights), weights.size)
    return _open("openvino", graph, weights, ("safetensors",), hint)


def open_int8(weights: Weights, device: str, hint: Hint) -> OpenVinoEngine:
    _refuse_gpu("openvino-int8", device)
    weights.path("int8-bin")  # verified too; OpenVINO finds it beside the graph
    graph = ov.Core().read_model(weights.path("int8-xml"))
    return _open("openvino-int8", graph, weights, ("int8-xml", "int8-bin"), hint)


def _open(name: str, graph: ov.Model, weights: Weights, kinds: tuple[str, ...], hint: Hint) -> OpenVinoEngine:
    key = engine_key(name, weights, kinds, openvino=ov.__version__)
    kind = OpenVinoEngine if hint == "latency" else OverlappingOpenVinoEngine
    compile_ = partial(compile_for_cpu, graph, hint=hint)
    compiled = compile_() if hint == "throughput" else with_low_priority(compile_)  # a live picture is shown first
    return kind(name, compiled, weights, key)


def compile_for_cpu(graph: ov.Model, *, hint: Hint = "latency") -> ov.CompiledModel:
    """For latency one image on all cores, or on half of them; for throughput an image a core.

    Unpinned where something runs beside it: OpenVINO would pin both models to the same core. On two cores two models
    side by side on one core each answer as soon as both in turn on two, for a fifth less work (`bench --steps`).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options: dict[object, object] = dict(_COMPILE_OPTIONS)
    if hint == "latency":
        options[properties.hint.performance_mode] = properties.hint.PerformanceMode.LATENCY
    else:
        shared = hint == "shared latency"
        options[properties.num_streams] = 1 if shared else cores
        options[properties.inference_num_threads] = max(1, cores // 2) if shared else cores
        options[properties.hint.enable_cpu_pinning] = False
    return ov.Core().compile_model(graph, "CPU", options)


def convert(module: "nn.Module", size: tuple[int, int]) -> ov.Model:
    """A torch module -> a graph that reads uint8 (1, h, w, 3) pixels, conversion and normalisation inside."""
    import torch  # as above

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


def _refuse_gpu(name: str, device: str) -> None:
    if device != "cpu":
        raise EngineError(f"engine {name} runs on cpu, not on {device}: choose --engine eager for a GPU")
