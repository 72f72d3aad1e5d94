"""The choices that `--steps` measures, each beside what it was chosen over."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np

from realtime_polyp.bench.clips import MemorySource
from realtime_polyp.bench.line import open_pipeline, run_line
from realtime_polyp.bench.rounds import calls_per_s
from realtime_polyp.bench.steadying import steadying
from realtime_polyp.bench.steps import BuildStep, Scene, Step
from realtime_polyp.engines.base import Hint
from realtime_polyp.engines.weights import Weights, find_weights
from realtime_polyp.field_of_view import FieldOfView, Image, find_field, whole
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.postprocess.nms import detections_of
from realtime_polyp.preprocess.letterbox import Batch, prepare
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.summary import measure_fps

_ENGINES = ("eager", "openvino", "openvino-int8")
_HINTS: tuple[Hint, ...] = ("latency", "shared latency", "throughput")
_DECODER_THREADS = ("NONE", "AUTO", "SLICE")
_BATCHES = (1, 2, 4)
_BATCH_FRAMES = 96
_PREPARED = 16  # images for what is measured call by call


def threads(scene: Scene) -> Step:
    pipeline = open_pipeline(scene.setup, "latency")
    variants = {"one after the other": _inline, "a thread a stage": _line}
    return Step("the whole line, compiled for latency", {n: partial(f, scene, pipeline) for n, f in variants.items()})


def decoder_threads(scene: Scene) -> Step:
    pipeline = open_pipeline(scene.setup, "throughput")
    return Step(
        "the whole line",
        {kind: partial(_line, scene, pipeline, thread_type=kind) for kind in _DECODER_THREADS},
    )


def shrinking(scene: Scene) -> Step:
    height, width = find_weights(scene.setup.detector, "detector").size
    fields = {id(image): _field(image) for image in scene.images}
    ways: dict[str, Callable[[Image], object]] = {
        "whole frame, area": lambda image: cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA),
        "whole frame, linear (aliases)": lambda image: cv2.resize(image, (width, height)),
        "field, halved, linear": lambda image: prepare([image], [fields[id(image)]], (height, width)),
    }
    return Step("from frame to model input, decoded", _by_call(ways, scene.images))


def pixels_in_graph(scene: Scene) -> Step:
    import openvino as ov  # with torch below, seconds to import: only for who measures it

    from realtime_polyp.bench.ablations import OfUnitRange
    from realtime_polyp.engines.deployable import exported
    from realtime_polyp.engines.eager import load_module
    from realtime_polyp.engines.openvino import compile_for_cpu, convert

    weights = find_weights(scene.setup.detector, "detector")
    shape = [1, 3, *weights.size]
    outside = ov.convert_model(OfUnitRange(exported(load_module(weights))), example_input=_zeros(shape), input=shape)
    plain, folded = (
        compile_for_cpu(outside).create_infer_request(),
        _engine(convert(load_module(weights), weights.size), weights),
    )
    ways: dict[str, Callable[[Batch], object]] = {
        "float32 planes by numpy": lambda batch: plain.infer({0: np.ascontiguousarray(batch.pixels, np.float32) / 255}),
        "bytes into the graph": lambda batch: folded(batch.pixels),
    }
    return Step("the detector in OpenVINO float32, from prepared bytes", _by_call(ways, _batches(scene, weights)))


def candidates(scene: Scene) -> Step:
    from realtime_polyp.bench.ablations import EveryPlace  # torch, as above
    from realtime_polyp.engines.eager import load_module
    from realtime_polyp.engines.openvino import convert

    weights = find_weights(scene.setup.detector, "detector")
    module = load_module(weights)
    engines = {
        "every place decoded": _engine(convert(EveryPlace(module), weights.size), weights),
        "the likeliest only": _engine(convert(module, weights.size), weights),
    }
    ways = {name: partial(_detect, engine) for name, engine in engines.items()}
    return Step("the detector in OpenVINO float32, with its NMS", _by_call(ways, _batches(scene, weights)))


def engines(scene: Scene) -> Step:
    setups = {name: replace(scene.setup, engine=name) for name in _ENGINES}
    opened = {name: open_pipeline(setup, "throughput") for name, setup in setups.items()}
    return Step("the whole line", {name: partial(_line, scene, pipeline) for name, pipeline in opened.items()})


def hints(scene: Scene) -> Step:
    opened = {hint: open_pipeline(scene.setup, hint) for hint in _HINTS}
    variants = {f"compiled for {hint}": partial(_line, scene, pipeline) for hint, pipeline in opened.items()}
    return Step("the whole line", variants)


def batches(scene: Scene) -> Step:
    pipeline = open_pipeline(scene.setup, "throughput")
    variants = {f"{size} at once": partial(_in_batches, scene, pipeline, size) for size in _BATCHES}
    return Step("analysis of decoded frames, compiled for throughput", variants)


STEPS: dict[str, BuildStep] = {
    "threads": threads,
    "decoder-threads": decoder_threads,
    "shrinking": shrinking,
    "pixels-in-graph": pixels_in_graph,
    "candidates": candidates,
    "engines": engines,
    "hints": hints,
    "batches": batches,
    "steadying": steadying,
}


def _line(scene: Scene, pipeline: Pipeline, *, thread_type: str = "SLICE") -> float:
    return measure_fps(run_line(FileSource(scene.clip, thread_type=thread_type), pipeline))


def _inline(scene: Scene, pipeline: Pipeline) -> float:
    pipeline.reset()
    since_s = time.perf_counter()
    count = sum(1 for _ in run_inline(FileSource(scene.clip).frames(), pipeline))
    return count / (time.perf_counter() - since_s)


def _in_batches(scene: Scene, pipeline: Pipeline, size: int) -> float:
    pipeline.reset()
    frames = list(MemorySource(scene.images, _BATCH_FRAMES).frames())
    since_s = time.perf_counter()
    for at in range(0, len(frames), size):
        pipeline.analyse(frames[at : at + size])
    return len(frames) / (time.perf_counter() - since_s)


def _by_call(ways: Mapping[str, Callable[[Any], object]], items: Sequence[Any]) -> dict[str, Callable[[], float]]:
    return {name: partial(calls_per_s, way, items) for name, way in ways.items()}


def _batches(scene: Scene, weights: Weights) -> list[Batch]:
    return [prepare([image], [_field(image)], weights.size) for image in scene.images[:_PREPARED]]


def _field(image: Image) -> FieldOfView:
    return find_field(image) or whole(image)


def _engine(graph: Any, weights: Weights) -> Any:
    from realtime_polyp.engines.openvino import OpenVinoEngine, compile_for_cpu

    return OpenVinoEngine("openvino", compile_for_cpu(graph), weights, "measured only")


def _detect(engine: Any, batch: Batch) -> object:
    boxes, scores = engine(batch.pixels)
    return detections_of(boxes[0], scores[0], batch.placements[0])


def _zeros(shape: list[int]) -> Any:
    import torch

    return torch.zeros(shape)
