"""The models compiled by OpenVINO for a CPU: float32 converted when opened, INT8 from the project's weights."""

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties
from openvino.preprocess import PrePostProcessor

from realtime_polyp.engines.base import Candidates, EngineError, Pixels, Task
from realtime_polyp.engines.weights import Weights

# bf16, which OpenVINO picks by itself on some CPUs, is slower here and less exact.
_COMPILE_OPTIONS = {properties.hint.inference_precision: ov.Type.f32}


class OpenVinoEngine:
    """Runs images one after the other, each on all threads: a batch's results do not depend on its length."""

    def __init__(self, name: str, compiled: ov.CompiledModel, weights: Weights) -> None:
        self.name, self.model, self.device = name, weights.model, "cpu"
        self.task: Task = weights.task
        self.size = weights.size
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))

    def __call__(self, pixels: Pixels) -> Candidates | NDArray[np.float32]:
        rows = [self._infer(image) for image in pixels.transpose(0, 2, 3, 1)]  # the graph reads rows of RGB pixels
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
        return (columns[0], columns[1]) if self.task == "detector" else columns[0]

    def _infer(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        self._request.infer({0: np.ascontiguousarray(image)[None]})
        return [self._request.get_output_tensor(index).data.copy() for index in self._outputs]


def open_float32(weights: Weights, device: str) -> OpenVinoEngine:
    _refuse_gpu("openvino", device)
    from realtime_polyp.engines.eager import load_module  # torch takes seconds to import, and INT8 needs none of it

    return OpenVinoEngine("openvino", compile_for_cpu(convert(load_module(weights), weights.size)), weights)


def open_int8(weights: Weights, device: str) -> OpenVinoEngine:
    _refuse_gpu("openvino-int8", device)
    weights.path("int8-bin")  # verified too; OpenVINO finds it beside the graph
    compiled = compile_for_cpu(ov.Core().read_model(weights.path("int8-xml")))
    return OpenVinoEngine("openvino-int8", compiled, weights)


def compile_for_cpu(graph: ov.Model, *, hint: properties.hint.PerformanceMode | None = None) -> ov.CompiledModel:
    options = {**_COMPILE_OPTIONS, properties.hint.performance_mode: hint or properties.hint.PerformanceMode.LATENCY}
    return ov.Core().compile_model(graph, "CPU", options)


def convert(module: object, size: tuple[int, int]) -> ov.Model:
    """A torch module -> a graph that reads uint8 (1, h, w, 3) pixels, conversion and normalisation inside."""
    import torch  # as above

    height, width = size
    graph = ov.convert_model(module, example_input=torch.zeros(1, 3, height, width), input=[1, 3, height, width])
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(ov.Type.f32)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _refuse_gpu(name: str, device: str) -> None:
    if device != "cpu":
        raise EngineError(f"engine {name} runs on cpu, not on {device}: choose --engine eager for a GPU")
