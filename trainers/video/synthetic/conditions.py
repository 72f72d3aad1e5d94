"""What degrades the picture of a scene over time, as one curve per cause."""

from dataclasses import dataclass

import numpy as np

from trainers.video.synthetic.random_curves import Curve, episodes, wander


@dataclass(frozen=True)
class Conditions:
    """Imaging conditions, one value per frame (n,).

    Attributes:
        gain: factor on the light.
        defocus_px: standard deviation of the blur in a field 840 px wide, px.
        pressed: how close the lens is to the wall, 0..1.
        glare, water, instrument: strength, 0..1.
        seed: places glare, water and instrument.
    """

    gain: Curve
    defocus_px: Curve
    pressed: Curve
    glare: Curve
    water: Curve
    instrument: Curve
    seed: int


def draw_conditions(rng: np.random.Generator, count: int, rate_hz: float) -> Conditions:
    """Draw conditions as in a mixed procedure: mostly good, with a few bad moments per minute."""

    def draw_episodes(per_minute: float, shortest_s: float, longest_s: float) -> Curve:
        return episodes(rng, count, rate_hz=rate_hz, per_minute=per_minute, shortest_s=shortest_s, longest_s=longest_s)

    exposure = 0.07 * wander(rng, count, 1.5 * rate_hz) + 0.35 * draw_episodes(2.5, 0.4, 1.5)
    darkness = 0.55 * draw_episodes(1.5, 0.4, 1.5)
    focus = 0.4 + 0.3 * wander(rng, count, 2 * rate_hz)
    return Conditions(
        gain=np.exp(exposure - darkness),
        defocus_px=np.clip(focus, 0, None) + 13 * draw_episodes(3, 0.25, 1.0),
        pressed=np.zeros(count),
        glare=draw_episodes(4, 0.15, 1.2),
        water=draw_episodes(1.5, 0.5, 2.0),
        instrument=draw_episodes(1.2, 1.0, 3.5),
        seed=int(rng.integers(2**31)),
    )
