"""What a still may look like from another scope, in another hospital."""

from dataclasses import dataclass
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes; probabilities are per image. `rotate_deg`, `shift`, `hue` and such are symmetric.

    crop: the most that a random crop cuts off each side. brightness_levels: added to all levels of 0..255, at most.
    white_balance: relative gain of a channel. grey_world: share of the way to a picture whose channels have one mean
    (colour constancy), where applied. copy_paste, mosaic: chance of a picture made of several (`compose.py`).
    """

    flip_probability: float = 0.5
    geometry_probability: float = 0.9
    rotate_deg: float = 180.0
    scale: tuple[float, float] = (0.6, 1.35)
    shift: float = 0.15
    shear_deg: float = 8.0
    crop: float = 0.0
    gamma_percent: tuple[float, float] = (60, 160)
    gamma_probability: float = 0.5
    brightness_levels: int = 0
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.4
    hue: float = 0.04
    colour_probability: float = 0.8
    sharpness_probability: float = 0.0
    white_balance: float = 0.0
    grey_world: float = 0.0
    specular_probability: float = 0.0
    blur_probability: float = 0.15
    noise_probability: float = 0.15
    noise_std: tuple[float, float] = (0.01, 0.05)
    noise_mean: tuple[float, float] = (0.0, 0.0)
    coarse_probability: float = 0.0
    copy_paste: float = 0.0
    mosaic: float = 0.0


NONE = AugmentConfig(
    flip_probability=0, geometry_probability=0, gamma_probability=0, colour_probability=0, blur_probability=0,
    noise_probability=0,
)  # fmt: skip
OURS = AugmentConfig()
STRONG = AugmentConfig(
    scale=(0.6, 1.5), white_balance=0.15, grey_world=0.8, specular_probability=0.2, blur_probability=0.2,
    coarse_probability=0.2, copy_paste=0.3, mosaic=0.05,
)  # fmt: skip
# The paper, section 3.1; what it made once, offline (rotation with probability 0.75, gamma, brightness), is drawn anew
# each epoch here.
PAPER_DETECTOR = AugmentConfig(
    geometry_probability=0.75, scale=(1, 1), shift=0, shear_deg=0, crop=0.2, gamma_percent=(50, 200),
    gamma_probability=0.5, brightness_levels=10, colour_probability=0, blur_probability=0, noise_probability=0,
)  # fmt: skip
# Section 3.2: flips and rotation with probability 0.5; shifts of brightness, colour, sharpness and contrast; noise
# N(0.2, 0.3), taken to be in levels of 0..255, as in the augmentation that polyp segmentation code commonly carries.
PAPER_SEGMENTER = AugmentConfig(
    geometry_probability=0.5, scale=(1, 1), shift=0, shear_deg=0, gamma_probability=0, brightness=0.5, contrast=0.5,
    saturation=0.5, hue=0, colour_probability=0.5, sharpness_probability=0.5, blur_probability=0,
    noise_probability=0.5, noise_std=(0.3 / 255, 0.3 / 255), noise_mean=(0.2 / 255, 0.2 / 255),
)  # fmt: skip


class Augment:
    """image (h, w, 3) uint8, labels (h, w) uint8, seed -> the same two, changed together."""

    def __init__(self, config: AugmentConfig = AugmentConfig()) -> None:
        self.config = config
        self._transform = A.Compose([*_geometry(config), *_colour(config), *_degradation(config)])

    def __call__(self, image: Image, labels: Image, *, seed: int) -> tuple[Image, Image]:
        self._transform.set_random_seed(seed)
        changed = self._transform(image=image, mask=labels)
        return changed["image"], changed["mask"]


def _geometry(config: AugmentConfig) -> list[Any]:
    crop = config.crop
    return [
        A.HorizontalFlip(p=config.flip_probability),
        A.CropAndPad(percent=(-crop, 0), sample_independently=True, p=0.5 if crop else 0.0),
        A.Affine(
            scale=config.scale,
            rotate=(-config.rotate_deg, config.rotate_deg),
            translate_percent=(-config.shift, config.shift),
            shear=(-config.shear_deg, config.shear_deg),
            keep_ratio=True,
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            p=config.geometry_probability,
        ),
    ]


def _colour(config: AugmentConfig) -> list[Any]:
    return [
        A.RandomGamma(gamma_limit=config.gamma_percent, p=config.gamma_probability),
        A.RandomBrightnessContrast(
            brightness_limit=config.brightness_levels / 255,
            contrast_limit=0,
            p=0.5 if config.brightness_levels else 0.0,
        ),
        A.ColorJitter(
            brightness=(1 - config.brightness, 1 + config.brightness),
            contrast=(1 - config.contrast, 1 + config.contrast),
            saturation=(1 - config.saturation, 1 + config.saturation),
            hue=(-config.hue, config.hue),
            p=config.colour_probability,
        ),
        A.Sharpen(p=config.sharpness_probability),
        GreyWorld(config.grey_world, p=0.25 if config.grey_world else 0.0),
        WhiteBalance(config.white_balance, p=0.5 if config.white_balance else 0.0),
    ]


def _degradation(config: AugmentConfig) -> list[Any]:
    return [
        Specular(p=config.specular_probability),
        A.OneOf([A.MotionBlur(blur_limit=(3, 9)), A.GaussianBlur(blur_limit=(3, 7))], p=config.blur_probability),
        A.OneOf(
            [A.ImageCompression(quality_range=(30, 80)), A.Downscale(scale_range=(0.4, 0.8))],
            p=config.coarse_probability,
        ),
        A.GaussNoise(std_range=config.noise_std, mean_range=config.noise_mean, p=config.noise_probability),
    ]


class WhiteBalance(A.ImageOnlyTransform):  # type: ignore[misc]
    """Each channel's level times a gain of its own, 1 - most to 1 + most: another scope's white."""

    def __init__(self, most: float, p: float) -> None:
        super().__init__(p=p)
        self.most = most

    def apply(self, img: Image, gains: NDArray[np.float64], **_: Any) -> Image:
        return np.clip(img * gains, 0, 255).astype(np.uint8)

    def get_params(self) -> dict[str, Any]:
        return {"gains": self.random_generator.uniform(1 - self.most, 1 + self.most, 3)}


class GreyWorld(A.ImageOnlyTransform):  # type: ignore[misc]
    """Part of the way to a picture whose three channels have one mean, the black surroundings left out."""

    def __init__(self, share: float, p: float) -> None:
        super().__init__(p=p)
        self.share = share

    def apply(self, img: Image, share: float, **_: Any) -> Image:
        lit = img[img.max(axis=2) > 12]
        if not len(lit):
            return img
        means = lit.mean(axis=0)
        gains = (means.mean() / np.maximum(means, 1)) ** share
        return np.clip(img * gains, 0, 255).astype(np.uint8)

    def get_params(self) -> dict[str, Any]:
        return {"share": self.random_generator.uniform(0, self.share)}


class Specular(A.ImageOnlyTransform):  # type: ignore[misc]
    """Wet highlights: small saturated ellipses with a soft rim, more often on lit tissue."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)

    def apply(self, img: Image, spots: NDArray[np.float64], **_: Any) -> Image:
        height, width = img.shape[:2]
        glow = np.zeros((height, width), np.float32)
        for x, y, long, flat, angle_deg in spots:
            column, row = int(x * width), int(y * height)
            if img[min(row, height - 1), min(column, width - 1)].max() < 60:
                continue
            axes = (max(1, int(long * width)), max(1, int(long * flat * width)))
            cv2.ellipse(glow, (column, row), axes, angle_deg, 0, 360, 1.0, cv2.FILLED)
        soft = cv2.GaussianBlur(glow, (0, 0), 1.2)[..., None]
        return np.clip(img + (255.0 - img) * soft, 0, 255).astype(np.uint8)

    def get_params(self) -> dict[str, Any]:
        count = int(self.random_generator.integers(3, 25))
        low, high = [0, 0, 0.003, 0.2, 0], [1, 1, 0.02, 1, 180]
        return {"spots": self.random_generator.uniform(low, high, (count, 5))}
