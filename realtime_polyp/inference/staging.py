"""The buffers of the batches under way: a ring of slots, each of pinned host memory and its twin on the device."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realtime_polyp.inference.cuda_streams import DeviceStreams

_ALIGNED_BYTES = 256  # where a GPU likes rows to begin
_GROWTH = 1.25  # of the upload buffers, so that a field growing step by step does not replace them each time

Shape = tuple[int, ...]


class StagingBuffer:
    """What one batch owns from upload to download; addresses stay until a larger picture comes.

    pixels: {model size (h, w): (largest batch, 3, h, w) uint8 on the device}. answers_length: float32 values that come
    back at most.
    """

    def __init__(
        self, lanes: DeviceStreams, sizes: Iterable[tuple[int, int]], largest_batch: int, answers_length: int
    ) -> None:
        self._lanes = lanes
        self.pixels = {size: _pixels(largest_batch, size, lanes.device) for size in sizes}
        self._host_bytes, self._device_bytes = _twins(0, torch.uint8, lanes)
        self._host_answers, self.answers = _twins(answers_length, torch.float32, lanes)
        self._filled = 0

    def fill(self, parts: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """Copy arrays into the host's buffer; returns where `upload` will put each of them on the device."""
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
        self._host_answers[:length].copy_(self.answers[:length], non_blocking=True)

    def answer(self, place: slice, shape: Shape) -> NDArray[np.float32]:
        """A part of what was downloaded, as an array of its own: the slot's next batch overwrites the buffer."""
        return np.array(self._host_answers[place].numpy().reshape(shape))

    def _reserve(self, length: int) -> None:
        if length > len(self._host_bytes):  # safe: a slot is filled only when nothing on the device uses it
            self._host_bytes, self._device_bytes = _twins(round(length * _GROWTH), torch.uint8, self._lanes)


class StagingPool:
    """Slots, each lent to one batch at a time."""

    def __init__(self, slots: Sequence[StagingBuffer]) -> None:
        self._free, self._lent = list(slots), list[StagingBuffer]()

    def take(self) -> StagingBuffer:
        """RuntimeError when all are lent: a batch must be collected first."""
        if not self._free:
            raise RuntimeError(f"{len(self._lent)} batches are under way, as many as there are buffers: collect one")
        self._lent.append(self._free.pop(0))
        return self._lent[-1]

    def give_back(self, slot: StagingBuffer) -> None:
        """RuntimeError when it was not lent: its batch has been collected already."""
        if not any(slot is lent for lent in self._lent):
            raise RuntimeError("this batch has been collected already: each may be collected once")
        self._lent.remove(slot)
        self._free.append(slot)


def places_of(shapes: Iterable[Shape]) -> list[slice]:
    """Where arrays of these shapes lie in one flat buffer, one behind the other."""
    ends = [0, *accumulate(prod(shape) for shape in shapes)]
    return [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]


def _aligned(length: int) -> int:
    return -(-length // _ALIGNED_BYTES) * _ALIGNED_BYTES


def _pixels(count: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Channels last, as `prepare` gives them and convolutions like them."""
    return torch.zeros((count, *size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


def _twins(length: int, dtype: torch.dtype, lanes: DeviceStreams) -> tuple[Tensor, Tensor]:
    host = torch.empty(length, dtype=dtype, pin_memory=lanes.pinned)
    return host, torch.empty(length, dtype=dtype, device=lanes.device)
