"""Colour and image quality changes of a batch, on its device: the operations of albumentations in plain torch.

images: (n, 3, h, w) float32 that hold whole levels 0..255, RGB; every operation returns such images. It rounds to whole
levels, or drops what lies behind the point, as its counterpart does: several changes in a row would drift otherwise.
Parameters are arrays with one row per image.
"""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from trainers.data.stain import DARK, MOST_GAIN

Numbers = NDArray[Any]

_DIM = 60  # levels; darker places show no specular highlights
_RIM_PX = 1.2  # standard deviation of the soft rim of a highlight


def on_device(numbers: Numbers, like: Tensor) -> Tensor:
    """Return numbers as a float32 tensor on the device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(numbers, np.float32)).to(like.device, non_blocking=True)


def cut(images: Tensor) -> Tensor:
    """Clip to 0..255 and drop what lies behind the point, as numpy's `astype` does."""
    return images.clamp_(0, 255).floor_()


def rounded(images: Tensor) -> Tensor:
    """Round to the nearest level and clip to 0..255, as OpenCV does."""
    return images.round_().clamp_(0, 255)


def _per_image(numbers: Numbers, images: Tensor) -> Tensor:
    return on_device(numbers, images).view(len(images), -1, 1, 1)


def grey(images: Tensor) -> Tensor:
    """Return the luma (n, 1, h, w), whole levels."""
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True).round_()


def gamma(images: Tensor, exponent: Numbers) -> Tensor:
    changed = (images / 255).pow_(_per_image(exponent, images)).mul_(255)
    return cut(changed.add_(1e-3))  # float32 misses whole numbers by less than this


def scale_levels(images: Tensor, factor: Numbers) -> Tensor:
    """Multiply by one factor per image (n,) or per channel (n, 3): brightness, or white balance."""
    return cut(images * _per_image(factor, images))


def add_levels(images: Tensor, levels: Numbers) -> Tensor:
    return cut(images + _per_image(levels, images))


def contrast(images: Tensor, factor: Numbers) -> Tensor:
    """Scale the distance of all levels from the image's mean luma."""
    factors = _per_image(factor, images)
    mean = grey(images).mean((1, 2, 3), keepdim=True)
    return cut(images * factors + mean * (1 - factors))


def saturation(images: Tensor, factor: Numbers) -> Tensor:
    """Scale the distance of all pixels from their luma."""
    return rounded(torch.lerp(grey(images), images, _per_image(factor, images)))


def hue(images: Tensor, turn: Numbers) -> Tensor:
    """Turn the hue by a fraction of the circle, in OpenCV's HSV of 180 hues and 256 saturations."""
    value, least = images.amax(1), images.amin(1)
    spread = value - least
    strength = _ratio(spread, 255, value)
    turned = torch.remainder(_hue_of(images, value, spread) + _per_image(180 * turn, images)[:, 0], 180).floor_() / 30
    sector = torch.remainder(turned.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1) + turned[:, None], 6)
    weight = torch.minimum(sector, 4 - sector).clamp_(0, 1)
    return cut(value[:, None] * (1 - strength[:, None] / 255 * weight))


def _hue_of(images: Tensor, value: Tensor, spread: Tensor) -> Tensor:
    """Return the hue (n, h, w), 0..179; 0 for grey."""
    red, green, blue = images.unbind(1)
    raw = torch.where(value == green, blue - red + 2 * spread, red - green + 4 * spread)
    raw = torch.where(value == red, green - blue, raw)
    whole = _ratio(raw, 30, spread)
    return torch.where(whole < 0, whole + 180, whole)


def _ratio(part: Tensor, full: int, of: Tensor) -> Tensor:
    """Return full * part / of, rounded, by OpenCV's table of reciprocals in steps of 1/4096."""
    return (part * (4096 * full / of.clamp(min=1)).round_()).add_(2048).div_(4096).floor_()


def convolve(images: Tensor, kernels: Numbers) -> Tensor:
    """Filter each image by its own kernel (n, k, k), k odd: sharpening, motion blur, Gaussian blur."""
    return rounded(_filter(images, on_device(kernels, images)))


def _filter(images: Tensor, kernels: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    ky, kx = kernels.shape[-2:]
    padded = pad(images, (kx // 2, kx // 2, ky // 2, ky // 2), mode="reflect")
    weights = kernels[:, None].expand(n, channels, ky, kx).reshape(n * channels, 1, ky, kx)
    filtered = conv2d(padded.reshape(1, n * channels, *padded.shape[-2:]), weights, groups=n * channels)
    return filtered.view(n, channels, height, width)


def soften(maps: Tensor, sigma_px: float) -> Tensor:
    """Blur float maps (n, c, h, w) as `cv2.GaussianBlur` does with a kernel of its own choice."""
    size = round(8 * sigma_px + 1) | 1
    taps = on_device(cv2.getGaussianKernel(size, sigma_px), maps).view(1, -1).expand(len(maps), -1)
    return _filter(_filter(maps, taps[:, :, None]), taps[:, None, :])


def grey_world(images: Tensor, share: Numbers) -> Tensor:
    """Correct a share of the difference between the channels' means; the black surround is ignored."""
    lit = (images.amax(1, keepdim=True) > DARK).float()
    count = lit.sum((2, 3), keepdim=True)
    means = (images * lit).sum((2, 3), keepdim=True) / count.clamp(min=1)
    gains = (means.mean(1, keepdim=True) / means.clamp(min=1)).pow(_per_image(share, images))
    return cut(images * torch.where(count > 0, gains, torch.ones_like(gains)))


def stain(images: Tensor, matrices: Numbers, brightness: Numbers, exponent: Numbers) -> Tensor:
    """Imitate virtual stains: mix the channels by (n, 3, 3), keep the mean level, change the gamma (`stain.py`)."""
    lit = (images.amax(1, keepdim=True) > DARK).float()
    mixed = torch.einsum("nij,njhw->nihw", on_device(matrices, images), images).clamp_(min=0)
    count = 3 * lit.sum((1, 2, 3), keepdim=True).clamp(min=1)
    before, after = ((levels * lit).sum((1, 2, 3), keepdim=True) / count for levels in (images, mixed))
    gain = (_per_image(brightness, images) * before / after.clamp(min=1)).clamp_(max=MOST_GAIN)
    mixed *= torch.where(before > 0, gain, torch.ones_like(gain))
    return rounded((mixed.clamp_(max=255) / 255).pow_(_per_image(exponent, images)).mul_(255))


def specular(images: Tensor, spots: Numbers, count: Numbers) -> Tensor:
    """Add highlights: small saturated ellipses with a soft rim. Dark places get none.

    spots: (n, s, 5) x, y and the half axes as fractions of the image and of each other, and the angle in degrees.
    count: (n,) how many of the spots are used.
    """
    n, _, height, width = images.shape
    owner, column, row, stamps = _stamps(spots, count, height, width)
    radius = stamps.shape[-1] // 2
    at = torch.from_numpy(np.stack([owner, row, column])).to(images.device)
    bright = images[at[0], :, at[1], at[2]].amax(1) >= _DIM
    wide = width + 2 * radius
    reach = torch.arange(2 * radius + 1, device=images.device)
    start = (at[0] * (height + 2 * radius) + at[1]) * wide + at[2]
    places = start[:, None, None] + reach[None, :, None] * wide + reach[None, None, :]
    drawn = on_device(stamps, images) * bright[:, None, None]
    glow = images.new_zeros(n * (height + 2 * radius) * wide).scatter_add_(0, places.flatten(), drawn.flatten())
    glow = glow.clamp_(max=1).view(n, 1, height + 2 * radius, wide)
    soft = soften(glow[..., radius : radius + height, radius : radius + width].contiguous(), _RIM_PX)
    return cut(images + (255 - images) * soft)


def _stamps(spots: Numbers, count: Numbers, height: int, width: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Draw each spot on a square of its own; return the spots' images, columns, rows and squares (m, s, s)."""
    owner = np.repeat(np.arange(len(count)), count)
    used = np.concatenate([some[:number] for some, number in zip(spots, count, strict=True)])
    column = np.minimum((used[:, 0] * width).astype(np.int64), width - 1)
    row = np.minimum((used[:, 1] * height).astype(np.int64), height - 1)
    axes = np.maximum(1, (used[:, 2, None] * np.stack([np.ones(len(used)), used[:, 3]], 1) * width).astype(int))
    radius = int(axes.max()) + 1
    stamps = np.zeros((len(used), 2 * radius + 1, 2 * radius + 1), np.uint8)
    for stamp, (long, flat), angle_deg in zip(stamps, axes.tolist(), used[:, 4].tolist(), strict=True):
        cv2.ellipse(stamp, (radius, radius), (long, flat), angle_deg, 0, 360, 1, cv2.FILLED)
    return owner, column, row, stamps


def downscale(images: Tensor, scale: Numbers) -> Tensor:
    """Shrink by a factor below 1 and enlarge again, both to the nearest pixel."""
    n, channels, height, width = images.shape
    rows = torch.from_numpy(np.stack([_nearest(height, float(one)) for one in scale])).to(images.device)
    columns = torch.from_numpy(np.stack([_nearest(width, float(one)) for one in scale])).to(images.device)
    some = images.gather(2, rows[:, None, :, None].expand(n, channels, height, width))
    return some.gather(3, columns[:, None, None, :].expand(n, channels, height, width))


def _nearest(length: int, scale: float) -> NDArray[np.int64]:
    small = round(length * scale)
    shrunk = np.minimum(np.floor(np.arange(small) / scale), length - 1).astype(np.int64)
    enlarged = np.minimum(np.floor(np.arange(length) * (1 / (length / small))), small - 1)
    return shrunk[enlarged.astype(np.int64)]


def gaussian_noise(images: Tensor, mean: Numbers, std: Numbers, seeds: Numbers) -> Tensor:
    """Add noise of a mean and a standard deviation in levels; each image's noise follows from its own seed.

    As in albumentations, the noise itself is cut to whole levels towards 0: what is below one level changes nothing.
    """
    generator = torch.Generator(images.device)
    noise = torch.empty_like(images)
    for one, seed in zip(noise, seeds.tolist(), strict=True):
        one.normal_(generator=generator.manual_seed(seed))
    return cut(images + (noise * _per_image(std, images) + _per_image(mean, images)).trunc_())
