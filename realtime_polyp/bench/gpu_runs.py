"""What the benchmark of a card runs: pairs of models, and the ways of running both on every frame."""

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
from realtime_polyp.engines.eager import PRECISIONS, EagerEngine, load_module
from realtime_polyp.engines.precision import at_precision
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
_SETTLING_PX = 192
_TAPS_APART_PX = 0.05  # where features are as large as one; deep in a trunk they are larger
_COMPILING_SHARE = 0.6  # of the time there is: measuring takes the rest
_TOY_TRUNK = LiteConfig(width=0.25, depth=0.3)
_TOY_NECK = NeckConfig(channels=16, levels=4, relu_before_extra=True)


@dataclass(frozen=True)
class Model:
    """name: of `models.variants`. module: float32, in eval mode, on the host; never changed by who runs it."""

    name: str
    task: Task
    size: tuple[int, int]
    module: nn.Module

    def weights(self) -> Weights:
        """What engines ask of weights when they are handed the module itself."""
        return Weights(self.name, self.task, self.size, Path(), {}, {})

    def saved(self, folder: Path) -> Weights:
        """The same with a file, for engines that read it themselves."""
        path = folder / f"{self.name}.safetensors"
        save_file(self.module.state_dict(), path)
        return Weights(
            self.name, self.task, self.size, folder, {"safetensors": path.name}, {path.name: sha256_of(path)}
        )


Pair = tuple[Model, Model]


@dataclass(frozen=True)
class Budget:
    """How long the whole benchmark may take, from its beginning."""

    length_s: float
    began_s: float = field(default_factory=time.monotonic)

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.began_s

    def allows(self, next_s: float, share: float = 1.0) -> bool:
        """Whether something that takes so long still ends within this share of the time."""
        return self.spent_s + next_s <= share * self.length_s


# pairs


def _drawn(detector: str, detector_config: DetectorConfig, segmenter: str, segmenting: SegmenterConfig) -> Pair:
    """Both models with random weights from a fixed seed."""
    torch.manual_seed(_SEED)
    return (
        Model(detector, "detector", detector_config.size, lifelike(Detector(detector_config))),
        Model(segmenter, "segmenter", segmenting.size, lifelike(Segmenter(segmenting))),
    )


def _paper() -> Pair:
    detector, segmenter = "gflv2-x101-dcn", "lowrank-hrnet-w48"
    return _drawn(detector, DETECTORS[detector], segmenter, SEGMENTERS[segmenter])


def _toy() -> Pair:
    detecting = DetectorConfig(trunk=_TOY_TRUNK, neck=_TOY_NECK, size=(64, 96))
    return _drawn("toy", detecting, "toy", SegmenterConfig(trunk=_TOY_TRUNK, size=(64, 96), width=12, bases=3))


def _default() -> Pair:
    """As shipped, trained."""
    found = find_weights(DEFAULT_DETECTOR, "detector"), find_weights(DEFAULT_SEGMENTER, "segmenter")
    detector, segmenter = (Model(one.model, one.task, one.size, load_module(one)) for one in found)
    return detector, segmenter


PAIRS: dict[str, Callable[[], Pair]] = {"paper": _paper, "default": _default, "toy": _toy}


@torch.no_grad()
def lifelike(module: nn.Module) -> nn.Module:
    """A module of random weights whose features are as large as a trained one's: untouched, their size grows from
    block to block until half precision overflows, and a card computes infinities faster than numbers.

    Its deformed taps look about a pixel or two beside their places, where untouched they look exactly at them.
    """
    for layer in module.modules():
        if isinstance(layer, DeformConv2d):
            nn.init.normal_(layer.conv_offset.weight, std=_TAPS_APART_PX * layer.conv_offset.weight[0].numel() ** -0.5)
            nn.init.normal_(layer.conv_offset.bias)  # type: ignore[arg-type]
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # takes over what it sees
    cells = 60 + 140 * torch.rand(
        2, 3, 6, 6
    )  # smooth, as pictures are: white noise would leave them too large features
    smooth = nn.functional.interpolate(cells, size=(_SETTLING_PX, _SETTLING_PX), mode="bicubic")
    module.train()(smooth + 12 * torch.rand_like(smooth))
    return module.eval()


# ways


@dataclass(frozen=True)
class Opening:
    """What every way is opened with. buckets: batch sizes, the most wanted first."""

    pair: Pair
    device: str
    buckets: Sequence[int]
    budget: Budget


Engines = tuple[Engine, Engine]


@dataclass(frozen=True)
class Way:
    """precision: of weights and features. graphs: replayed from CUDA graphs, instead of call by call. open: both
    engines, and the batch sizes that they are ready for."""

    precision: str
    graphs: bool
    open: Callable[[Opening, "Way", str], tuple[Engines, Sequence[int]]]


def _eager(opening: Opening, way: Way, name: str) -> tuple[Engines, Sequence[int]]:
    detector, segmenter = (
        EagerEngine(
            copy.deepcopy(one.module),
            one.name,
            one.task,
            one.size,
            opening.device,
            name=name,
            dtype=PRECISIONS[way.precision],
        )
        for one in opening.pair
    )
    return (detector, segmenter), opening.buckets


def _compiled(opening: Opening, way: Way, name: str) -> tuple[Engines, Sequence[int]]:
    """Both models, one batch size after the other, until the time for compiling is over; one at least.

    Not `open_compiled`: its engines capture graphs of their own too, for when they are called without lanes.
    """
    dtype = PRECISIONS[way.precision]
    modules = [
        at_precision(copy.deepcopy(one.module), dtype).to(device=opening.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for one in opening.pair
    ]
    runs: list[dict[int, Run]] = [{}, {}]
    longest_s = 0.0
    for bucket in tqdm(opening.buckets, desc=f"compiling ({name})", unit="batch size", disable=None):
        if runs[1] and not opening.budget.allows(longest_s, _COMPILING_SHARE):
            break
        since_s = time.monotonic()
        for one, module, own in zip(opening.pair, modules, runs, strict=True):
            own[bucket] = compiled_run(module, example_of(one.weights(), bucket, opening.device, dtype))
        longest_s = max(longest_s, time.monotonic() - since_s)
    detector, segmenter = (
        StaticEngine(one.weights(), own, name=name, device=opening.device, key="measured only", dtype=dtype)
        for one, own in zip(opening.pair, runs, strict=True)
    )
    return (detector, segmenter), tuple(runs[1])


def _tensorrt(opening: Opening, way: Way, name: str) -> tuple[Engines, Sequence[int]]:
    """Kept in the cache of engines: a first run that did not get through builds what is missing in a second."""
    from realtime_polyp.engines.tensorrt import open_tensorrt

    with tempfile.TemporaryDirectory() as folder:
        detector, segmenter = (
            open_tensorrt(one.saved(Path(folder)), opening.device, "throughput", precision=way.precision)
            for one in opening.pair
        )
    return (detector, segmenter), opening.buckets


# By device; the first is what the card is bought for, the rest what it is compared with.
WAYS: dict[str, dict[str, Way]] = {
    "cuda": {
        "compiled-fp16": Way("float16", True, _compiled),
        "tensorrt-fp16": Way("float16", True, _tensorrt),
        "eager-fp16-graphs": Way("float16", True, _eager),
        "eager-fp16": Way("float16", False, _eager),
        "eager": Way("float32", False, _eager),
    },
    "cpu": {"compiled": Way("float32", False, _compiled), "eager": Way("float32", False, _eager)},
}
BASELINE = {"cuda": "eager-fp16", "cpu": "eager"}


def usual_ways(device: str) -> list[str]:
    """All that this machine may have."""
    has_tensorrt = importlib.util.find_spec("torch_tensorrt") is not None
    return [name for name in WAYS[device] if has_tensorrt or not name.startswith("tensorrt")]


@dataclass(frozen=True)
class Line:
    """A way that is open, and ready for batches of these sizes."""

    name: str
    engines: Engines
    buckets: Sequence[int]
    inference: CudaInference


def open_lines(names: Sequence[str], opening: Opening, notes: list[str]) -> dict[str, Line]:
    """Every way that can be had; why another could not is added to the notes, and said."""
    lines = {}
    for name in tqdm(names, desc="opening", unit="way", disable=None):
        way = WAYS[opening.device][name]
        try:
            engines, buckets = way.open(opening, way, name)
            lines[name] = Line(name, engines, buckets, line_of(engines, buckets, opening.device, way.graphs, notes))
        except FAILURES as error:  # EngineError and a full memory among them
            notes.append(f"{name} could not be measured: {first_line(error)}")
            print(notes[-1], file=sys.stderr)
    if not lines:
        raise EngineError(f"none of {', '.join(names)} runs here: {notes[-1]}")
    return lines


def traced(line: Line, device: str, trace: Spans) -> CudaInference:
    """The same engines on lanes that tell when they worked."""
    return line_of(line.engines, line.buckets, device, WAYS[device][line.name].graphs, [], trace)


def line_of(
    engines: Engines, buckets: Sequence[int], device: str, graphs: bool, notes: list[str], trace: Spans | None = None
) -> CudaInference:
    """Notes what could not be captured into a graph."""
    lanes: DeviceStreams = CudaStreams(graphs=graphs, timed=trace is not None) if device == "cuda" else CpuStreams()
    detector, segmenter = engines
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inference = CudaInference(detector, segmenter, lanes=lanes, buckets=buckets, trace=trace)  # type: ignore[arg-type]
    notes.extend(str(one.message) for one in caught if "CUDA graph" in str(one.message))
    return inference
