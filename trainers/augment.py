"""What a still may look like from another scope, in another hospital."""

from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes; probabilities are per image. `rotate_deg` and `shift` are symmetric."""

    rotate_deg: float = 180.0
    scale: tuple[float, float] = (0.6, 1.35)
    shift: float = 0.15
    shear_deg: float = 8.0
    gamma_percent: tuple[float, float] = (60, 160)
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.4
    hue: float = 0.04
    blur_probability: float = 0.15
    noise_probability: float = 0.15


NONE = AugmentConfig(0, (1, 1), 0, 0, (100, 100), 0, 0, 0, 0, 0, 0)


class Augment:
    """image (h, w, 3) uint8, labels (h, w) uint8, seed -> the same two, changed together."""

    def __init__(self, config: AugmentConfig = AugmentConfig()) -> None:
        self._transform = A.Compose([*_geometry(config), *_colour(config), *_degradation(config)])

    def __call__(
        self, image: NDArray[np.uint8], labels: NDArray[np.uint8], *, seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        self._transform.set_random_seed(seed)
        changed = self._transform(image=image, mask=labels)
        return changed["image"], changed["mask"]


def _geometry(config: AugmentConfig) -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(p=0.5 if config.rotate_deg else 0.0),
        A.Affine(
            scale=config.scale,
            rotate=(-config.rotate_deg, config.rotate_deg),
            translate_percent=(-config.shift, config.shift),
            shear=(-config.shear_deg, config.shear_deg),
            keep_ratio=True,
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            p=0.9,
        ),
    ]


def _colour(config: AugmentConfig) -> list[A.BasicTransform]:
    return [
        A.RandomGamma(gamma_limit=config.gamma_percent, p=0.5),
        A.ColorJitter(
            brightness=(1 - config.brightness, 1 + config.brightness),
            contrast=(1 - config.contrast, 1 + config.contrast),
            saturation=(1 - config.saturation, 1 + config.saturation),
            hue=(-config.hue, config.hue),
            p=0.8,
        ),
    ]


def _degradation(config: AugmentConfig) -> list[A.BasicTransform | A.OneOf]:
    return [
        A.OneOf([A.MotionBlur(blur_limit=(3, 9)), A.GaussianBlur(blur_limit=(3, 7))], p=config.blur_probability),
        A.GaussNoise(std_range=(0.01, 0.05), p=config.noise_probability),
    ]
