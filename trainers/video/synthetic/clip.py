"""Synthetic clips: scenes one after the other, at least half of the time without a polyp.

The same seed gives the same frames.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain, count

import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.packets import Frame
from trainers.data.stills import Still
from trainers.video.synthetic.compression import CompressedFrame, compress
from trainers.video.synthetic.ground_truth import true_frame
from trainers.video.synthetic.render import render_frame
from trainers.video.synthetic.scene import Change, Scene, Setting, join_scenes, scene_with_polyps, scene_without
from trainers.video.synthetic.scope import FRAME_SIZE, Scope, draw_scope
from trainers.video.synthetic.tissue import Tissue, cut_tissue

RATES_HZ = (Fraction(30), Fraction(30000, 1001))
_CHANGE_PROBABILITIES: dict[Change, float] = {"cut": 0.4, "flick": 0.35, "press": 0.25}
_POLYP_SCENE_S, _PLAIN_SCENE_S = (3.5, 7.0), (3.5, 8.5)  # range of durations of scenes with and without polyps
_MIN_SCENE_S = 3.0
_ENTERING_PROBABILITY = 0.6  # of a polyp that comes into view, rather than being in view from the start
_PLAIN_STILL_PROBABILITY = 0.3  # of using a still without polyps (data sets have few), rather than part of one with
_STILLS_PER_CLIP, _PLAIN_STILLS_PER_CLIP = 60, 3  # offset of one clip's stills to the next one's: clips share few
_BURSTS_PER_MINUTE, _LONGEST_BURST = 3, 6  # of dropped frames


@dataclass(frozen=True)
class Clip:
    """A clip, drawn frame by frame on demand.

    Attributes:
        name: seed and number.
        rate_hz: exact frame rate, Hz.
        scope: the screen layout and the light.
        scenes: in order.
        dropped: indices of the frames that a live source would have lost.
    """

    name: str
    rate_hz: Fraction
    scope: Scope
    scenes: tuple[Scene, ...]
    dropped: frozenset[int]

    def __len__(self) -> int:
        return sum(len(scene) for scene in self.scenes)

    def images(self) -> Iterator[Image]:
        """Yield every frame (H, W, 3) uint8 RGB, before compression."""
        index = count()
        for scene in self.scenes:
            for place in range(len(scene)):
                yield render_frame(scene.tissue.image, scene.camera, scene.conditions, self.scope, place, next(index))

    def true_frames(self) -> Iterator[TrueFrame]:
        """Yield the ground truth of every frame."""
        for scene in self.scenes:
            for place in range(len(scene)):
                yield true_frame(scene, self.scope, place)


class ClipSource:
    """A clip as a `Source` of frames, with its ground truth. Each call of `frames` starts again at the first."""

    live = reads_ahead = False
    duration_s: float | None = None
    decoder: str | None = None
    warning: str | None = None

    def __init__(self, clip: Clip) -> None:
        self.clip, self.name, self.size = clip, clip.name, clip.scope.frame_size
        self.rate_hz: Fraction | None = clip.rate_hz
        self.frames_total: int | None = len(clip)
        self._stopped = False

    def truth(self) -> VideoTruth:
        """Return the ground truth of every frame."""
        return VideoTruth(self.name, self.size, self.clip.rate_hz, list(self.clip.true_frames()))

    def compressed(self) -> Iterator[CompressedFrame]:
        """Yield every frame with its packet in the H.264 stream, dropped frames included."""
        return compress(self.clip.images(), rate_hz=self.clip.rate_hz)

    def frames(self) -> Iterator[Frame]:
        """Yield every frame. Frames that a live source would drop are included: dropping happens after a source."""
        self._stopped = False
        for index, compressed in enumerate(self.compressed()):
            if self._stopped:
                return
            yield Frame(index, float(index / self.clip.rate_hz), time.monotonic(), compressed.image)

    def close(self) -> None:
        """Stop `frames` before its next frame."""
        self._stopped = True


def make_clip(
    stills: Sequence[Still], *, seed: int, number: int, seconds: float = 60.0, frame_size: tuple[int, int] = FRAME_SIZE
) -> Clip:
    """Draw up the clip with this number. Neighbouring numbers use other stills, as far as there are enough.

    Raises:
        ValueError: no still is usable for a scene.
        FileNotFoundError: a still cannot be read.
    """
    rng = np.random.default_rng([seed, number])
    rate_hz = RATES_HZ[int(rng.integers(len(RATES_HZ)))]
    scope = draw_scope(rng, frame_size)
    setting = Setting(scope, float(rate_hz), rng)
    order = [stills[place] for place in np.random.default_rng(seed).permutation(len(stills))]
    scenes = list(_draw_scenes(order, setting, number, round(seconds * rate_hz)))
    for place in range(1, len(scenes)):
        change: Change = rng.choice(list(_CHANGE_PROBABILITIES), p=list(_CHANGE_PROBABILITIES.values()))
        scenes[place - 1 : place + 1] = join_scenes(scenes[place - 1], scenes[place], change, setting)
    frames = sum(len(scene) for scene in scenes)
    return Clip(f"seed {seed} clip {number}", rate_hz, scope, tuple(scenes), _draw_dropped(setting, frames))


def _draw_scenes(order: Sequence[Still], setting: Setting, number: int, frames: int) -> Iterator[Scene]:
    """Yield scenes of exactly `frames` frames in total; the first and the last have no polyp."""
    with_polyps = [still for still in order if len(still.boxes)]
    polyps, beside = (_deal_tissue(deck, number * _STILLS_PER_CLIP) for deck in (with_polyps, with_polyps[::-1]))
    plain = _deal_tissue([still for still in order if not len(still.boxes)], number * _PLAIN_STILLS_PER_CLIP)
    rng, second, done, polyp_frames, identity = setting.rng, setting.rate_hz, 0, 0, 1
    while done < frames:
        length, left = int(rng.uniform(*_POLYP_SCENE_S) * second), frames - done
        if done and left - length > _MIN_SCENE_S * second and 2 * (polyp_frames + length) <= done + length:
            enters = bool(rng.random() < _ENTERING_PROBABILITY)
            make = partial(scene_with_polyps, setting=setting, count=length, enters=enters)
            scene = _first_usable(polyps, make)
            scene = replace(scene, ids=tuple(range(identity, identity + len(scene.tissue.masks))))
            identity, polyp_frames = identity + len(scene.ids), polyp_frames + length
        else:
            length = int(rng.uniform(*_PLAIN_SCENE_S) * second)
            length = length if left - length > _MIN_SCENE_S * second else left
            kinds = (plain, beside) if rng.random() < _PLAIN_STILL_PROBABILITY else (beside, plain)
            scene = _first_usable(chain(*kinds), partial(scene_without, setting=setting, count=length))
        done += length
        yield scene


def _deal_tissue(stills: Sequence[Still], place: int) -> Iterator[Tissue]:
    """Yield the tissue of each usable still once, from this position on, cyclically."""
    start = place % max(1, len(stills))
    for still in (*stills[start:], *stills[:start]):
        if tissue := cut_tissue(still):
            yield tissue


def _first_usable(deck: Iterator[Tissue], make: Callable[[Tissue], Scene | None]) -> Scene:
    for tissue in deck:
        if scene := make(tissue):
            return scene
    raise ValueError("the stills are too few for a clip of this length, or show too little tissue beside their polyps")


def _draw_dropped(setting: Setting, frames: int) -> frozenset[int]:
    """Draw the indices of dropped frames, in bursts as on a busy machine; never the first frame."""
    rng, dropped = setting.rng, set[int]()
    for _ in range(rng.poisson(_BURSTS_PER_MINUTE * frames / setting.rate_hz / 60)):
        start = int(rng.integers(1, frames))
        dropped |= set(range(start, min(frames, start + int(rng.integers(1, _LONGEST_BURST)))))
    return frozenset(dropped)
