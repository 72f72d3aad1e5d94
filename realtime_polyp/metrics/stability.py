"""Stability of the shown boxes: identity switches, gaps, and jitter of position and size (docs/accuracy.md).

The true motion is removed first, so a steady box on a moving polyp counts as steady. All figures describe the boxes on
the screen; only identity switches use track ids. Without temporal filtering the ids of each frame are ranks by score,
so the number of switches has no meaning there.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.motion import find_motion, warp_box
from realtime_polyp.metrics.overlaps import matches, pairs, stacked
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame
from realtime_polyp.packets import Boxes

AWAY_S = 1.0  # a polyp that was out of view for longer starts a new visit, in which another id is no switch
_ROUNDING_S = 1e-6
Matches = Mapping[int, int]  # polyp id -> index of the shown box on it


@dataclass(frozen=True)
class Stability:
    """Counts and sums over one or more videos. The properties are the figures, None if undefined.

    Attributes:
        polyps: number of polyps that must be found.
        switches: how often the track id on a polyp changed within a visit.
        gaps: how often a polyp in view was not shown, between two times that it was.
        gap_s: duration of all gaps, s.
        toggles: changes between shown and not shown, after the first time shown.
        view_s: time in view of all polyps, s.
        steps: pairs of consecutive frames with a box on the same polyp.
        step_iou_sum: over the steps, IoU of the box with the one before, warped by the true motion.
        position_sum: over the steps, squared change of the centre's error, as a share of the true size.
        size_sum: over the steps, squared change of the size's error, as a share of the true size.
        boxes: number of boxes on polyps.
        box_iou_sum: over the boxes, IoU with the true box.
    """

    polyps: int = 0
    switches: int = 0
    gaps: int = 0
    gap_s: float = 0.0
    toggles: int = 0
    view_s: float = 0.0
    steps: int = 0
    step_iou_sum: float = 0.0
    position_sum: float = 0.0
    size_sum: float = 0.0
    boxes: int = 0
    box_iou_sum: float = 0.0

    def __add__(self, other: "Stability") -> "Stability":
        return Stability(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def switches_per_polyp(self) -> float | None:
        return self.switches / self.polyps if self.polyps else None

    @property
    def gaps_per_polyp(self) -> float | None:
        return self.gaps / self.polyps if self.polyps else None

    @property
    def mean_gap_s(self) -> float | None:
        return self.gap_s / self.gaps if self.gaps else None

    @property
    def toggles_per_minute(self) -> float | None:
        """Changes between shown and not shown per minute that a polyp is in view."""
        return 60 * self.toggles / self.view_s if self.view_s else None

    @property
    def step_iou(self) -> float | None:
        """Mean IoU of a box with the one before, warped by the true motion; 1 is perfectly steady."""
        return self.step_iou_sum / self.steps if self.steps else None

    @property
    def position_jitter(self) -> float | None:
        """RMS change of the centre's error between consecutive frames, as a share of the true box's size."""
        return float(np.sqrt(self.position_sum / self.steps)) if self.steps else None

    @property
    def size_jitter(self) -> float | None:
        """RMS change of the error of width and height between consecutive frames, as a share of the true size."""
        return float(np.sqrt(self.size_sum / self.steps)) if self.steps else None

    @property
    def box_iou(self) -> float | None:
        """Mean IoU with the true box. It shows the cost of smoothing: lag lowers it."""
        return self.box_iou_sum / self.boxes if self.boxes else None


@dataclass(frozen=True)
class _MatchedFrame:
    """The truth of one frame, what was shown in it, and which shown box is on which polyp."""

    true: TrueFrame
    shown: ShownFrame
    matches: Matches

    def box(self, identity: int) -> Boxes:
        box: Boxes = self.shown.boxes[self.matches[identity]]
        return box

    def track_id(self, identity: int) -> int:
        return int(self.shown.ids[self.matches[identity]])

    def found_polyps(self) -> set[int]:
        """Return the ids of polyps with a box on them, without difficult polyps."""
        return set(self.matches) & set(self.true.polyps)


def stability(truth: VideoTruth, screen: Sequence[ShownFrame]) -> Stability:
    """Measure the stability of the shown boxes. screen: what was shown in each frame of the truth."""
    matched = match_frames(truth.frames, screen)
    frames = [_MatchedFrame(*one) for one in zip(truth.frames, screen, matched, strict=True)]
    polyps = sorted({identity for frame in truth.frames for identity in frame.polyps})
    parts = [
        *(_box_accuracy(frame.true.polyps[one], frame.box(one)) for frame in frames for one in frame.found_polyps()),
        *(step for before, after in pairwise(frames) for step in _steps(before, after)),
        *(_continuity(identity, frames, truth.period_s) for identity in polyps),
    ]
    return sum(parts, Stability())


def match_frames(truth: Sequence[TrueFrame], screen: Sequence[ShownFrame]) -> list[Matches]:
    """Match shown boxes and polyps of each frame one to one.

    A pair of the frame before is kept while it still overlaps; the others are matched at the largest sum of IoU.
    Source: CLEAR MOT (Bernardin & Stiefelhagen, EURASIP JIVP 2008), section 2.1.2.
    """
    result: list[Matches] = []
    track_ids: dict[int, int] = {}  # polyp id -> track id, of the frame before
    for true, shown in zip(truth, screen, strict=True):
        matched = _match_frame(true, shown, {} if true.cut else track_ids)
        track_ids = {identity: int(shown.ids[index]) for identity, index in matched.items()}
        result.append(matched)
    return result


def _match_frame(true: TrueFrame, shown: ShownFrame, track_ids: Mapping[int, int]) -> dict[int, int]:
    boxes = {**true.difficult, **true.polyps}
    if not boxes or not len(shown.boxes):
        return {}
    index_of = {int(track_id): index for index, track_id in enumerate(shown.ids)}
    kept = {one: index_of[track_id] for one, track_id in track_ids.items() if one in boxes and track_id in index_of}
    kept = {one: at for one, at in kept.items() if matches(shown.boxes[at : at + 1], boxes[one][None]).any()}
    free = [index for index in range(len(shown.boxes)) if index not in kept.values()]
    rest = [identity for identity in boxes if identity not in kept]
    found = pairs(shown.boxes[free], stacked([boxes[identity] for identity in rest]))
    return {**kept, **{rest[column]: free[row] for row, column in found}}


def _box_accuracy(true: Boxes, shown: Boxes) -> Stability:
    return Stability(boxes=1, box_iou_sum=float(iou_matrix(shown[None], true[None])[0, 0]))


def _steps(before: _MatchedFrame, after: _MatchedFrame) -> Iterator[Stability]:
    """Yield the jitter between two consecutive frames, for each polyp that is found in both."""
    for identity in before.found_polyps() & after.found_polyps():
        motion = find_motion(identity, before.true, after.true)
        if motion is not None:
            old, new = (_error(one.box(identity), one.true.polyps[identity]) for one in (before, after))
            yield _step(warp_box(before.box(identity), motion), after.box(identity), new - old)


def _step(expected: Boxes, box: Boxes, change: Boxes) -> Stability:
    position, size = (float((part**2).sum()) for part in (change[:2], change[2:]))
    overlap = float(iou_matrix(expected[None], box[None])[0, 0])
    return Stability(steps=1, step_iou_sum=overlap, position_sum=position, size_sum=size)


def _error(box: Boxes, true: Boxes) -> Boxes:
    """Return the error of centre and size (4,), as shares of the true width and height."""
    size, true_size = box[2:] - box[:2], true[2:] - true[:2]
    centre, true_centre = (box[2:] + box[:2]) / 2, (true[2:] + true[:2]) / 2
    return np.concatenate([(centre - true_centre) / true_size, (size - true_size) / true_size])


def _continuity(identity: int, frames: Sequence[_MatchedFrame], period_s: float) -> Stability:
    """Return the switches, gaps, toggles and time in view of one polyp."""
    total = Stability(polyps=1)
    for visit in _visits(identity, frames, period_s):
        track_ids = [frame.track_id(identity) for frame in visit if identity in frame.matches]
        required = [identity in frame.true.polyps for frame in visit]
        shown = [identity in frame.matches for frame in visit]
        total += Stability(switches=sum(a != b for a, b in pairwise(track_ids)), view_s=sum(required) * period_s)
        # A difficult polyp need not be found, so a frame that does not show it is no interruption.
        total += _interruptions([hit for hit, must in zip(shown, required, strict=True) if must or hit], period_s)
    return total


def _visits(identity: int, frames: Sequence[_MatchedFrame], period_s: float) -> list[list[_MatchedFrame]]:
    """Return the frames of each visit of a polyp, difficult ones included. A cut or an absence over AWAY_S ends it."""
    visits: list[list[_MatchedFrame]] = []
    away_s = math.inf
    for frame in frames:
        away_s = math.inf if frame.true.cut else away_s
        if frame.true.box(identity) is None:
            away_s += period_s
            continue
        if away_s > AWAY_S + _ROUNDING_S:
            visits.append([])
        visits[-1].append(frame)
        away_s = 0.0
    return visits


def _interruptions(shown: Sequence[bool], period_s: float) -> Stability:
    """Return the gaps and toggles of one visit. shown: for each frame in which the polyp must be shown or was."""
    if not any(shown):
        return Stability()
    first, last = shown.index(True), len(shown) - shown[::-1].index(True)
    between = shown[first:last]
    gaps = sum(a and not b for a, b in pairwise(between))
    toggles = sum(a != b for a, b in pairwise(shown[first:]))
    return Stability(gaps=gaps, gap_s=between.count(False) * period_s, toggles=toggles)
