"""Kalman filter of a box's own motion, after the camera motion is removed: constant velocity, one per coordinate.

The coordinates are centre x, centre y, width and height. All noise is proportional to the box size, because detector
errors are. Velocities decay without new measurements, so a box without detections stays in place.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled

State = NDArray[np.float64]  # (4, 2): value in px, velocity in px per second
Covariance = NDArray[np.float64]  # (4, 3): variance of the value, covariance, variance of the velocity

_SIZE_NOISE = 0.3  # process noise of width and height, as a fraction of the position's
_VELOCITY_DECAY_S = 0.25  # time constant with which velocities decay
_JITTER_SPEED = 0.8  # box sizes per second: slower motion may be detector jitter; from twice this on it is real
_INITIAL_SPEED = 0.5  # standard deviation of a new track's velocity, box sizes per second


@compiled()
def _centre_and_size(box: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = float(box[0]), float(box[1]), float(box[2]), float(box[3])
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


@compiled()
def _size(state: State) -> float:
    return math.sqrt(max(1.0, state[2, 0]) * max(1.0, state[3, 0]))


@compiled()
def initiate(box: NDArray[np.float32], measurement_noise: float) -> tuple[State, Covariance]:
    """Return the state of a new track from its first box (4,) xyxy px."""
    state = np.zeros((4, 2))
    state[:, 0] = _centre_and_size(box)
    size = _size(state)
    covariance = np.zeros((4, 3))
    covariance[:, 0], covariance[:, 2] = (measurement_noise * size) ** 2, (_INITIAL_SPEED * size) ** 2
    return state, covariance


def to_box(state: State) -> NDArray[np.float32]:
    """Return the box (4,) xyxy px of a state."""
    centre, half = state[:2, 0], np.maximum(state[2:, 0], 1e-3) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


@compiled()
def warp(state: State, covariance: Covariance, matrix: NDArray[np.float32], zoom: float) -> None:
    """Move a state with the camera, in place. matrix: (2, 3), source px; zoom: its scale factor."""
    x, y = state[0, 0], state[1, 0]
    state *= zoom
    for i in range(2):
        state[i, 0] = float(matrix[i, 0]) * x + float(matrix[i, 1]) * y + float(matrix[i, 2])
    covariance *= zoom**2


def displacement(state: State, step_s: float) -> NDArray[np.float64]:
    """Return how far the centre moves by its own velocity in `step_s`, (2,) px; slow motion counts as jitter."""
    speed = float(np.hypot(*state[:2, 1])) / _size(state)
    confidence = min(1.0, max(0.0, speed / _JITTER_SPEED - 1))
    return np.asarray(confidence * step_s * state[:2, 1])


@compiled()
def predict(state: State, covariance: Covariance, step_s: float, process_noise: float) -> tuple[State, Covariance]:
    """Advance a state by `step_s`. process_noise: change of velocity, in box sizes per second, per second."""
    after, wider = state.copy(), covariance.copy()
    size = math.sqrt(max(1.0, state[2, 0]) * max(1.0, state[3, 0]))
    decay = math.exp(-step_s / _VELOCITY_DECAY_S)
    reach_s = _VELOCITY_DECAY_S * (1 - decay)  # distance covered by a decaying velocity of 1
    for i in range(4):
        noise = (process_noise * size * (1.0 if i < 2 else _SIZE_NOISE)) ** 2
        value, shared, velocity = covariance[i]
        after[i, 0] += reach_s * state[i, 1]
        after[i, 1] = decay * state[i, 1]
        wider[i, 0] = value + 2 * reach_s * shared + reach_s**2 * velocity + noise * step_s**3 / 3
        wider[i, 1] = decay * (shared + reach_s * velocity) + noise * step_s**2 / 2
        wider[i, 2] = decay**2 * velocity + noise * step_s
    return after, wider


@compiled()
def correct(state: State, covariance: Covariance, box: NDArray[np.float32], noise: float) -> tuple[State, Covariance]:
    """Update a state with a box (4,) xyxy px. noise: its standard deviation, as a fraction of the box size."""
    measured, noise_px = _centre_and_size(box), noise * _size(state)
    after, narrower = state.copy(), covariance.copy()
    for i in range(4):
        value, shared, velocity = covariance[i]
        total = value + noise_px**2
        if total <= 0:
            after[i, 0] = measured[i]
            continue
        gain, velocity_gain = value / total, shared / total
        residual = measured[i] - state[i, 0]
        after[i, 0] += gain * residual
        after[i, 1] += velocity_gain * residual
        narrower[i, 0] = (1 - gain) * value
        narrower[i, 1] = (1 - gain) * shared
        narrower[i, 2] = velocity - velocity_gain * shared
    return after, narrower
