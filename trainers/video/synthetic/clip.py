"""A clip: scenes one after the other, at least half of the time without a polyp; same seed, same frames."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain, count

import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.metrics.truth import TrueFrame
from trainers.data.stills import Still
from trainers.video.synthetic.ground_truth import true_frame
from trainers.video.synthetic.render import picture
from trainers.video.synthetic.scene import Change, Scene, Setting, joined, scene_with_polyps, scene_without
from trainers.video.synthetic.scope import FRAME_SIZE, Scope, some_scope
from trainers.video.synthetic.tissue import Tissue, tissue_of

RATES_HZ = (Fraction(30), Fraction(30000, 1001))
_CHANGES: dict[Change, float] = {"cut": 0.4, "flick": 0.35, "press": 0.25}
_WITH_S, _WITHOUT_S = (3.5, 7.0), (3.5, 8.5)  # how long scenes last
_LEAST_S = 3.0
_CHANCE_TO_ENTER = 0.6
_CHANCE_OF_PLAIN = 0.3  # of a whole still without a polyp, of which data sets have few, else a part of one with
_STILLS_A_CLIP, _PLAIN_A_CLIP = 60, 3  # by which the next clip's are moved on, so that clips share few
_BURSTS_A_MINUTE, _LONGEST_BURST = 3, 6  # of dropped frames


@dataclass(frozen=True)
class Clip:
    """dropped: indices of frames that a live source would have lost."""

    name: str
    rate_hz: Fraction
    scope: Scope
    scenes: tuple[Scene, ...]
    dropped: frozenset[int]

    def __len__(self) -> int:
        return sum(len(scene) for scene in self.scenes)

    def pictures(self) -> Iterator[Image]:
        """Every frame (H, W, 3) RGB, as it is before it is compressed."""
        index = count()
        for scene in self.scenes:
            for place in range(len(scene)):
                yield picture(scene.tissue.image, scene.camera, scene.conditions, self.scope, place, next(index))

    def true_frames(self) -> Iterator[TrueFrame]:
        for scene in self.scenes:
            for place in range(len(scene)):
                yield true_frame(scene, self.scope, place)


def make_clip(
    stills: Sequence[Still], *, seed: int, number: int, seconds: float = 60.0, frame_size: tuple[int, int] = FRAME_SIZE
) -> Clip:
    """The clip of this number, from other stills than its neighbours as far as there are enough.

    Raises ValueError where no still will do, and FileNotFoundError naming one that cannot be read.
    """
    chance = np.random.default_rng([seed, number])
    rate_hz = RATES_HZ[int(chance.integers(len(RATES_HZ)))]
    scope = some_scope(chance, frame_size)
    setting = Setting(scope, float(rate_hz), chance)
    order = [stills[place] for place in np.random.default_rng(seed).permutation(len(stills))]
    scenes = list(_scenes(order, setting, number, round(seconds * rate_hz)))
    for place in range(1, len(scenes)):
        change: Change = chance.choice(list(_CHANGES), p=list(_CHANGES.values()))
        scenes[place - 1 : place + 1] = joined(scenes[place - 1], scenes[place], change, setting)
    frames = sum(len(scene) for scene in scenes)
    return Clip(f"seed {seed} clip {number}", rate_hz, scope, tuple(scenes), _dropped(setting, frames))


def _scenes(order: Sequence[Still], setting: Setting, number: int, frames: int) -> Iterator[Scene]:
    """Together exactly so many frames; the first and the last without a polyp."""
    with_polyps = [still for still in order if len(still.boxes)]
    polyps, beside = (_dealt(deck, number * _STILLS_A_CLIP) for deck in (with_polyps, with_polyps[::-1]))
    plain = _dealt([still for still in order if not len(still.boxes)], number * _PLAIN_A_CLIP)
    chance, second, done, polyp_frames, identity = setting.chance, setting.rate_hz, 0, 0, 1
    while done < frames:
        length, left = int(chance.uniform(*_WITH_S) * second), frames - done
        if done and left - length > _LEAST_S * second and 2 * (polyp_frames + length) <= done + length:
            enters = bool(chance.random() < _CHANCE_TO_ENTER)
            make = partial(scene_with_polyps, setting=setting, count=length, enters=enters)
            scene = _first_that_does(polyps, make)
            scene = replace(scene, ids=tuple(range(identity, identity + len(scene.tissue.masks))))
            identity, polyp_frames = identity + len(scene.ids), polyp_frames + length
        else:
            length = int(chance.uniform(*_WITHOUT_S) * second)
            length = length if left - length > _LEAST_S * second else left
            kinds = (plain, beside) if chance.random() < _CHANCE_OF_PLAIN else (beside, plain)
            scene = _first_that_does(chain(*kinds), partial(scene_without, setting=setting, count=length))
        done += length
        yield scene


def _dealt(stills: Sequence[Still], place: int) -> Iterator[Tissue]:
    """Tissue of one still after the other, from this place on, each but once."""
    start = place % max(1, len(stills))
    for still in (*stills[start:], *stills[:start]):
        if tissue := tissue_of(still):
            yield tissue


def _first_that_does(deck: Iterator[Tissue], make: Callable[[Tissue], Scene | None]) -> Scene:
    for tissue in deck:
        if scene := make(tissue):
            return scene
    raise ValueError("the stills are too few for a clip of this length, or show too little tissue beside their polyps")


def _dropped(setting: Setting, frames: int) -> frozenset[int]:
    """Bursts of them, as a busy machine loses them; never the first frame."""
    chance, lost = setting.chance, set[int]()
    for _ in range(chance.poisson(_BURSTS_A_MINUTE * frames / setting.rate_hz / 60)):
        start = int(chance.integers(1, frames))
        lost |= set(range(start, min(frames, start + int(chance.integers(1, _LONGEST_BURST)))))
    return frozenset(lost)
