"""An engine with fixed batch sizes: the common part of compiled and TensorRT engines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from realtime_polyp.engines.base import BaseEngine, EngineError, Pixels, as_answer
from realtime_polyp.engines.cuda_graphs import CudaGraphOfBatch
from realtime_polyp.engines.weights import Weights

# Pixels (bucket, 3, h, w) in the engine's type, channels last -> float32 outputs.
Run = Callable[[Tensor], tuple[Tensor, ...]]
BUCKETS = (1, 2, 4, 8)  # batch sizes that graphs are compiled for


class StaticEngine(BaseEngine):
    """An engine made of one graph per batch size. Batches are split and padded to these sizes.

    Args:
        runs: {batch size: graph}.
        replays: the same as CUDA graphs; None: `runs` are called instead.
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

    def __call__(self, pixels: Pixels) -> Any:
        return as_answer([output.cpu().numpy() for output in self._run(torch.from_numpy(pixels), self._replays)])

    def on_device(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """As `Engine.on_device`; without CUDA graphs of its own, so that another graph can capture it."""
        return self._run(pixels, self._runs)

    @torch.inference_mode()
    def _run(self, pixels: Tensor, runs: Mapping[int, Run]) -> tuple[Tensor, ...]:
        buckets = tuple(runs)
        parts = []
        for part in split_batch(len(pixels), buckets):
            images = pixels[part].to(self.device)
            batch = pad_batch(images, bucket_for(len(images), buckets))
            outputs = runs[len(batch)](as_compiled(batch, self._dtype))
            parts.append(tuple(output[: len(images)] for output in outputs))
        return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))


def bucket_for(count: int, buckets: Sequence[int] = BUCKETS) -> int:
    """Return the smallest bucket that holds `count` images. Raises ValueError when none does."""
    fitting = [bucket for bucket in buckets if bucket >= count]
    if not fitting or count < 1:
        raise ValueError(f"a batch must have 1 to {max(buckets)} images, got {count}")
    return min(fitting)


def split_batch(count: int, buckets: Sequence[int] = BUCKETS) -> list[slice]:
    """Cut `count` images into parts that fit a bucket: as many of the largest as possible, then the rest."""
    largest = max(buckets)
    return [slice(start, min(start + largest, count)) for start in range(0, count, largest)]


def pad_batch(pixels: Tensor, bucket: int) -> Tensor:
    """Append black images: pixels (n, 3, h, w) -> (bucket, 3, h, w); returns `pixels` itself when none is missing."""
    missing = bucket - len(pixels)
    if not missing:
        return pixels
    return torch.cat([pixels, pixels.new_zeros((missing, *pixels.shape[1:]))])


@torch.inference_mode()
def capture_runs(runs: Mapping[int, Run], weights: Weights, device: str, dtype: torch.dtype) -> dict[int, Run]:
    """Capture a CUDA graph for each batch size, the largest first: smaller ones then fit into its memory."""
    graphs: dict[int, Run] = {}
    pool = torch.cuda.graph_pool_handle()
    for bucket in sorted(runs, reverse=True):
        graphs[bucket] = CudaGraphOfBatch(runs[bucket], example_of(weights, bucket, device, dtype), pool=pool)
    return graphs


def example_of(weights: Weights, bucket: int, device: str, dtype: torch.dtype) -> Tensor:
    """Return a black batch with the type and strides that runs expect."""
    return as_compiled(torch.zeros((bucket, 3, *weights.size), device=device), dtype)


def as_compiled(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert to this type and to channels-last strides: a graph is compiled for exactly these."""
    return pixels.to(dtype).contiguous(memory_format=torch.channels_last)


def require_device(device: str) -> None:
    """Raise EngineError for "cuda" where torch sees no GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("device cuda: torch sees no GPU here; use --device cpu")


def machine_of(device: str) -> dict[str, str]:
    """Return what a compiled graph depends on besides its model: versions, and the GPU."""
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
    """Return the first line of an error message, without the full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")
