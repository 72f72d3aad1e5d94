"""Flips, crops and affine transforms of a batch with its label maps, and the boxes of the polyps, on the device.

Images are sampled linearly and label maps at the nearest pixel; outside is black and background, as in albumentations.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from trainers.data.device.operations import on_device, rounded


def affine_matrices(
    rotate_deg: NDArray[np.float64],
    scale: NDArray[np.float64],
    shear_deg: NDArray[np.float64],
    shift_px: NDArray[np.float64],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """Return matrices (N, 3, 3) that take px of the source to px of the result, about the centre of (h, w).

    rotate_deg, scale: (N,); shear_deg, shift_px: (N, 2), x and y. Order and signs are those of albumentations.
    """
    angle, shear = np.deg2rad(rotate_deg), np.tan(np.deg2rad(shear_deg))
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    lean = np.tile(np.eye(2), (len(angle), 1, 1))
    lean[:, 0, 1], lean[:, 1, 0] = shear[:, 0], shear[:, 1]
    centre = np.array([size[1], size[0]]) / 2 - 0.5
    matrices = np.tile(np.eye(3), (len(angle), 1, 1))
    matrices[:, :2, :2] = lean @ turn * scale[:, None, None]
    matrices[:, :2, 2] = centre + shift_px - matrices[:, :2, :2] @ centre
    return matrices


def flip_matrix(width: int) -> NDArray[np.float64]:
    return np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])


def warp(images: Tensor, labels: Tensor, matrices: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Transform images (n, 3, h, w) and label maps (n, h, w), float32 levels and numbers, by matrices (n, 3, 3)."""
    inverse = on_device(np.linalg.inv(matrices)[:, :2], images)
    height, width = labels.shape[1:]
    columns = torch.arange(width, device=images.device, dtype=torch.float32)
    rows = torch.arange(height, device=images.device, dtype=torch.float32)[:, None]
    a, b, c = (inverse[:, :, place, None, None] for place in range(3))
    x, y = (a * columns + b * rows + c).unbind(1)
    return rounded(sample(images, x, y)), sample(labels[:, None], x, y, nearest=True)[:, 0]


def crop(images: Tensor, labels: Tensor, edges: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Cut images and label maps to edges (n, 4), left, top, right, bottom px, and enlarge them to their old size."""
    height, width = labels.shape[1:]
    left, top, right, bottom = on_device(edges.T, images)[..., None]
    columns = torch.arange(width, device=images.device, dtype=torch.float32)
    rows = torch.arange(height, device=images.device, dtype=torch.float32)
    step_x, step_y = (right - left) / width, (bottom - top) / height
    x = ((columns + 0.5) * step_x - 0.5 + left).clamp(left, right - 1)
    y = ((rows + 0.5) * step_y - 0.5 + top).clamp(top, bottom - 1)
    enlarged = rounded(sample(images, *_grid(x, y)))
    nearest = _grid(torch.floor(columns * step_x) + left, torch.floor(rows * step_y) + top)
    return enlarged, sample(labels[:, None], *nearest, nearest=True)[:, 0]


def _grid(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])


def sample(images: Tensor, x: Tensor, y: Tensor, *, nearest: bool = False, padding: str = "zeros") -> Tensor:
    """Return images (n, c, h, w) at the px coordinates x, y (n, h', w')."""
    height, width = images.shape[-2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    mode = "nearest" if nearest else "bilinear"
    return grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


def polyp_boxes(labels: Tensor, *, least_px: int = 16) -> list[Tensor]:
    """Return tight boxes (n, 4) xyxy of the polyps of each label map (N, h, w) uint8 that cover at least `least_px`."""
    height, width = labels.shape[1:]
    numbers = torch.arange(1, int(labels.max()) + 1, device=labels.device, dtype=labels.dtype)
    found = labels[:, None] == numbers[:, None, None]
    size_px = found.sum((2, 3))
    y1, y2 = _ends(found.any(3), height)
    x1, x2 = _ends(found.any(2), width)
    boxes = torch.stack([x1, y1, x2, y2], dim=-1).float()
    kept = (size_px >= least_px).cpu()  # the device is waited for here
    index = kept.flatten().nonzero()[:, 0].to(labels.device)
    return list(boxes.flatten(0, 1)[index].split(kept.sum(1).tolist()))


def _ends(occupied: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return first and last + 1 of the true places along the last dimension; without any, `length` and 0."""
    places = torch.arange(length, device=occupied.device)
    first = torch.where(occupied, places, length).amin(-1)
    return first, torch.where(occupied, places + 1, 0).amax(-1)
