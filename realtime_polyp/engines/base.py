"""What a compiled model looks like to everything else."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
RawPredictions = tuple[NDArray[np.float32], NDArray[np.float32]]
Task = Literal["detector", "segmenter"]
# A live source wants each result soon: alone on all cores, or shared with another model beside it, on half of them; a
# file wants all results soon.
Hint = Literal["latency", "shared latency", "throughput"]


class EngineError(ValueError):
    """The engine or its weights cannot be used; the message is one sentence with the cure."""


class Engine(Protocol):
    """name: such as "openvino-int8". model: the weights' name. size: input (h, w) px. device: where it runs.
    key: what exactly was compiled (`identity.engine_key`)."""

    name: str
    model: str
    task: Task
    size: tuple[int, int]
    device: str
    key: str


class DetectorEngine(Engine, Protocol):
    def __call__(self, pixels: Pixels) -> RawPredictions:
        """pixels (N, 3, h, w) uint8 RGB -> boxes (N, P, 4) float32 xyxy model px, scores (N, P) float32."""
        ...


class SegmenterEngine(Engine, Protocol):
    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """pixels (N, 3, h, w) uint8 RGB -> polyp probability (N, h', w') float32, h' <= h."""
        ...
