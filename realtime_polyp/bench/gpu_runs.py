"""The pairs of models and the variants of running them that the GPU benchmark measures."""

import copy
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from realtime_polyp.engines.base import Engine, EngineError, Task
from realtime_polyp.engines.compiled import FAILURES, compiled_run
from realtime_polyp.engines.deployable import at_precision
from realtime_polyp.engines.eager import PRECISIONS, EagerEngine, load_module
from realtime_polyp.engines.halves import halves_of
from realtime_polyp.engines.static import Run, StaticEngine, example_of, first_line
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, Weights, find_weights, sha256_of
from realtime_polyp.inference.cuda import CudaInference, Spans
from realtime_polyp.inference.cuda_streams import CpuStreams, CudaStreams, DeviceStreams
from realtime_polyp.models.deform import DeformConv2d
from realtime_polyp.models.detector import Detector, DetectorConfig
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.segmenter import Segmenter, SegmenterConfig
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS

_SEED = 4
_CALIBRATION_PX = 192
_TAPS_APART_PX = 0.05  # where features are as large as one; deep in a backbone they are larger
_COMPILING_SHARE = 0.6  # of the time budget; measuring takes the rest
_TOY_BACKBONE = LiteConfig(width=0.25, depth=0.3)
_TOY_NECK = NeckConfig(channels=16, levels=4, relu_before_extra=True)


@dataclass(frozen=True)
class Model:
    """A model to measure.

    Attributes:
        name: of `models.variants`.
        task: "detector" or "segmenter"; "joint" for both in one.
        size: input (h, w), px.
        module: float32, in eval mode, on the host. Variants copy it.
    """

    name: str
    task: Task
    size: tuple[int, int]
    module: nn.Module

    def weights(self) -> Weights:
        """Return weights without a file, for engines that are given the module itself."""
        return Weights(self.name, self.task, self.size, Path(), {}, {})

    def save(self, folder: Path) -> Weights:
        """Save the weights to a file, for engines that read it themselves."""
        path = folder / f"{self.name}.safetensors"
        save_file(self.module.state_dict(), path)
        return Weights(
            self.name, self.task, self.size, folder, {"safetensors": path.name}, {path.name: sha256_of(path)}
        )


Pair = tuple[Model, ...]
"""A detector and a segmenter, or one joint model."""


@dataclass(frozen=True)
class Budget:
    """The time budget of the whole benchmark, s."""

    length_s: float
    began_s: float = field(default_factory=time.monotonic)

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.began_s

    def allows(self, next_s: float, share: float = 1.0) -> bool:
        """Whether something that takes `next_s` ends within this share of the budget."""
        return self.spent_s + next_s <= share * self.length_s


# pairs


def _random_pair(detector: str, detector_config: DetectorConfig, segmenter: str, segmenting: SegmenterConfig) -> Pair:
    """Build both models with random weights from a fixed seed."""
    torch.manual_seed(_SEED)
    return (
        Model(detector, "detector", detector_config.size, realistic_weights(Detector(detector_config))),
        Model(segmenter, "segmenter", segmenting.size, realistic_weights(Segmenter(segmenting))),
    )


def _paper() -> Pair:
    detector, segmenter = "gflv2-x101-dcn", "lowrank-hrnet-w48"
    return _random_pair(detector, DETECTORS[detector], segmenter, SEGMENTERS[segmenter])


def _toy() -> Pair:
    detecting = DetectorConfig(backbone=_TOY_BACKBONE, neck=_TOY_NECK, size=(64, 96))
    return _random_pair(
        "toy", detecting, "toy", SegmenterConfig(backbone=_TOY_BACKBONE, size=(64, 96), width=12, bases=3)
    )


def _default() -> Pair:
    """Load the shipped models; a joint one once."""
    found = [find_weights(name) for name in dict.fromkeys((DEFAULT_DETECTOR, DEFAULT_SEGMENTER))]
    return tuple(Model(one.model, one.task, one.size, load_module(one)) for one in found)


PAIRS: dict[str, Callable[[], Pair]] = {"paper": _paper, "default": _default, "toy": _toy}


@torch.no_grad()
def realistic_weights(module: nn.Module) -> nn.Module:
    """Rescale random weights in place so that features are as large as a trained model's, and return the module.

    Without this, features grow from block to block until half precision overflows, and a GPU computes infinities faster
    than numbers. Deformable convolutions sample about one or two pixels off the grid instead of exactly on it.
    """
    for layer in module.modules():
        if isinstance(layer, DeformConv2d):
            nn.init.normal_(layer.conv_offset.weight, std=_TAPS_APART_PX * layer.conv_offset.weight[0].numel() ** -0.5)
            nn.init.normal_(layer.conv_offset.bias)  # type: ignore[arg-type]
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # the running statistics become those of this batch
    cells = 60 + 140 * torch.rand(2, 3, 6, 6)  # smooth as images are: after white noise features would be too large
    smooth = nn.functional.interpolate(cells, size=(_CALIBRATION_PX, _CALIBRATION_PX), mode="bicubic")
    module.train()(smooth + 12 * torch.rand_like(smooth))
    return module.eval()


# variants


@dataclass(frozen=True)
class Opening:
    """What every variant is opened with.

    Attributes:
        pair: detector and segmenter, or one joint model.
        device: "cuda" or "cpu".
        buckets: batch sizes, the most important first.
        budget: time budget.
    """

    pair: Pair
    device: str
    buckets: Sequence[int]
    budget: Budget


Engines = tuple[Engine, Engine]
"""A detector and a segmenter; of a joint model, its two halves."""


@dataclass(frozen=True)
class Variant:
    """One way of running the models.

    Attributes:
        precision: of weights and features.
        graphs: replay CUDA graphs instead of launching kernel by kernel.
        open: returns both engines and the batch sizes that they support.
    """

    precision: str
    graphs: bool
    open: Callable[[Opening, "Variant", str], tuple[Engines, Sequence[int]]]


def _eager(opening: Opening, variant: Variant, name: str) -> tuple[Engines, Sequence[int]]:
    opened = [_eager_engine(one, opening.device, variant.precision, name) for one in opening.pair]
    return _roles(opened), opening.buckets


def _roles(opened: Sequence[Engine]) -> Engines:
    """Return two engines as they are, and one joint engine as its halves."""
    detector, segmenter = halves_of(opened[0]) if len(opened) == 1 else opened
    return detector, segmenter


def _eager_engine(model: Model, device: str, precision: str, name: str) -> EagerEngine:
    module, dtype = copy.deepcopy(model.module), PRECISIONS[precision]
    module = module if precision == "float32" else at_precision(module, dtype)
    return EagerEngine(module, model.name, model.task, model.size, device, name=name, dtype=dtype)


def _compiled(opening: Opening, variant: Variant, name: str) -> tuple[Engines, Sequence[int]]:
    """Compile the models for one batch size after the other until the time for compiling is over, at least for one.

    `open_compiled` is not used: its engines capture CUDA graphs of their own.
    """
    dtype = PRECISIONS[variant.precision]
    modules = [
        at_precision(copy.deepcopy(one.module), dtype).to(device=opening.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for one in opening.pair
    ]
    runs: list[dict[int, Run]] = [{} for _ in opening.pair]
    longest_s = 0.0
    for bucket in tqdm(opening.buckets, desc=f"compiling ({name})", unit="batch size", disable=None):
        if runs[-1] and not opening.budget.allows(longest_s, _COMPILING_SHARE):
            break
        since_s = time.monotonic()
        for one, module, own in zip(opening.pair, modules, runs, strict=True):
            own[bucket] = compiled_run(module, example_of(one.weights(), bucket, opening.device, dtype))
        longest_s = max(longest_s, time.monotonic() - since_s)
    opened = [
        StaticEngine(one.weights(), own, name=name, device=opening.device, key="measured only", dtype=dtype)
        for one, own in zip(opening.pair, runs, strict=True)
    ]
    return _roles(opened), tuple(runs[-1])


def _tensorrt(opening: Opening, variant: Variant, name: str) -> tuple[Engines, Sequence[int]]:
    """Open TensorRT engines through the engine cache, so an interrupted build continues in the next run."""
    from realtime_polyp.engines.tensorrt import open_tensorrt

    with tempfile.TemporaryDirectory() as folder:
        opened = [
            open_tensorrt(one.save(Path(folder)), opening.device, "throughput", precision=variant.precision)
            for one in opening.pair
        ]
    return _roles(opened), opening.buckets


# By device. The first is the recommended variant, the others are for comparison.
VARIANTS: dict[str, dict[str, Variant]] = {
    "cuda": {
        "compiled-fp16": Variant("float16", True, _compiled),
        "tensorrt-fp16": Variant("float16", True, _tensorrt),
        "eager-fp16-graphs": Variant("float16", True, _eager),
        "eager-fp16": Variant("float16", False, _eager),
        "eager": Variant("float32", False, _eager),
    },
    "cpu": {"compiled": Variant("float32", False, _compiled), "eager": Variant("float32", False, _eager)},
}
BASELINE = {"cuda": "eager-fp16", "cpu": "eager"}


def default_variants(device: str) -> list[str]:
    """Return the variants that this machine may support."""
    has_tensorrt = importlib.util.find_spec("torch_tensorrt") is not None
    return [name for name in VARIANTS[device] if has_tensorrt or not name.startswith("tensorrt")]


@dataclass(frozen=True)
class OpenVariant:
    """An opened variant.

    Attributes:
        name: of the variant.
        engines: detector and segmenter.
        buckets: batch sizes that they support.
        inference: runs them.
    """

    name: str
    engines: Engines
    buckets: Sequence[int]
    inference: CudaInference


def open_variants(names: Sequence[str], opening: Opening, notes: list[str]) -> dict[str, OpenVariant]:
    """Open every variant that works here; print why others do not, and add it to `notes`.

    Raises EngineError if none works.
    """
    opened = {}
    for name in tqdm(names, desc="opening", unit="variant", disable=None):
        variant = VARIANTS[opening.device][name]
        try:
            engines, buckets = variant.open(opening, variant, name)
            inference = open_inference(engines, buckets, opening.device, variant.graphs, notes)
            opened[name] = OpenVariant(name, engines, buckets, inference)
        except FAILURES as error:  # EngineError and out of memory among them
            notes.append(f"{name} could not be measured: {first_line(error)}")
            print(notes[-1], file=sys.stderr)
    if not opened:
        raise EngineError(f"none of {', '.join(names)} runs here: {notes[-1]}")
    return opened


def open_traced(opened: OpenVariant, device: str, trace: Spans) -> CudaInference:
    """Return an inference with the same engines that writes the work of the CUDA streams to the trace."""
    return open_inference(opened.engines, opened.buckets, device, VARIANTS[device][opened.name].graphs, [], trace)


def open_inference(
    engines: Engines, buckets: Sequence[int], device: str, graphs: bool, notes: list[str], trace: Spans | None = None
) -> CudaInference:
    """Open the inference, and add to `notes` what could not be captured into a CUDA graph."""
    streams: DeviceStreams = CudaStreams(graphs=graphs, timed=trace is not None) if device == "cuda" else CpuStreams()
    detector, segmenter = engines
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inference = CudaInference(detector, segmenter, streams=streams, buckets=buckets, trace=trace)  # type: ignore[arg-type]
    notes.extend(str(one.message) for one in caught if "CUDA graph" in str(one.message))
    return inference
