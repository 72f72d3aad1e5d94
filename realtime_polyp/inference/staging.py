"""Staging buffers: pinned host memory and its counterpart on the device, one for each batch in flight."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realtime_polyp.inference.cuda_streams import DeviceStreams

_ALIGNED_BYTES = 256  # alignment of each array in the upload
_GROWTH = 1.25  # spare room of the upload, so that a field of view that grows in steps does not replace it each time

Shape = tuple[int, ...]


class StagingBuffer:
    """The memory that one batch owns from upload to download; addresses change only for a larger picture.

    Attributes:
        pixels: {model size (h, w): (largest batch, 3, h, w) uint8 on the device}.
        outputs: float32 values on the device, at most `outputs_length`.
    """

    def __init__(
        self, streams: DeviceStreams, sizes: Iterable[tuple[int, int]], largest_batch: int, outputs_length: int
    ) -> None:
        self._streams = streams
        self.pixels = {size: _pixels(largest_batch, size, streams.device) for size in sizes}
        self._host_bytes, self._device_bytes = _allocate_pair(0, torch.uint8, streams)
        self._host_outputs, self.outputs = _allocate_pair(outputs_length, torch.float32, streams)
        self._filled = 0

    def fill(self, parts: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Copy arrays into host memory; returns the tensors on the device that `upload` will fill."""
        starts = [0, *accumulate(_aligned(part.size) for part in parts)]
        self._reserve(starts[-1])
        self._filled = starts[-1]
        host = self._host_bytes.numpy()
        for start, part in zip(starts, parts, strict=False):
            np.copyto(host[start : start + part.size].reshape(part.shape), part)
        return [
            self._device_bytes[start : start + part.size].view(part.shape)
            for start, part in zip(starts, parts, strict=False)
        ]

    def upload(self) -> None:
        self._device_bytes[: self._filled].copy_(self._host_bytes[: self._filled], non_blocking=True)

    def download(self, length: int) -> None:
        self._host_outputs[:length].copy_(self.outputs[:length], non_blocking=True)

    def read(self, part: slice, shape: Shape) -> NDArray[np.float32]:
        """A copy of a part of the download; the next batch overwrites the buffer."""
        return np.array(self._host_outputs[part].numpy().reshape(shape))

    def _reserve(self, length: int) -> None:
        if length > len(self._host_bytes):  # safe: a buffer is filled only when nothing on the device uses it
            self._host_bytes, self._device_bytes = _allocate_pair(round(length * _GROWTH), torch.uint8, self._streams)


class StagingPool:
    """Staging buffers, each used by one batch at a time."""

    def __init__(self, buffers: Sequence[StagingBuffer]) -> None:
        self._free, self._in_use = list(buffers), list[StagingBuffer]()

    def take(self) -> StagingBuffer:
        """Raises RuntimeError when all are in use: a batch must be collected first."""
        if not self._free:
            raise RuntimeError(f"{len(self._in_use)} batches are in flight, as many as there are buffers: collect one")
        self._in_use.append(self._free.pop(0))
        return self._in_use[-1]

    def release(self, buffer: StagingBuffer) -> None:
        """Raises RuntimeError when it is not in use: its batch has been collected already."""
        if not any(buffer is one for one in self._in_use):
            raise RuntimeError("this batch has been collected already: each may be collected once")
        self._in_use.remove(buffer)
        self._free.append(buffer)


def layout_slices(shapes: Iterable[Shape]) -> list[slice]:
    """The slices of one flat buffer that hold arrays of these shapes, one after the other."""
    ends = [0, *accumulate(prod(shape) for shape in shapes)]
    return [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]


def _aligned(length: int) -> int:
    return -(-length // _ALIGNED_BYTES) * _ALIGNED_BYTES


def _pixels(count: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """In channels-last memory, as `prepare` lays pixels out."""
    return torch.zeros((count, *size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


def _allocate_pair(length: int, dtype: torch.dtype, streams: DeviceStreams) -> tuple[Tensor, Tensor]:
    host = torch.empty(length, dtype=dtype, pin_memory=streams.pinned)
    return host, torch.empty(length, dtype=dtype, device=streams.device)
