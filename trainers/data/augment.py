"""Augmentation of the training stills: geometry, colour, image quality, and the settings of each recipe."""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from trainers.data.stain import COLUMNS, stain, stains

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities, per image, and ranges of the random changes. Ranges given by one number are symmetric about 0.

    Attributes:
        flip_probability: of a horizontal flip.
        geometry_probability: of one affine transform of `rotate_deg`, `scale`, `shift` and `shear_deg`.
        rotate_deg: largest rotation, degrees.
        scale: smallest and largest scale.
        shift: largest shift, as a fraction of the image's sides.
        shear_deg: largest shear, degrees.
        crop: largest fraction cropped from each side.
        gamma_percent: smallest and largest gamma, percent.
        gamma_probability: of a change of gamma.
        brightness_levels: largest offset of all levels of 0..255.
        brightness, contrast, saturation, hue: largest relative changes of the colour jitter.
        colour_probability: of the colour jitter.
        sharpness_probability: of sharpening.
        white_balance: largest relative change of the gain of each channel.
        grey_world: largest fraction of the correction that gives all channels the same mean (colour constancy).
        specular_probability: of added specular highlights.
        blur_probability: of motion blur or Gaussian blur.
        noise_probability: of Gaussian noise.
        noise_std: smallest and largest standard deviation of the noise, 1.0 = full range.
        noise_mean: smallest and largest mean of the noise, 1.0 = full range.
        coarse_probability: of JPEG compression or a lower resolution.
        copy_paste: probability that a polyp of another still is pasted in (`compose.py`).
        mosaic: probability of a mosaic with three other stills (`compose.py`).
        stain: probability of an imitated virtual stain (`stain.py`).
        second_picture: probability of a processor's small second picture (`second_picture.py`).
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
    stain: float = 0.0
    second_picture: float = 0.0


NONE = AugmentConfig(
    flip_probability=0, geometry_probability=0, gamma_probability=0, colour_probability=0, blur_probability=0,
    noise_probability=0,
)  # fmt: skip
OURS = AugmentConfig()
STRONG = AugmentConfig(
    scale=(0.6, 1.5), white_balance=0.15, grey_world=0.8, specular_probability=0.2, blur_probability=0.2,
    coarse_probability=0.2, copy_paste=0.3, mosaic=0.05,
)  # fmt: skip
STRONG_STAINED = replace(STRONG, stain=0.15, second_picture=0.1)
# The paper, section 3.1. The paper augments once, offline (rotation with probability 0.75, gamma, brightness); here the
# changes are drawn again in each epoch.
PAPER_DETECTOR = AugmentConfig(
    geometry_probability=0.75, scale=(1, 1), shift=0, shear_deg=0, crop=0.2, gamma_percent=(50, 200),
    gamma_probability=0.5, brightness_levels=10, colour_probability=0, blur_probability=0, noise_probability=0,
)  # fmt: skip
# Section 3.2: flips and rotation with probability 0.5; changes of brightness, colour, sharpness and contrast; noise
# N(0.2, 0.3). We take the noise to be in levels of 0..255, as in common public code for polyp segmentation.
PAPER_SEGMENTER = AugmentConfig(
    geometry_probability=0.5, scale=(1, 1), shift=0, shear_deg=0, gamma_probability=0, brightness=0.5, contrast=0.5,
    saturation=0.5, hue=0, colour_probability=0.5, sharpness_probability=0.5, blur_probability=0,
    noise_probability=0.5, noise_std=(0.3 / 255, 0.3 / 255), noise_mean=(0.2 / 255, 0.2 / 255),
)  # fmt: skip

AUGMENTS = {
    "none": NONE, "ours": OURS, "strong": STRONG, "strong-stained": STRONG_STAINED,
    "paper-detector": PAPER_DETECTOR, "paper-segmenter": PAPER_SEGMENTER,
}  # fmt: skip
"""The settings by the names that the train commands take."""


class Augment:
    """Augment an image (h, w, 3) uint8 and its label map (h, w) uint8 together; the result depends on the seed only.

    Every change draws numbers of its own. With albumentations' `set_random_seed` all changes of an image would begin
    with the same numbers, and one of probability 0.15 would happen only where one of 0.2 happens too.
    """

    def __init__(self, config: AugmentConfig = AugmentConfig()) -> None:
        self.config = config
        stained = Stain(p=config.stain)
        self._transform = A.Compose([*_geometry(config), stained, *_colour(config), *_degradation(config)])

    def __call__(self, image: Image, labels: Image, *, seed: int) -> tuple[Image, Image]:
        self._transform.set_random_state(np.random.default_rng(seed), Random(seed))
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


class Stain(A.ImageOnlyTransform):  # type: ignore[misc]
    """Imitate a random virtual stain."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)

    def apply(self, img: Image, drawn: tuple[NDArray[np.float64], float, float], **_: Any) -> Image:
        return stain(img, *drawn)

    def get_params(self) -> dict[str, Any]:
        matrices, brightness, exponents = stains(self.random_generator.random((1, COLUMNS)))
        return {"drawn": (matrices[0], float(brightness[0]), float(exponents[0]))}


class WhiteBalance(A.ImageOnlyTransform):  # type: ignore[misc]
    """Scale each channel by its own random gain, from 1 - most to 1 + most, like the white balance of another scope."""

    def __init__(self, most: float, p: float) -> None:
        super().__init__(p=p)
        self.most = most

    def apply(self, img: Image, gains: NDArray[np.float64], **_: Any) -> Image:
        return np.clip(img * gains, 0, 255).astype(np.uint8)

    def get_params(self) -> dict[str, Any]:
        return {"gains": self.random_generator.uniform(1 - self.most, 1 + self.most, 3)}


class GreyWorld(A.ImageOnlyTransform):  # type: ignore[misc]
    """Correct a random part of the difference between the channels' means; the black surround is ignored."""

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
    """Add specular highlights: small saturated ellipses with a soft rim. Dark places get none."""

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
