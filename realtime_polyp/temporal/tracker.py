"""Steadiness over time: polyps followed from frame to frame, and the mask with them; the only memory between frames.

All times are seconds of the video's own clock, because a live source drops frames. `motion` tells how the camera moved,
`tracks` follows boxes, `masks` the outline, `looks` knows a polyp again.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.packets import Boxes, Detections, Mask, Track
from realtime_polyp.temporal.appearance import appearance_of, similarity
from realtime_polyp.temporal.association import match, nearness, pairwise_iou
from realtime_polyp.temporal.camera_motion import STILL, Camera, Motion
from realtime_polyp.temporal.config import DETECTOR_SCORES, PROBABILITIES, Evidence, TemporalConfig
from realtime_polyp.temporal.kalman import drift
from realtime_polyp.temporal.mask_filter import MaskMemory, Moved
from realtime_polyp.temporal.track import (
    Step,
    TrackState,
    alive,
    as_track,
    born,
    judged,
    may_start,
    paired,
    predicted,
    seen,
    unseen,
)

__all__ = [
    "DETECTOR_SCORES",
    "PROBABILITIES",
    "STILL",
    "Camera",
    "Evidence",
    "Motion",
    "Scene",
    "TemporalConfig",
    "Tracker",
    "match",
    "pairwise_iou",
    "warm_up",
]

_CUT_S = 1.0  # a longer step of the clock, or one backwards, is a cut or a seek
_LIKE = 0.5  # correlation of looks from which a polyp is known again
_LOOKS_EVERY_S = 0.25  # of a track
_REACH = 2.0  # of its size, how far from where it should be a polyp is known again


@dataclass(frozen=True)
class Scene:
    """What the tracker is told of a frame beside its boxes. motion: of the camera, since the frame before.

    image: (H, W, 3) RGB, to know polyps again by their looks; None: they are not. start_score: what a box must reach
    to start a track; weaker ones only continue one. evidence: what their scores are worth. trusted: the view is clear.
    """

    motion: Motion = STILL
    image: Image | None = None
    start_score: float = 0.0
    evidence: Evidence = DETECTOR_SCORES
    trusted: bool = True


class Tracker:
    """One `update` a frame, in order."""

    def __init__(self, config: TemporalConfig = TemporalConfig()) -> None:
        self._config = config
        self._keys: Iterator[int] = itertools.count(1)
        self._numbers: Iterator[int] = itertools.count(1)
        self._mask = MaskMemory(config.mask_s)
        self.forget()

    def forget(self) -> None:
        """What was followed is gone: a cut, a seek, a picture of another size. Polyps are counted on."""
        self._paths: list[TrackState] = []
        self._lost: list[TrackState] = []
        self._now_s: float | None = None
        self._mask.forget()

    @property
    def idle(self) -> bool:
        """Nothing is followed or remembered, so that how the camera moved makes no difference."""
        return not self._paths and not self._lost

    def update(
        self, detections: Detections, mask: Mask | None, pts_s: float, scene: Scene = Scene()
    ) -> tuple[tuple[Track, ...], Mask | None]:
        """Tracks and steadied mask of the frame at `pts_s`."""
        step_s = self._step(pts_s, cut=scene.motion.cut)
        step = Step(detections, scene.motion, pts_s, step_s, scene.start_score, scene.evidence, scene.trusted)
        before = {path.key: path for path in self._paths}
        self._paths = self._follow(step, scene.image)
        moves = [
            Moved(before[path.key].box, path.box, drift(before[path.key].state, step_s), unseen=path.seen_s < pts_s)
            for path in self._paths
            if path.key in before
        ]
        steadied = self._mask.update(mask, moves, scene.motion, step_s)
        return tuple(as_track(path, pts_s) for path in self._paths), steadied

    def _step(self, pts_s: float, *, cut: bool) -> float:
        """Seconds since the frame before; 0 with nothing to continue."""
        step_s = 0.0 if self._now_s is None else pts_s - self._now_s
        if step_s < 0 or step_s > _CUT_S:
            self.forget()
            step_s = 0.0
        elif cut:
            self._lose_sight()
        self._now_s = pts_s
        return step_s

    def _lose_sight(self) -> None:
        """Another scene, or something before the lens: nothing is followed on, what was shown may be known again."""
        self._lost += [path for path in self._paths if path.confirmed]
        self._paths = []
        self._mask.forget()

    def _follow(self, step: Step, image: Image | None) -> list[TrackState]:
        paths = [predicted(path, step, self._config) for path in self._paths]
        kept = [path for path in paths if alive(path, step, self._config)]
        self._lose([path for path in paths if path.confirmed and not alive(path, step, self._config)], step)
        pairs = paired(kept, step, self._config)
        followed = [
            seen(path, pairs[index], step, self._config) if index in pairs else unseen(path, step)
            for index, path in enumerate(kept)
        ]
        new = [
            born(next(self._keys), index, step, self._config)
            for index in range(len(step.detections))
            if index not in pairs.values() and may_start(index, step)
        ]
        paths = [judged(path, step.pts_s, self._config) for path in (*followed, *new)]
        return self._named(paths, step, image)

    def _lose(self, paths: list[TrackState], step: Step) -> None:
        """Keep in mind what is no longer followed, for as long as it may be known again."""
        kept = [predicted(path, step, self._config) for path in self._lost]
        self._lost = [path for path in kept if step.pts_s - path.seen_s <= self._config.reid_window_s] + paths

    def _named(self, paths: list[TrackState], step: Step, image: Image | None) -> list[TrackState]:
        """Give what has been found for long enough its number, its old one if it is known again."""
        hidden = [path for path in paths if not path.drawn]
        taken: set[int] = set()
        named = []
        for path in paths:
            if image is not None and path.seen_s == step.pts_s and _wants_looks(path, self._config, step):
                path = replace(path, looks=appearance_of(image, path.box), appearance_s=step.pts_s)
            if not path.confirmed and path.drawn:
                known = self._known_again(path, hidden, taken)
                first_s, number = (known.first_s, known.number) if known else (path.first_s, next(self._numbers))
                path = replace(path, number=number, first_s=first_s)
                taken |= {known.key} if known else set()
            named.append(path)
        self._lost = [path for path in self._lost if path.key not in taken]
        return [path for path in named if path.key not in taken]

    def _known_again(self, path: TrackState, hidden: list[TrackState], taken: set[int]) -> TrackState | None:
        """The polyp out of sight that this one looks like and is near to, if any."""
        ways = [(_resemblance(path, one), -one.key, one) for one in [*self._lost, *hidden] if one.confirmed]
        best = max((way for way in ways if way[2].key not in taken), default=None)
        return best[2] if best and best[0] >= _LIKE else None


def warm_up(image: Image, field: FieldOfView) -> None:
    """Compile what is compiled on first use, with any picture."""
    camera = Camera()
    smoother = Tracker(TemporalConfig(confirm_s=0.0))
    boxes = np.array([[8, 8, 40, 40]], np.float32)
    for index in range(3):
        scene = Scene(camera.update(image, field), image)
        smoother.update(Detections(boxes, np.ones(1, np.float32)), None, index / 30, scene)


def _wants_looks(path: TrackState, config: TemporalConfig, step: Step) -> bool:
    """When it is about to get a number, and every so often after."""
    if path.looks is None:
        return path.drawn
    return step.trusted and step.pts_s - path.appearance_s >= _LOOKS_EVERY_S


def _resemblance(path: TrackState, other: TrackState) -> float:
    """Likeness of two polyps' looks, -1 where they are too far apart or too unlike in size to be one."""
    near = nearness(_grown(path.box)[None], _grown(other.box)[None])[0, 0] > 0
    return similarity(path.looks, other.looks) if near and path.looks is not None and other.looks is not None else -1.0


def _grown(box: Boxes) -> Boxes:
    """The box _REACH times as wide and high."""
    half = (box[2:] - box[:2]) * (_REACH - 1) / 2
    return np.concatenate([box[:2] - half, box[2:] + half])
