"""Batch sizes that graphs are compiled for: any number of images is cut into them, and the last piece filled up."""

from collections.abc import Sequence

import torch
from torch import Tensor

BUCKETS = (1, 2, 4, 8)


def bucket_for(count: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The smallest bucket that holds `count` images. ValueError when none does."""
    fitting = [bucket for bucket in buckets if bucket >= count]
    if not fitting or count < 1:
        raise ValueError(f"a batch must have 1 to {max(buckets)} images, got {count}")
    return min(fitting)


def pieces(count: int, buckets: Sequence[int] = BUCKETS) -> list[slice]:
    """Where to cut `count` images, so that each piece fits a bucket: largest ones, then what is left."""
    largest = max(buckets)
    return [slice(start, min(start + largest, count)) for start in range(0, count, largest)]


def padded(pixels: Tensor, bucket: int) -> Tensor:
    """pixels (n, 3, h, w) -> (bucket, 3, h, w), black images behind; itself where nothing is missing."""
    missing = bucket - len(pixels)
    if not missing:
        return pixels
    return torch.cat([pixels, pixels.new_zeros((missing, *pixels.shape[1:]))])


def joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The answers of all pieces, one behind the other."""
    return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))
