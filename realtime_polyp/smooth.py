"""Steadiness over time: polyps followed from frame to frame, and the mask with them.

All times are seconds of the video's own clock, because a live source drops frames. Association is greedy by IoU after
moving each track on at its own velocity, in the spirit of SORT (Bewley et al., ICIP 2016); confirm, hold and release
are what an endoscopist feels: when a box appears, how long it survives a blurred frame, when it goes.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Boxes, Detections, Mask, Track

_ROUNDING_S = 1e-6
_CUT_S = 1.0  # a longer step of the clock, or one backwards, is a cut or a seek


@dataclass(frozen=True)
class SmoothConfig:
    """confirm_s: seen this long before it is shown. hold_s: shown this long unseen. release_s: remembered this long
    unseen (hold_s at least). least_iou: of a box with a track it continues. box_s, mask_s: time constants of the
    averages; 0 turns one off. gap_s: longest pause in a tentative track's sightings."""

    confirm_s: float = 0.15
    hold_s: float = 0.20
    release_s: float = 0.60
    least_iou: float = 0.2
    box_s: float = 0.06
    mask_s: float = 0.08
    gap_s: float = 0.15


@dataclass(frozen=True)
class _Path:
    """A track's memory. number: what a person reads, given when confirmed. velocity: of its centre (2,) px/s."""

    key: int
    number: int | None
    box: Boxes
    velocity: Boxes
    score: float
    first_s: float
    seen_s: float

    @property
    def confirmed(self) -> bool:
        return self.number is not None


class Smoother:
    """The only memory between frames: one `update` a frame, in order."""

    def __init__(self, config: SmoothConfig = SmoothConfig()) -> None:
        self._config = config
        self._keys: Iterator[int] = itertools.count(1)
        self._numbers: Iterator[int] = itertools.count(1)
        self._paths: list[_Path] = []
        self._mask: Mask | None = None
        self._now_s: float | None = None

    def forget(self) -> None:
        """What was followed is gone: a cut, a seek, a picture of another size. Polyps are counted on."""
        self._paths, self._mask, self._now_s = [], None, None

    def update(self, detections: Detections, mask: Mask | None, pts_s: float) -> tuple[tuple[Track, ...], Mask | None]:
        """Tracks and steadied mask of the frame at `pts_s`."""
        step_s = 0.0 if self._now_s is None else pts_s - self._now_s
        if step_s < 0 or step_s > _CUT_S:
            self.forget()
            step_s = 0.0
        self._now_s = pts_s
        before = {path.key: path.box for path in self._paths}
        self._paths = self._follow(detections, pts_s, step_s)
        steadied = self._steady(mask, before, step_s)
        self._mask = steadied
        return tuple(self._track(path, pts_s) for path in self._paths), steadied

    def _follow(self, detections: Detections, pts_s: float, step_s: float) -> list[_Path]:
        self._paths = [path for path in self._paths if self._alive(path, pts_s, step_s)]
        moved = [replace(path, box=path.box + np.tile(path.velocity * step_s, 2)) for path in self._paths]
        pairs = match([path.box for path in moved], detections.boxes, self._config.least_iou)
        seen = {
            path_index: self._seen(self._paths[path_index], moved[path_index], detections, found, pts_s)
            for path_index, found in pairs.items()
        }
        kept = [seen.get(index, self._unseen(path)) for index, path in enumerate(self._paths)]
        born = [
            self._born(detections, index, pts_s) for index in range(len(detections)) if index not in set(pairs.values())
        ]
        return kept + born

    def _seen(self, last: _Path, path: _Path, detections: Detections, index: int, pts_s: float) -> _Path:
        step_s = max(1e-3, pts_s - path.seen_s)
        weight = _weight(step_s, self._config.box_s)
        box = path.box + weight * (detections.boxes[index] - path.box)
        shift = (box - last.box).reshape(2, 2).mean(0)
        velocity = path.velocity + 0.5 * weight * (shift / step_s - path.velocity)
        return replace(
            path,
            box=box.astype(np.float32),
            velocity=velocity.astype(np.float32),
            score=float(path.score + weight * (float(detections.scores[index]) - path.score)),
            seen_s=pts_s,
            number=path.number or self._number(pts_s - path.first_s),
        )

    def _number(self, age_s: float) -> int | None:
        """The next polyp's number, for a track old enough to be shown."""
        return next(self._numbers) if age_s >= self._config.confirm_s - _ROUNDING_S else None

    def _unseen(self, path: _Path) -> _Path:
        return replace(path, velocity=np.zeros(2, np.float32))  # a blind guess drifts: hold the box where it was

    def _born(self, detections: Detections, index: int, pts_s: float) -> _Path:
        score = float(detections.scores[index])
        box = detections.boxes[index]
        return _Path(next(self._keys), self._number(0.0), box, np.zeros(2, np.float32), score, pts_s, pts_s)

    def _alive(self, path: _Path, pts_s: float, step_s: float) -> bool:
        """Seen lately enough to be continued; at a low rate, in the frame before."""
        limit_s = self._config.release_s if path.confirmed else self._config.gap_s
        return pts_s - path.seen_s <= max(limit_s, step_s) + _ROUNDING_S

    def _track(self, path: _Path, pts_s: float) -> Track:
        unseen_s = pts_s - path.seen_s
        hidden = not path.confirmed or unseen_s > self._config.hold_s + _ROUNDING_S
        state = "tentative" if hidden else "held" if unseen_s > 0 else "shown"
        return Track(path.number or -path.key, path.box, path.score, state, pts_s - path.first_s, unseen_s)  # type: ignore[arg-type]

    def _steady(self, mask: Mask | None, before: dict[int, Boxes], step_s: float) -> Mask | None:
        """Blend the mask with its past, moved along with the tracks; where nothing is tracked, the present alone."""
        past = self._mask
        if mask is None or past is None or self._config.mask_s <= 0 or step_s <= 0:
            return mask
        if past.field != mask.field or past.probability.shape != mask.probability.shape:
            return mask
        blended = mask.probability.copy()
        weight = _weight(step_s, self._config.mask_s)
        for path in self._paths:
            if path.key in before:
                _blend(blended, mask, past, before[path.key], path.box, weight)
        return replace(mask, probability=blended)


def match(tracks: list[Boxes], found: Boxes, least_iou: float) -> dict[int, int]:
    """Pairs {track: detection}, best IoU first, each used once, none below `least_iou`."""
    if not tracks or not len(found):
        return {}
    overlaps = pairwise_iou(np.stack(tracks), found)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        track, detection = np.unravel_index(flat, overlaps.shape)
        if overlaps[track, detection] < least_iou:
            break
        if int(track) not in pairs and int(detection) not in pairs.values():
            pairs[int(track)] = int(detection)
    return pairs


def pairwise_iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """IoU of every box of a (n, 4) with every box of b (m, 4): (n, m)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(-1)
    areas_a, areas_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b))
    return np.asarray(shared / np.maximum(areas_a[:, None] + areas_b[None] - shared, 1e-6), np.float32)


def _weight(step_s: float, constant_s: float) -> float:
    """Of the new value in an exponential average over `constant_s` after `step_s`."""
    return 1.0 if constant_s <= 0 else 1.0 - float(np.exp(-step_s / constant_s))


def _blend(target: NDArray[np.float32], mask: Mask, past: Mask, old_box: Boxes, box: Boxes, weight: float) -> None:
    """Within the track's box (in map cells, a little margin), mix in the past map moved as the box moved."""
    height, width = mask.probability.shape
    cell = np.array([mask.field.width / width, mask.field.height / height], np.float32)
    corner = np.array([mask.field.x1, mask.field.y1], np.float32)
    old, new = ((b.reshape(2, 2) - corner) / cell for b in (old_box, box))
    size = np.maximum(new[1] - new[0], 1e-3)
    (x1, y1), (x2, y2) = np.floor(new[0] - 0.1 * size).astype(int), np.ceil(new[1] + 0.1 * size).astype(int)
    x1, y1, x2, y2 = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
    if x2 <= x1 or y2 <= y1:
        return
    shift = (old.mean(0) - new.mean(0)).astype(np.float32)
    matrix = np.array([[1, 0, x1 + shift[0]], [0, 1, y1 + shift[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(past.probability, matrix, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    target[y1:y2, x1:x2] = weight * mask.probability[y1:y2, x1:x2] + (1 - weight) * moved
