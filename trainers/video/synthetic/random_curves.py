"""Smooth chance: curves and episodes that are the same for the same generator."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Curve = NDArray[np.float64]


def wander(chance: np.random.Generator, count: int, period_frames: float) -> Curve:
    """A smooth curve (count,) of mean 0 and spread 1 in the long run, that turns about once a period."""
    sigma = max(period_frames / 4, 0.5)
    around = int(4 * sigma) + 1
    noise = gaussian_filter1d(chance.standard_normal(count + 2 * around), sigma)[around:-around]
    return np.asarray(noise * np.sqrt(2 * sigma * np.sqrt(np.pi)))  # a Gaussian filter leaves 1 / that of the spread


def bell(count: int, middle: float, length: float) -> Curve:
    """A rise from 0 to 1 and back (count,), flat for half of its length, with its middle at a frame."""
    distance = np.abs(np.arange(count) - middle) / (length / 2)
    return eased(np.clip(2 - 2 * distance, 0, 1))


def eased(share: Curve) -> Curve:
    """From 0 to 1 as a hand moves: at rest at both ends (minimum jerk)."""
    return np.asarray(share**3 * (10 - 15 * share + 6 * share**2))


def episodes(
    chance: np.random.Generator, count: int, *, rate_hz: float, per_minute: float, shortest_s: float, longest_s: float
) -> Curve:
    """Strength 0..1 (count,) of something that comes now and then, each time as strong as chance will have it."""
    strength = np.zeros(count)
    for _ in range(chance.poisson(per_minute * count / rate_hz / 60)):
        middle, length_s = chance.uniform(0, count), chance.uniform(shortest_s, longest_s)
        strength = np.maximum(strength, chance.uniform(0.4, 1.0) * bell(count, middle, length_s * rate_hz))
    return strength


def through(keys: list[tuple[float, tuple[float, float]]], count: int) -> Curve:
    """A way (count, 2) through points (time in frames, (x, y)), times rising, at rest at each."""
    times = np.array([time for time, _ in keys])
    points = np.array([point for _, point in keys])
    now = np.clip(np.arange(count), times[0], times[-1])
    leg = np.clip(np.searchsorted(times, now, side="right") - 1, 0, len(keys) - 2)
    share = eased((now - times[leg]) / (times[leg + 1] - times[leg]))[:, None]
    return np.asarray(points[leg] + share * (points[leg + 1] - points[leg]))
