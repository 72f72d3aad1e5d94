"""JPEG compression of a batch on its device: what libjpeg loses at a quality, without the file.

Source: libjpeg-turbo (jccolor.c, jcsample.c, jcparam.c, jfdctint.c, jidctint.c, jdsample.c). Nearly all levels equal
its own; where a coefficient lies half way between two steps, a block may differ by some levels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from trainers.data.device.operations import Numbers, on_device, rounded

# Annex K of the standard: the tables of luma and chroma at quality 50.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
_ROOT_8 = 8**0.5
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def jpeg(images: Tensor, quality: Numbers) -> Tensor:
    """Compress images (n, 3, h, w), h and w multiples of 16, at their qualities (n,), chroma at half the size.

    As in albumentations, the codec takes red for blue and blue for red.
    """
    planes = rounded(_mix(images.flip(1), _TO_YCC) + images.new_tensor([0.0, 128.0, 128.0]).view(1, 3, 1, 1))
    luma = _quantise(planes[:, :1], on_device(_tables(_LUMA, quality), images))
    chroma = _quantise(_halve(planes[:, 1:]), on_device(_tables(_CHROMA, quality), images))
    chroma = _double(chroma)
    return rounded(_mix(torch.cat([luma, chroma - 128], 1), _TO_RGB)).flip(1)


def _mix(planes: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("dc,nchw->ndhw", planes.new_tensor(matrix), planes)


def _halve(planes: Tensor) -> Tensor:
    """Average squares of four pixels; ties are rounded down and up by turns, as in jcsample.c."""
    n, channels, height, width = planes.shape
    sums = planes.view(n, channels, height // 2, 2, width // 2, 2).sum((3, 5))
    bias = 1 + torch.arange(width // 2, device=planes.device) % 2
    return ((sums + bias) / 4).floor_()


def _double(planes: Tensor) -> Tensor:
    """Interpolate to twice the size; ties are rounded up and down by turns, as in jdsample.c."""
    doubled = interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
    return doubled.add_(0.5 - torch.arange(doubled.shape[-1], device=planes.device) % 2 / 16).floor_()


def _quantise(planes: Tensor, tables: Tensor) -> Tensor:
    """Round the coefficients of all blocks of 8x8 to multiples of a table (n, 8, 8).

    Both transforms round between rows and columns, as libjpeg's do: a coefficient next to half a step depends on it.
    """
    n, channels, height, width = planes.shape
    cosines = on_device(_cosines(), planes)
    blocks = (planes - 128).view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = tables.view(n, 1, 1, 1, 8, 8)
    coefficients = _half_up(cosines @ _half_up(blocks @ cosines.T * (4 * _ROOT_8)) * (_ROOT_8 / 4))
    coefficients = coefficients.sign() * ((coefficients.abs() + 4 * steps) / (8 * steps)).floor_() * steps
    decoded = _half_up(_half_up(cosines.T @ coefficients * (4 * _ROOT_8)) @ cosines * (_ROOT_8 / 32))
    return (decoded.transpose(3, 4).reshape(planes.shape) + 128).clamp_(0, 255)


def _half_up(numbers: Tensor) -> Tensor:
    return numbers.add_(0.5).floor_()


def _cosines() -> NDArray[np.float64]:
    """Return the orthonormal discrete cosine transform of eight numbers, (8, 8)."""
    angles = np.pi * np.outer(np.arange(8), 2 * np.arange(8) + 1) / 16
    return np.cos(angles) * np.where(np.arange(8) == 0, np.sqrt(1 / 8), 1 / 2)[:, None]


def _tables(base: tuple[int, ...], quality: Numbers) -> NDArray[np.int64]:
    """Return the quantisation tables (n, 8, 8) of libjpeg at each quality 1..100."""
    percent = np.where(quality < 50, 5000 // np.maximum(quality, 1), 200 - 2 * quality).astype(np.int64)
    return np.clip((np.array(base).reshape(8, 8) * percent[:, None, None] + 50) // 100, 1, 255)
