"""How steady what is shown stays on a polyp: its number, its box, and whether it is there at all (METRICS 4).

The truth's own movement is taken out first, so that a steady box on a moving polyp counts as steady. All figures are of
what was on the screen, whatever track drew it; only identity switches ask for its number. (Unsteadied output numbers
the boxes of each frame by score: its switches say nothing.)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.motion import motion_of, moved_box
from realtime_polyp.metrics.overlaps import matches, pairs, stacked
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame
from realtime_polyp.packets import Boxes

AWAY_S = 1.0  # a polyp out of view for longer comes back as a new visit: another number then is no switch
_ROUNDING_S = 1e-6
Places = Mapping[int, int]  # polyp -> which of the frame's shown boxes is on it


@dataclass(frozen=True)
class Stability:
    """Counts and sums over one or more videos; the properties are the figures, None where nothing tells them.

    switches: times that a polyp's number changed within a visit. gaps, gap_s: a polyp in view not shown, between two
    times that it was. toggles: changes between shown and not shown, after the first time shown. view_s: time in view.
    steps: neighbouring frames with a box on the same polyp, with sums of the box's IoU with itself moved on, and of the
    squared changes of its error in place and size, in shares of the true box. boxes: boxes on a polyp, with their IoU.
    """

    polyps: int = 0
    switches: int = 0
    gaps: int = 0
    gap_s: float = 0.0
    toggles: int = 0
    view_s: float = 0.0
    steps: int = 0
    step_iou_sum: float = 0.0
    place_sum: float = 0.0
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
        """Of polyps in view."""
        return 60 * self.toggles / self.view_s if self.view_s else None

    @property
    def step_iou(self) -> float | None:
        """Mean IoU of a box with itself a frame before, moved as the polyp moved: 1 is perfectly steady."""
        return self.step_iou_sum / self.steps if self.steps else None

    @property
    def place_jitter(self) -> float | None:
        """How far the error of the centre jumps from frame to frame: rms, as a share of the true box's size."""
        return float(np.sqrt(self.place_sum / self.steps)) if self.steps else None

    @property
    def size_jitter(self) -> float | None:
        """How far the error of width and height jumps: rms, as a share of the true box's size."""
        return float(np.sqrt(self.size_sum / self.steps)) if self.steps else None

    @property
    def box_iou(self) -> float | None:
        """Mean IoU of a box with its polyp's: steadiness that is paid for with lag shows here."""
        return self.box_iou_sum / self.boxes if self.boxes else None


@dataclass(frozen=True)
class _Moment:
    """One frame: what is true, what was shown, and which shown box is on which polyp."""

    true: TrueFrame
    shown: ShownFrame
    places: Places

    def box(self, identity: int) -> Boxes:
        box: Boxes = self.shown.boxes[self.places[identity]]
        return box

    def number(self, identity: int) -> int:
        return int(self.shown.ids[self.places[identity]])

    def demanded(self) -> set[int]:
        """The polyps with a box that are clearly there."""
        return set(self.places) & set(self.true.polyps)


def stability(truth: VideoTruth, screen: Sequence[ShownFrame]) -> Stability:
    """screen: one entry a true frame."""
    placed = placements(truth.frames, screen)
    moments = [_Moment(*one) for one in zip(truth.frames, screen, placed, strict=True)]
    polyps = sorted({identity for frame in truth.frames for identity in frame.polyps})
    parts = [
        *(_on(moment.true.polyps[one], moment.box(one)) for moment in moments for one in moment.demanded()),
        *(step for before, after in pairwise(moments) for step in _steps(before, after)),
        *(_visits_of(identity, moments, truth.period_s) for identity in polyps),
    ]
    return sum(parts, Stability())


def placements(truth: Sequence[TrueFrame], screen: Sequence[ShownFrame]) -> list[Places]:
    """Which shown box is on which polyp, each once: a pair of the frame before stays while it still overlaps, the rest
    overlap as much as can be. Source: CLEAR MOT (Bernardin & Stiefelhagen, EURASIP JIVP 2008), section 2.1.2."""
    placed: list[Places] = []
    numbers: dict[int, int] = {}  # polyp -> number, of the frame before
    for true, shown in zip(truth, screen, strict=True):
        places = _placed(true, shown, {} if true.cut else numbers)
        numbers = {identity: int(shown.ids[place]) for identity, place in places.items()}
        placed.append(places)
    return placed


def _placed(true: TrueFrame, shown: ShownFrame, numbers: Mapping[int, int]) -> dict[int, int]:
    boxes = {**true.faint, **true.polyps}
    if not boxes or not len(shown.boxes):
        return {}
    where = {int(number): place for place, number in enumerate(shown.ids)}
    kept = {one: where[number] for one, number in numbers.items() if one in boxes and number in where}
    kept = {one: at for one, at in kept.items() if matches(shown.boxes[at : at + 1], boxes[one][None]).any()}
    free = [place for place in range(len(shown.boxes)) if place not in kept.values()]
    rest = [identity for identity in boxes if identity not in kept]
    found = pairs(shown.boxes[free], stacked([boxes[identity] for identity in rest]))
    return {**kept, **{rest[column]: free[row] for row, column in found}}


def _on(true: Boxes, shown: Boxes) -> Stability:
    return Stability(boxes=1, box_iou_sum=float(iou_matrix(shown[None], true[None])[0, 0]))


def _steps(before: _Moment, after: _Moment) -> Iterator[Stability]:
    for identity in before.demanded() & after.demanded():
        motion = motion_of(identity, before.true, after.true)
        if motion is not None:
            was, now = (_error(one.box(identity), one.true.polyps[identity]) for one in (before, after))
            yield _step(moved_box(before.box(identity), motion), after.box(identity), now - was)


def _step(expected: Boxes, box: Boxes, change: Boxes) -> Stability:
    place, size = (float((part**2).sum()) for part in (change[:2], change[2:]))
    overlap = float(iou_matrix(expected[None], box[None])[0, 0])
    return Stability(steps=1, step_iou_sum=overlap, place_sum=place, size_sum=size)


def _error(box: Boxes, true: Boxes) -> Boxes:
    """Of centre and size (4,), in shares of the true width and height."""
    size, true_size = box[2:] - box[:2], true[2:] - true[:2]
    centre, true_centre = (box[2:] + box[:2]) / 2, (true[2:] + true[:2]) / 2
    return np.concatenate([(centre - true_centre) / true_size, (size - true_size) / true_size])


def _visits_of(identity: int, moments: Sequence[_Moment], period_s: float) -> Stability:
    """One polyp's switches, gaps and toggles, and its time in view."""
    total = Stability(polyps=1)
    for visit in _visits(identity, moments, period_s):
        numbers = [moment.number(identity) for moment in visit if identity in moment.places]
        demanded = [identity in moment.true.polyps for moment in visit]
        shown = [identity in moment.places for moment in visit]
        total += Stability(switches=sum(a != b for a, b in pairwise(numbers)), view_s=sum(demanded) * period_s)
        # Faint and not shown: not demanded, and so no interruption.
        total += _interruptions([hit for hit, asked in zip(shown, demanded, strict=True) if asked or hit], period_s)
    return total


def _visits(identity: int, moments: Sequence[_Moment], period_s: float) -> list[list[_Moment]]:
    """The frames of each stay in view, faint ones included. A cut ends one, and so does being away for AWAY_S."""
    visits: list[list[_Moment]] = []
    away_s = math.inf
    for moment in moments:
        away_s = math.inf if moment.true.cut else away_s
        if moment.true.box(identity) is None:
            away_s += period_s
            continue
        if away_s > AWAY_S + _ROUNDING_S:
            visits.append([])
        visits[-1].append(moment)
        away_s = 0.0
    return visits


def _interruptions(shown: Sequence[bool], period_s: float) -> Stability:
    """Of one visit: shown or not, in those frames in which it was to be, or was."""
    if not any(shown):
        return Stability()
    first, last = shown.index(True), len(shown) - shown[::-1].index(True)
    between = shown[first:last]
    gaps = sum(a and not b for a, b in pairwise(between))
    toggles = sum(a != b for a, b in pairwise(shown[first:]))
    return Stability(gaps=gaps, gap_s=between.count(False) * period_s, toggles=toggles)
