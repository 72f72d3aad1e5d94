"""The design choices that `--steps` measures, each beside its alternatives."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from realtime_polyp.bench.clips import MemorySource
from realtime_polyp.bench.comparisons import Ablation, calls_per_s
from realtime_polyp.bench.sessions import run_session
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.weights import Weights, find_weights, read_manifest
from realtime_polyp.field_of_view import FieldOfView, Image, find_field, whole
from realtime_polyp.messages import each_once
from realtime_polyp.packets import RawResult
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.postprocess.nms import detections_of
from realtime_polyp.preprocess.letterbox import Batch, prepare
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.summary import measure_fps
from realtime_polyp.temporal.filter import TemporalFilter, fuse_box_and_mask

_ENGINES = ("eager", "openvino", "openvino-int8")
_DECODER_THREADS = ("NONE", "AUTO", "SLICE")
_BATCHES = (1, 2, 4)
_BATCH_FRAMES = 96
_PREPARED = 16  # images for what is measured call by call
_LEAD_IN = 5  # frames of the temporal filter that are not timed: tracks have to start first


@dataclass(frozen=True)
class AblationInput:
    """What ablations are measured on.

    Attributes:
        config: models, engine and device.
        clip: a video.
        images: its first frames, decoded.
    """

    config: RuntimeConfig
    clip: Path
    images: Sequence[Image]

    def open_runtime(self, *, live: bool = False, engine: str | None = None) -> Runtime:
        """Open the runtime, compiled for short delays (live) or throughput.

        engine: in place of the config's, verified or not.
        """
        if engine is None:
            return open_runtime(replace(self.config, live=live))
        return open_runtime(replace(self.config, live=live, engine=engine, allow_unverified=True))


def threads(given: AblationInput) -> Ablation:
    pipeline = given.open_runtime(live=True).pipeline()
    variants = {"one thread": _run_inline, "a thread per stage": _run_session}
    return Ablation(
        "the whole pipeline, compiled for short delays",
        {name: partial(run, given, pipeline) for name, run in variants.items()},
    )


def decoder_threads(given: AblationInput) -> Ablation:
    pipeline = given.open_runtime().pipeline()
    return Ablation(
        "the whole pipeline",
        {kind: partial(_run_session, given, pipeline, thread_type=kind) for kind in _DECODER_THREADS},
    )


def shrinking(given: AblationInput) -> Ablation:
    height, width = find_weights(given.config.detector or "", "detector").size
    fields = {id(image): _field(image) for image in given.images}
    variants: dict[str, Callable[[Image], object]] = {
        "whole frame, area": lambda image: cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA),
        "whole frame, linear (aliases)": lambda image: cv2.resize(image, (width, height)),
        "field of view, halved, linear": lambda image: prepare([image], [fields[id(image)]], (height, width)),
    }
    return Ablation("from decoded frame to model input", _by_call(variants, given.images))


def pixels_in_graph(given: AblationInput) -> Ablation:
    import openvino as ov  # with torch below, seconds to import

    from realtime_polyp.bench.ablation_modules import UnitRangeInput
    from realtime_polyp.engines.deployable import to_deployable
    from realtime_polyp.engines.eager import load_module
    from realtime_polyp.engines.openvino import compile_for_cpu, convert

    weights = find_weights(given.config.detector or "", "detector")
    shape = [1, 3, *weights.size]
    outside = ov.convert_model(
        UnitRangeInput(to_deployable(load_module(weights))), example_input=_zeros(shape), input=shape
    )
    plain, folded = (
        compile_for_cpu(outside).create_infer_request(),
        _engine(convert(load_module(weights), weights.size), weights),
    )
    variants: dict[str, Callable[[Batch], object]] = {
        "float32 planes by numpy": lambda batch: plain.infer({0: np.ascontiguousarray(batch.pixels, np.float32) / 255}),
        "bytes into the graph": lambda batch: folded(batch.pixels),
    }
    return Ablation(
        "the detector in OpenVINO float32, from prepared bytes", _by_call(variants, _batches(given, weights))
    )


def candidates(given: AblationInput) -> Ablation:
    from realtime_polyp.bench.ablation_modules import AllLocations  # torch, as above
    from realtime_polyp.engines.eager import load_module
    from realtime_polyp.engines.openvino import convert

    weights = find_weights(given.config.detector or "", "detector")
    module = load_module(weights)
    engines = {
        "every location decoded": _engine(convert(AllLocations(module), weights.size), weights),
        "the best-scored only": _engine(convert(module, weights.size), weights),
    }
    variants = {name: partial(_detect, engine) for name, engine in engines.items()}
    return Ablation("the detector in OpenVINO float32, with its NMS", _by_call(variants, _batches(given, weights)))


def engines(given: AblationInput) -> Ablation:
    from realtime_polyp.engines.vector_units import has_bfloat16  # imports OpenVINO

    names = (*_ENGINES, "openvino-int8-bf16") if has_bfloat16() else _ENGINES
    opened = {name: given.open_runtime(engine=name).pipeline() for name in names}
    return Ablation("the whole pipeline", {name: partial(_run_session, given, one) for name, one in opened.items()})


def models(given: AblationInput) -> Ablation:
    """The models that were chosen, and every other that is installed by itself, verified or not."""
    chosen = (given.config.detector, given.config.segmenter)
    opened = {each_once(chosen, " and "): given.open_runtime().pipeline()}
    for name, task in ((name, entry["task"]) for name, entry in read_manifest().items() if name not in chosen):
        detector, segmenter = (None if task == "segmenter" else name), (None if task == "detector" else name)
        config = replace(given.config, detector=detector, segmenter=segmenter, allow_unverified=True)
        opened[name] = replace(given, config=config).open_runtime().pipeline()
    return Ablation("the whole pipeline", {name: partial(_run_session, given, one) for name, one in opened.items()})


def hints(given: AblationInput) -> Ablation:
    opened = {name: given.open_runtime(live=name == "delay").pipeline() for name in ("delay", "throughput")}
    variants = {f"compiled for {name}": partial(_run_session, given, one) for name, one in opened.items()}
    return Ablation("the whole pipeline", variants)


def batches(given: AblationInput) -> Ablation:
    pipeline = given.open_runtime().pipeline()
    variants = {f"batches of {size}": partial(_run_batches, given, pipeline, size) for size in _BATCHES}
    return Ablation("analysis of decoded frames, compiled for throughput", variants)


def temporal(given: AblationInput) -> Ablation:
    """What `TemporalFilter` costs, on one core."""
    runtime = given.open_runtime()
    raw_results, config = _collect_raw_results(given, runtime), runtime.pipeline_config
    variants = {
        "fusion, tracker, masks, frame quality": config,
        "fusion, tracker, masks": replace(config, frame_quality=None),
        "fusion": replace(config, frame_quality=None, temporal=None),
    }
    measures = {name: partial(_filtered_per_s, raw_results, one) for name, one in variants.items()}
    return Ablation("the temporal filter on one core, median frame", measures)


ABLATIONS: dict[str, Callable[[AblationInput], Ablation]] = {
    "threads": threads,
    "decoder-threads": decoder_threads,
    "shrinking": shrinking,
    "pixels-in-graph": pixels_in_graph,
    "candidates": candidates,
    "engines": engines,
    "models": models,
    "hints": hints,
    "batches": batches,
    "temporal": temporal,
}


def _collect_raw_results(given: AblationInput, runtime: Runtime) -> list[RawResult]:
    """The clip's raw results from the first polyp on, as many as there are images: without tracks, less is done."""
    config = runtime.pipeline_config
    unfiltered = PipelineConfig(score_threshold=config.model_floor, temporal=None)
    pipeline = runtime.pipeline(unfiltered)
    raw_results = (pipeline.analyzer.submit([frame]).result()[0] for frame in FileSource(given.clip).frames())

    def shows_none(raw: RawResult) -> bool:
        detections, _ = fuse_box_and_mask(raw, config)
        return not (detections.scores >= config.score_threshold).any()

    found = list(itertools.islice(itertools.dropwhile(shows_none, raw_results), len(given.images)))
    if not found:
        raise ValueError(f"no polyp is found in {given.clip.name}: there is nothing to track")
    return found


def _filtered_per_s(raw_results: Sequence[RawResult], config: PipelineConfig) -> float:
    """Frames per second if every frame took as long as the median one."""
    temporal_filter, durations_s = TemporalFilter(config), []
    with _one_core():
        for raw in raw_results:
            since_s = time.perf_counter()
            temporal_filter.update(raw)
            durations_s.append(time.perf_counter() - since_s)
    return 1 / statistics.median(durations_s[_LEAD_IN:] or durations_s)


@contextmanager
def _one_core() -> Iterator[None]:
    """Limit OpenCV, the only library there that uses several threads."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _run_session(given: AblationInput, pipeline: Pipeline, *, thread_type: str = "SLICE") -> float:
    return measure_fps(run_session(FileSource(given.clip, thread_type=thread_type), pipeline))


def _run_inline(given: AblationInput, pipeline: Pipeline) -> float:
    pipeline.reset()
    since_s = time.perf_counter()
    count = sum(1 for _ in run_inline(FileSource(given.clip).frames(), pipeline))
    return count / (time.perf_counter() - since_s)


def _run_batches(given: AblationInput, pipeline: Pipeline, size: int) -> float:
    pipeline.reset()
    frames = list(MemorySource(given.images, _BATCH_FRAMES).frames())
    since_s = time.perf_counter()
    for at in range(0, len(frames), size):
        pipeline.analyse(frames[at : at + size])
    return len(frames) / (time.perf_counter() - since_s)


def _by_call(variants: Mapping[str, Callable[[Any], object]], items: Sequence[Any]) -> dict[str, Callable[[], float]]:
    return {name: partial(calls_per_s, call, items) for name, call in variants.items()}


def _batches(given: AblationInput, weights: Weights) -> list[Batch]:
    return [prepare([image], [_field(image)], weights.size) for image in given.images[:_PREPARED]]


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
