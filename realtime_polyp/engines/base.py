"""The interface of a compiled model: `DetectorEngine` and `SegmenterEngine`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor  # torch takes seconds to import

Pixels = NDArray[np.uint8]
RawPredictions = tuple[NDArray[np.float32], NDArray[np.float32]]
# A joint model is a detector and a segmenter in one graph; the line sees it as two engines (`halves.py`).
Task = Literal["detector", "segmenter", "joint"]
# "latency": each result as soon as possible, on all cores. "shared latency": the same on half of the cores, because
# another model runs at the same time. "throughput": as many results per second as possible.
Hint = Literal["latency", "shared latency", "throughput"]


class EngineError(ValueError):
    """The engine or its weights cannot be used; the message is one sentence with the cure."""


class Engine(Protocol):
    """A model that is ready to run.

    Attributes:
        name: the engine, such as "openvino-int8".
        model: name of the weights.
        task: "detector" or "segmenter"; "joint" for both in one.
        size: input (h, w), px.
        device: "cpu" or "cuda".
        key: identifies exactly what was compiled (`weights.engine_key`).
        notes: why a faster engine was not chosen, one sentence each.
        overlaps: `start` returns before the batch is finished.
        device_resident: `on_device` is available.
    """

    name: str
    model: str
    task: Task
    size: tuple[int, int]
    device: str
    key: str
    notes: tuple[str, ...]
    overlaps: bool
    device_resident: bool

    def on_device(self, pixels: "Tensor") -> "tuple[Tensor, ...]":
        """Run on pixels that are on the device already, and leave the outputs there.

        pixels: (N, 3, h, w), values 0..255. Returns float32 boxes (N, P, 4) and scores (N, P), or probability
        (N, h', w'), or all three. The work is queued on the current stream and never waits for the device, so a CUDA
        graph can capture it. Raises EngineError where `device_resident` is False.
        """
        ...


class DetectorEngine(Engine, Protocol):
    """A detector that is ready to run."""

    def __call__(self, pixels: Pixels) -> RawPredictions:
        """pixels (N, 3, h, w) uint8 RGB -> boxes (N, P, 4) float32 xyxy model px, scores (N, P) float32 in 0..1.

        P, the number of candidates, is the same in every batch. The line checks all of it: see `inference/checked.py`.
        """
        ...

    def start(self, pixels: Pixels) -> Callable[[], RawPredictions]:
        """Start a batch. The function returned waits for what `__call__` returns; call it exactly once."""
        ...


class SegmenterEngine(Engine, Protocol):
    """A segmenter that is ready to run."""

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """pixels (N, 3, h, w) uint8 RGB -> polyp probability (N, h', w') float32 in 0..1; h' is h, h/2 or h/4."""
        ...

    def start(self, pixels: Pixels) -> Callable[[], NDArray[np.float32]]:
        """Start a batch. The function returned waits for what `__call__` returns; call it exactly once."""
        ...


def as_answer(columns: Sequence[NDArray[np.float32]]) -> Any:
    """Return a model's outputs as its engine does: a single one itself, several as a tuple."""
    return columns[0] if len(columns) == 1 else tuple(columns)


class BaseEngine(ABC):
    """Defaults of an engine that runs one batch after the other and returns its outputs to the host."""

    name: str
    model: str
    task: Task
    size: tuple[int, int]
    device: str
    key: str
    notes: tuple[str, ...] = ()
    overlaps = False
    device_resident = False

    @abstractmethod
    def __call__(self, pixels: Pixels) -> Any: ...

    def start(self, pixels: Pixels) -> Callable[[], Any]:
        """Run the batch now. The function returned only hands its outputs over."""
        outputs = self(pixels)
        return lambda: outputs

    def on_device(self, pixels: "Tensor") -> "tuple[Tensor, ...]":
        raise EngineError(f"engine {self.name} of {self.model} cannot leave its outputs on {self.device}")
