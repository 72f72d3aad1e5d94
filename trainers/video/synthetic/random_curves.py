"""Smooth random curves over frames. The same generator state gives the same curve."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Curve = NDArray[np.float64]


def wander(rng: np.random.Generator, count: int, period_frames: float) -> Curve:
    """Draw a smooth curve (count,) with mean 0 and standard deviation 1, which turns about once per period."""
    sigma = max(period_frames / 4, 0.5)
    margin = int(4 * sigma) + 1
    noise = gaussian_filter1d(rng.standard_normal(count + 2 * margin), sigma)[margin:-margin]
    return np.asarray(
        noise * np.sqrt(2 * sigma * np.sqrt(np.pi))
    )  # undo what the Gaussian filter takes from the deviation


def bell(count: int, middle: float, length: float) -> Curve:
    """Return a curve (count,) that rises from 0 to 1 and falls again, flat for half of its length.

    middle, length: in frames.
    """
    distance = np.abs(np.arange(count) - middle) / (length / 2)
    return ease(np.clip(2 - 2 * distance, 0, 1))


def ease(share: Curve) -> Curve:
    """Ease a share 0..1 so that motion starts and ends at rest (minimum jerk)."""
    return np.asarray(share**3 * (10 - 15 * share + 6 * share**2))


def episodes(
    rng: np.random.Generator, count: int, *, rate_hz: float, per_minute: float, shortest_s: float, longest_s: float
) -> Curve:
    """Draw the strength 0..1 (count,) of a random event, each time of a random duration and peak."""
    strength = np.zeros(count)
    for _ in range(rng.poisson(per_minute * count / rate_hz / 60)):
        middle, length_s = rng.uniform(0, count), rng.uniform(shortest_s, longest_s)
        strength = np.maximum(strength, rng.uniform(0.4, 1.0) * bell(count, middle, length_s * rate_hz))
    return strength


def interpolate_path(keys: list[tuple[float, tuple[float, float]]], count: int) -> Curve:
    """Interpolate a path (count, 2) through key points, at rest at each of them.

    keys: (time in frames, (x, y)) in order of time.
    """
    times = np.array([time for time, _ in keys])
    points = np.array([point for _, point in keys])
    now = np.clip(np.arange(count), times[0], times[-1])
    leg = np.clip(np.searchsorted(times, now, side="right") - 1, 0, len(keys) - 2)
    share = ease((now - times[leg]) / (times[leg + 1] - times[leg]))[:, None]
    return np.asarray(points[leg] + share * (points[leg + 1] - points[leg]))
