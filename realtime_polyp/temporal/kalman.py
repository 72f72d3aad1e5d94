"""A box's own movement, once the camera's is taken out: one Kalman filter of constant velocity for each coordinate.

Coordinates are centre x, centre y, width, height. Noise grows with the box: a detector errs by a share of what it sees.
A velocity that nothing renews dies away, so that an unseen box stays where it was instead of drifting off.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

State = NDArray[np.float64]  # (4, 2): value, velocity a second
Covariance = NDArray[np.float64]  # (4, 3): variance of the value, covariance, variance of the velocity

_CALM = 0.3  # of its place's unrest, a box's width and height have so much
_FADES_S = 0.25  # time constant of a velocity
_TREMOR = 0.8  # of its size a second: the detector's own unrest moves a box no faster; at twice that all is believed
_FIRST_VELOCITY = 0.5  # of the box's size a second, before anything is known


def begin(box: NDArray[np.float32], measurement_noise: float) -> tuple[State, Covariance]:
    """Of a first box (4,) xyxy px."""
    state = np.zeros((4, 2))
    state[:, 0] = _middle(box)
    size = _size(state)
    covariance = np.zeros((4, 3))
    covariance[:, 0], covariance[:, 2] = (measurement_noise * size) ** 2, (_FIRST_VELOCITY * size) ** 2
    return state, covariance


def box_of(state: State) -> NDArray[np.float32]:
    """(4,) xyxy px."""
    centre, half = state[:2, 0], np.maximum(state[2:, 0], 1e-3) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def carried(state: State, matrix: NDArray[np.float32], zoom: float) -> State:
    """Moved with the camera: matrix (2, 3) source px."""
    moved = state * zoom
    moved[:2, 0] = matrix[:, :2] @ state[:2, 0] + matrix[:, 2]
    return np.asarray(moved)


def drift(state: State, step_s: float) -> NDArray[np.float64]:
    """How far the centre goes on by itself in `step_s`, (2,) px, less what a trembling box pretends."""
    speed = float(np.hypot(*state[:2, 1])) / _size(state)
    believed = min(1.0, max(0.0, speed / _TREMOR - 1))
    return np.asarray(believed * step_s * state[:2, 1])


def correct(state: State, covariance: Covariance, box: NDArray[np.float32], noise: float) -> tuple[State, Covariance]:
    """With a box (4,) xyxy px that strays by `noise` of its size; 0 takes the box as it is."""
    return _correct(state, covariance, _middle(box), noise * _size(state))


def _middle(box: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def _size(state: State) -> float:
    return math.sqrt(max(1.0, state[2, 0]) * max(1.0, state[3, 0]))


@numba.njit(cache=True)
def predict(state: State, covariance: Covariance, step_s: float, unrest: float) -> tuple[State, Covariance]:
    """`step_s` later. unrest: how suddenly velocities change, of the box's size a second within a second."""
    after, wider = state.copy(), covariance.copy()
    size = math.sqrt(max(1.0, state[2, 0]) * max(1.0, state[3, 0]))
    kept = math.exp(-step_s / _FADES_S)
    reach_s = _FADES_S * (1 - kept)  # how far a fading velocity still carries
    for i in range(4):
        sudden = (unrest * size * (1.0 if i < 2 else _CALM)) ** 2
        value, shared, velocity = covariance[i]
        after[i, 0] += reach_s * state[i, 1]
        after[i, 1] = kept * state[i, 1]
        wider[i, 0] = value + 2 * reach_s * shared + reach_s**2 * velocity + sudden * step_s**3 / 3
        wider[i, 1] = kept * (shared + reach_s * velocity) + sudden * step_s**2 / 2
        wider[i, 2] = kept**2 * velocity + sudden * step_s
    return after, wider


@numba.njit(cache=True)
def _correct(
    state: State, covariance: Covariance, found: NDArray[np.float64], noise_px: float
) -> tuple[State, Covariance]:
    after, narrower = state.copy(), covariance.copy()
    for i in range(4):
        value, shared, velocity = covariance[i]
        total = value + noise_px**2
        if total <= 0:
            after[i, 0] = found[i]
            continue
        gain, push = value / total, shared / total
        off = found[i] - state[i, 0]
        after[i, 0] += gain * off
        after[i, 1] += push * off
        narrower[i, 0] = (1 - gain) * value
        narrower[i, 1] = (1 - gain) * shared
        narrower[i, 2] = velocity - push * shared
    return after, narrower
