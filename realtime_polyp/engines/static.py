"""Engines of fixed batch sizes on one device: what compiled and TensorRT engines have in common."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realtime_polyp.engines.base import BaseEngine, EngineError, Pixels, RawPredictions
from realtime_polyp.engines.buckets import bucket_for, joined, padded, pieces
from realtime_polyp.engines.cuda_graphs import CudaGraphOfBatch
from realtime_polyp.engines.weights import Weights

# Pixels (bucket, 3, h, w) of the engine's type, channels last -> float32 answers.
Run = Callable[[Tensor], tuple[Tensor, ...]]


class StaticEngine(BaseEngine):
    """runs: a graph for each batch size. replays: the same graphs as CUDA graphs, where there are some.

    notes: what a person should know of how this engine was chosen, one sentence each.
    """

    device_resident = True

    def __init__(
        self,
        weights: Weights,
        runs: Mapping[int, Run],
        *,
        name: str,
        device: str,
        key: str,
        dtype: torch.dtype,
        replays: Mapping[int, Run] | None = None,
    ) -> None:
        self.name, self.model, self.task, self.size = name, weights.model, weights.task, weights.size
        self.device, self.key = device, key
        self._dtype, self._runs, self._replays = dtype, runs, replays or runs

    def __call__(self, pixels: Pixels) -> RawPredictions | NDArray[np.float32]:
        columns = [answer.cpu().numpy() for answer in self._answers(torch.from_numpy(pixels), self._replays)]
        return (columns[0], columns[1]) if self.task == "detector" else columns[0]

    def on_device(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """pixels (N, 3, h, w) in 0..255 on the device -> boxes (N, P, 4) and scores (N, P), or probability (N, h', w').

        Queued on the current stream without waiting for it, and without graphs of its own: it can be captured.
        """
        return self._answers(pixels, self._runs)

    @torch.inference_mode()
    def _answers(self, pixels: Tensor, runs: Mapping[int, Run]) -> tuple[Tensor, ...]:
        buckets = tuple(runs)
        parts = []
        for piece in pieces(len(pixels), buckets):
            images = pixels[piece].to(self.device)
            full = padded(images, bucket_for(len(images), buckets))
            answers = runs[len(full)](as_compiled(full, self._dtype))
            parts.append(tuple(answer[: len(images)] for answer in answers))
        return joined(parts)


@torch.inference_mode()
def capture_runs(runs: Mapping[int, Run], weights: Weights, device: str, dtype: torch.dtype) -> dict[int, Run]:
    """Capture a CUDA graph for each batch size, the largest first: smaller ones then fit into its memory."""
    graphs: dict[int, Run] = {}
    pool = torch.cuda.graph_pool_handle()
    for bucket in sorted(runs, reverse=True):
        graphs[bucket] = CudaGraphOfBatch(runs[bucket], example_of(weights, bucket, device, dtype), pool=pool)
    return graphs


def example_of(weights: Weights, bucket: int, device: str, dtype: torch.dtype) -> Tensor:
    """A black batch exactly as runs are given theirs."""
    return as_compiled(torch.zeros((bucket, 3, *weights.size), device=device), dtype)


def as_compiled(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Of this type and channels last in memory: other strides would be another graph."""
    return pixels.to(dtype).contiguous(memory_format=torch.channels_last)


def require_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("device cuda: torch sees no GPU here; use --device cpu")


def machine_of(device: str) -> dict[str, str]:
    """What a compiled graph depends on besides its model: versions, and which GPU."""
    if device != "cuda":
        return {"torch": torch.__version__, "device": device}
    major, minor = torch.cuda.get_device_capability()
    return {
        "torch": torch.__version__,
        "device": device,
        "gpu": torch.cuda.get_device_name(),
        "capability": f"{major}.{minor}",
        "cuda": str(torch.version.cuda),
    }


def first_line(error: BaseException) -> str:
    """What an error says, as part of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")
