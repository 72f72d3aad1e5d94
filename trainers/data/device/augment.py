"""The augmentation recipes of `trainers/data/augment.py` on the device: whole batches, equal in distribution.

Plain torch, not kornia: kornia draws from one generator for the whole batch, so an image would depend on its
neighbours, and a resumed run on where it broke off. It has one blur kernel size a batch, and its colour changes keep
fractions of levels where albumentations does not. Here each image's random numbers follow from its own seed.
`operations.py` has the single changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from albumentations.augmentations.blur.functional import create_gaussian_kernel_1d, create_motion_kernel
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.augment import AugmentConfig
from trainers.data.device import operations
from trainers.data.device.geometry import affine_matrices, crop, flip_matrix, warp
from trainers.data.device.jpeg import jpeg
from trainers.data.stain import COLUMNS, stains

Numbers = NDArray[Any]

_DRAWS = 192  # random numbers of an image, 190 of them used
_BLUR_PX = 9  # largest blur kernel
_MOST_SPOTS = 24


@dataclass(frozen=True)
class Geometry:
    """How the images of a batch change their shape.

    Attributes:
        flip: (N,) whether an image is flipped, which comes first.
        cropped: (N,) whether it is cropped then.
        edges: (N, 4) left, top, right, bottom of the crop, px.
        matrices: (N, 3, 3) the affine transform that follows, the identity where none was drawn.
    """

    flip: NDArray[np.bool_]
    cropped: NDArray[np.bool_]
    edges: NDArray[np.int64]
    matrices: NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One change of some images of a batch.

    Attributes:
        change: takes images (n, 3, h, w) and `values`, and returns the changed images.
        chosen: (N,) which images change.
        values: parameters of the change, each with one row for every image of the batch.
    """

    change: Callable[..., Tensor]
    chosen: NDArray[np.bool_]
    values: tuple[Numbers, ...]


class Uniforms:
    """Uniform random numbers of N images, one row each; every call takes the next column."""

    def __init__(self, seeds: Numbers, columns: int = _DRAWS) -> None:
        self._rows = np.stack([np.random.default_rng(int(seed)).random(columns) for seed in seeds])
        self._next = 0

    def between(self, low: float, high: float, columns: int = 1) -> NDArray[np.float64]:
        """Return numbers of [low, high): (N,), or (N, columns) for several."""
        taken = self._rows[:, self._next : self._next + columns]
        if taken.shape[1] < columns:
            raise IndexError(f"{self._rows.shape[1]} random numbers for an image are too few")
        self._next += columns
        return low + (high - low) * (taken if columns > 1 else taken[:, 0])

    def whole(self, low: int, high: int) -> NDArray[np.int64]:
        """Return whole numbers from low to high, both included."""
        return np.floor(self.between(low, high + 1)).astype(np.int64)

    def happens(self, probability: float) -> NDArray[np.bool_]:
        return self.between(0, 1) < probability


def augment(images: Tensor, labels: Tensor, config: AugmentConfig, seeds: Numbers) -> tuple[Tensor, Tensor]:
    """Augment images (N, 3, h, w) uint8 and label maps (N, h, w) uint8; each depends on its own seed (N,) only."""
    draws = Uniforms(seeds)
    size = (labels.shape[1], labels.shape[2])
    levels, numbers = change_geometry(images.float(), labels.float(), draw_geometry(config, draws, size))
    colour, degradation = draw_colour(config, draws), draw_degradation(config, draws, seeds)
    for step in [draw_stain(config, draws), *colour, *degradation]:
        levels = apply(step, levels)
    return levels.to(torch.uint8), numbers.to(torch.uint8)


def apply(step: Step, images: Tensor) -> Tensor:
    """Apply a change to its images of the batch."""
    index = np.flatnonzero(step.chosen)
    if len(index) == len(images):
        return step.change(images, *step.values)
    if len(index):
        places = torch.from_numpy(index).to(images.device)
        images[places] = step.change(images[places], *(values[index] for values in step.values))
    return images


def draw_geometry(config: AugmentConfig, draws: Uniforms, size: tuple[int, int]) -> Geometry:
    flip = draws.happens(config.flip_probability)
    cropped = draws.happens(0.5 if config.crop else 0.0)
    left, top, right, bottom = draws.between(0, config.crop, 4).T
    height, width = size
    far_edges = (width - np.floor(right * width), height - np.floor(bottom * height))
    edges = np.stack([np.floor(left * width), np.floor(top * height), *far_edges], 1).astype(np.int64)
    transformed = draws.happens(config.geometry_probability)
    matrices = affine_matrices(
        draws.between(-config.rotate_deg, config.rotate_deg),
        draws.between(*config.scale),
        draws.between(-config.shear_deg, config.shear_deg, 2),
        np.trunc(draws.between(-config.shift, config.shift, 2) * (width, height)),
        size,
    )
    return Geometry(flip, cropped, edges, np.where(transformed[:, None, None], matrices, np.eye(3)))


def change_geometry(images: Tensor, labels: Tensor, drawn: Geometry) -> tuple[Tensor, Tensor]:
    """Flip, crop and transform float images and label maps; a flip and a transform share one resampling."""
    index, flip = np.flatnonzero(drawn.cropped), drawn.flip
    if len(index):
        places = torch.from_numpy(index).to(images.device)
        flip_matrices = np.where(flip[index, None, None], flip_matrix(images.shape[-1]), np.eye(3))
        flipped = warp(images[places], labels[places], flip_matrices)
        images[places], labels[places] = crop(*flipped, drawn.edges[index])
        flip = flip & ~drawn.cropped
    matrices = np.where(flip[:, None, None], drawn.matrices @ flip_matrix(images.shape[-1]), drawn.matrices)
    return (images, labels) if (matrices == np.eye(3)).all() else warp(images, labels, matrices)


def draw_colour(config: AugmentConfig, draws: Uniforms) -> list[Step]:
    brightness = draws.between(-config.brightness_levels, config.brightness_levels)
    has_balance = bool(config.white_balance)
    return [
        Step(
            operations.gamma,
            draws.happens(config.gamma_probability),
            (draws.between(*config.gamma_percent) / 100,),
        ),
        Step(operations.add_levels, draws.happens(0.5 if config.brightness_levels else 0.0), (brightness,)),
        *_draw_jitter(config, draws),
        _draw_sharpening(config, draws),
        Step(
            operations.grey_world,
            draws.happens(0.25 if config.grey_world else 0.0),
            (draws.between(0, config.grey_world),),
        ),
        Step(
            operations.scale_levels,
            draws.happens(0.5 if has_balance else 0.0),
            (draws.between(1 - config.white_balance, 1 + config.white_balance, 3),),
        ),
    ]


def _draw_jitter(config: AugmentConfig, draws: Uniforms) -> list[Step]:
    """Brightness, contrast, saturation and hue, in an order of its own for each image."""
    chosen = draws.happens(config.colour_probability)
    factors: list[tuple[Callable[..., Tensor], Numbers]] = [
        (change, draws.between(1 - most, 1 + most))
        for change, most in (
            (operations.scale_levels, config.brightness),
            (operations.contrast, config.contrast),
            (operations.saturation, config.saturation),
        )
    ]
    factors += [(operations.hue, draws.between(-config.hue, config.hue))] if config.hue else []
    order = draws.between(0, 1, 4).argsort(axis=1)
    return [
        Step(change, chosen & (order[:, place] == number), (factor,))
        for place in range(4)
        for number, (change, factor) in enumerate(factors)
    ]


def _draw_sharpening(config: AugmentConfig, draws: Uniforms) -> Step:
    share, lightness = draws.between(0.2, 0.5), draws.between(0.5, 1.0)
    kernels = np.broadcast_to(-share[:, None, None], (len(share), 3, 3)).copy()
    kernels[:, 1, 1] = 1 - share + share * (8 + lightness)
    return Step(operations.convolve, draws.happens(config.sharpness_probability), (kernels,))


def draw_degradation(config: AugmentConfig, draws: Uniforms, seeds: Numbers) -> list[Step]:
    coarse, is_jpeg = draws.happens(config.coarse_probability), draws.happens(0.5)
    noise = tuple(255 * draws.between(*limits) for limits in (config.noise_mean, config.noise_std))
    return [
        _draw_highlights(config, draws),
        _draw_blur(config, draws, seeds),
        Step(jpeg, coarse & is_jpeg, (draws.whole(30, 80),)),
        Step(operations.downscale, coarse & ~is_jpeg, (draws.between(0.4, 0.8),)),
        Step(operations.gaussian_noise, draws.happens(config.noise_probability), (*noise, seeds)),
    ]


def draw_stain(config: AugmentConfig, draws: Uniforms) -> Step:
    """Draw virtual stains: last, so that all other numbers stay those of settings without stains."""
    chosen = draws.happens(config.stain)
    return Step(operations.stain, chosen, stains(draws.between(0, 1, COLUMNS)))


def _draw_highlights(config: AugmentConfig, draws: Uniforms) -> Step:
    low, high = np.array([0, 0, 0.003, 0.2, 0]), np.array([1, 1, 0.02, 1, 180])
    spots = low + (high - low) * draws.between(0, 1, 5 * _MOST_SPOTS).reshape(-1, _MOST_SPOTS, 5)
    return Step(operations.specular, draws.happens(config.specular_probability), (spots, draws.whole(3, _MOST_SPOTS)))


def _draw_blur(config: AugmentConfig, draws: Uniforms, seeds: Numbers) -> Step:
    chosen, is_motion = draws.happens(config.blur_probability), draws.happens(0.5)
    motion = zip(2 * draws.whole(1, 4) + 1, draws.between(0, 360), draws.between(-1, 1), seeds, strict=True)
    gaussian = zip(draws.whole(3, 7) | 1, draws.between(0.5, 3.0), strict=True)
    kernels = np.zeros((len(seeds), _BLUR_PX, _BLUR_PX))
    for number, (moved, spread) in enumerate(zip(motion, gaussian, strict=True)):
        if chosen[number]:
            kernel = _motion_kernel(*moved) if is_motion[number] else _gaussian_kernel(*spread)
            edge = (_BLUR_PX - len(kernel)) // 2
            kernels[number, edge : _BLUR_PX - edge, edge : _BLUR_PX - edge] = kernel
    return Step(operations.convolve, chosen, (kernels,))


def _motion_kernel(size: int, angle_deg: float, direction: float, seed: int) -> Numbers:
    kernel = create_motion_kernel(int(size), angle_deg, direction, allow_shifted=True, random_state=Random(int(seed)))
    return np.asarray(kernel / kernel.sum())


def _gaussian_kernel(size: int, sigma_px: float) -> Numbers:
    taps = create_gaussian_kernel_1d(sigma_px, int(size))
    return np.outer(taps, taps)
