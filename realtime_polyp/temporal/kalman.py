"""Kalman filter of a box's own motion, after the camera motion is removed: constant velocity, one per coordinate.

The coordinates are centre x, centre y, width and height. All noise is proportional to the box size, because detector
errors are. Velocities decay without new measurements, so a box without detections stays in place.

All functions work on the first VALUES columns of a track's row: value (px) and velocity (px per second) of each
coordinate, then of each the variance of the value, the covariance, and the variance of the velocity. They are plain
loops over numbers, because those are compiled in a moment.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled

Row = NDArray[np.float64]  # (VALUES or more,)

COORDINATES = 4
VALUES = 5 * COORDINATES
COVARIANCE = 2 * COORDINATES
"""First column of the covariance."""

_SIZE_NOISE = 0.3  # process noise of width and height, as a fraction of the position's
_VELOCITY_DECAY_S = 0.25  # time constant with which velocities decay
_JITTER_SPEED = 0.8  # box sizes per second: slower motion may be detector jitter; from twice this on it is real
_JOLT = 0.2  # standard deviation of a track's place after an unknown camera motion, box sizes
_JITTER = 0.2  # boxes that lie less than this many widths and heights from their place have not been jolted
_INITIAL_SPEED = 0.5  # standard deviation of a new track's velocity, box sizes per second


@compiled()
def initiate(row: Row, box: NDArray[np.float32], measurement_noise: float) -> None:
    """Begin a track at its first box (4,) xyxy px."""
    for i in range(COORDINATES):
        row[2 * i], row[2 * i + 1] = _measured(box, i), 0.0
    size = _size(row)
    for i in range(COORDINATES):
        at = COVARIANCE + 3 * i
        row[at], row[at + 1], row[at + 2] = (measurement_noise * size) ** 2, 0.0, (_INITIAL_SPEED * size) ** 2


@compiled()
def write_box(row: Row, box: NDArray[np.float32]) -> None:
    """Write the box xyxy px of a track to `box` (4,)."""
    for axis in range(2):
        centre, half = row[2 * axis], max(row[4 + 2 * axis], 1e-3) / 2
        box[axis], box[axis + 2] = centre - half, centre + half


def to_box(row: Row) -> NDArray[np.float32]:
    """Return the box (4,) xyxy px of a track."""
    box = np.empty(4, np.float32)
    write_box(row, box)
    return box


@compiled()
def warp(row: Row, matrix: NDArray[np.float32], zoom: float) -> None:
    """Move a track with the camera. matrix: (2, 3), source px; zoom: its scale factor."""
    x, y = row[0], row[2]
    for i in range(COVARIANCE):
        row[i] *= zoom
    for i in range(2):
        row[2 * i] = float(matrix[i, 0]) * x + float(matrix[i, 1]) * y + float(matrix[i, 2])
    for i in range(COVARIANCE, VALUES):
        row[i] *= zoom**2


@compiled()
def allow_for_jolt(row: Row, box: NDArray[np.float32]) -> None:
    """After an unknown camera motion: a track's place is less certain if its box (4,) lies further off than detectors
    jitter, so that the box counts more."""
    across, down = abs(_measured(box, 0) - row[0]), abs(_measured(box, 1) - row[2])
    if across > _JITTER * row[4] or down > _JITTER * row[6]:
        for i in range(2):
            row[COVARIANCE + 3 * i] += (_JOLT * _size(row)) ** 2


def displacement(row: Row, step_s: float) -> NDArray[np.float64]:
    """Return how far the centre moves by its own velocity in `step_s`, (2,) px; slow motion counts as jitter."""
    velocity = row[[1, 3]]
    speed = float(np.hypot(*velocity)) / _size(row)
    confidence = min(1.0, max(0.0, speed / _JITTER_SPEED - 1))
    return np.asarray(confidence * step_s * velocity)


@compiled()
def predict(row: Row, step_s: float, process_noise: float) -> None:
    """Advance a track by `step_s`. process_noise: change of velocity, in box sizes per second, per second."""
    size = _size(row)
    decay = math.exp(-step_s / _VELOCITY_DECAY_S)
    reach_s = _VELOCITY_DECAY_S * (1 - decay)  # distance covered by a decaying velocity of 1
    for i in range(COORDINATES):
        noise = (process_noise * size * (1.0 if i < 2 else _SIZE_NOISE)) ** 2
        at = COVARIANCE + 3 * i
        value, shared, velocity = row[at], row[at + 1], row[at + 2]
        row[2 * i] += reach_s * row[2 * i + 1]
        row[2 * i + 1] = decay * row[2 * i + 1]
        row[at] = value + 2 * reach_s * shared + reach_s**2 * velocity + noise * step_s**3 / 3
        row[at + 1] = decay * (shared + reach_s * velocity) + noise * step_s**2 / 2
        row[at + 2] = decay**2 * velocity + noise * step_s


@compiled()
def correct(row: Row, box: NDArray[np.float32], noise: float) -> None:
    """Update a track with a box (4,) xyxy px. noise: its standard deviation, as a fraction of the box size."""
    noise_px = noise * _size(row)
    for i in range(COORDINATES):
        at = COVARIANCE + 3 * i
        value, shared, velocity = row[at], row[at + 1], row[at + 2]
        total = value + noise_px**2
        if total <= 0:
            row[2 * i] = _measured(box, i)
            continue
        gain, velocity_gain = value / total, shared / total
        residual = _measured(box, i) - row[2 * i]
        row[2 * i] += gain * residual
        row[2 * i + 1] += velocity_gain * residual
        row[at] = (1 - gain) * value
        row[at + 1] = (1 - gain) * shared
        row[at + 2] = velocity - velocity_gain * shared


@compiled()
def _measured(box: NDArray[np.float32], coordinate: int) -> float:
    """Centre x, centre y, width or height of a box (4,)."""
    axis = coordinate % 2
    low, high = float(box[axis]), float(box[axis + 2])
    return (low + high) / 2 if coordinate < 2 else high - low


@compiled()
def _size(row: Row) -> float:
    return math.sqrt(max(1.0, row[4]) * max(1.0, row[6]))
