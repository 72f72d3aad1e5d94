"""What comes between a scope and a good picture: each a curve over the frames of a scene."""

from dataclasses import dataclass

import numpy as np

from trainers.video.synthetic.random_curves import Curve, episodes, wander


@dataclass(frozen=True)
class Conditions:
    """One value a frame, (n,). gain: of the light. defocus_px: of a field 840 px wide. pressed: 0..1, the lens against
    the wall. glare, water, instrument: strength 0..1. seed: where glare, water and instrument appear."""

    gain: Curve
    defocus_px: Curve
    pressed: Curve
    glare: Curve
    water: Curve
    instrument: Curve
    seed: int


def some_conditions(chance: np.random.Generator, count: int, rate_hz: float) -> Conditions:
    """As in a mixed procedure: mostly good, with a few bad moments a minute."""

    def now_and_then(per_minute: float, shortest_s: float, longest_s: float) -> Curve:
        return episodes(
            chance, count, rate_hz=rate_hz, per_minute=per_minute, shortest_s=shortest_s, longest_s=longest_s
        )

    exposure = 0.07 * wander(chance, count, 1.5 * rate_hz) + 0.35 * now_and_then(2.5, 0.4, 1.5)
    darkness = 0.55 * now_and_then(1.5, 0.4, 1.5)
    focus = 0.4 + 0.3 * wander(chance, count, 2 * rate_hz)
    return Conditions(
        gain=np.exp(exposure - darkness),
        defocus_px=np.clip(focus, 0, None) + 13 * now_and_then(3, 0.25, 1.0),
        pressed=np.zeros(count),
        glare=now_and_then(4, 0.15, 1.2),
        water=now_and_then(1.5, 0.5, 2.0),
        instrument=now_and_then(1.2, 1.0, 3.5),
        seed=int(chance.integers(2**31)),
    )
