"""What a clinic feels of a video: which polyps were announced, how soon, and how often it cried wolf (METRICS 4).

All times are seconds of the video's own clock: a frame lasts until the next one, the last one before a cut, a seek or
the end for the video's exact period. Nothing here knows how the boxes were found or smoothed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.overlaps import Boxes, matches, stacked

DURATIONS_S = (0.0, 0.5, 1.0, 2.0)  # classes of false alarms: as long as this or longer; 0 is any
WITHIN_S = 3.0  # σ of per-polyp sensitivity
FOR_S, FOR_LONGER_S = 0.5, 2.0  # τ, both told
LONGEST_STEP_S = 1.0  # a longer step of the clock, or none, or one backwards, is a cut or a seek
_ROUNDING_S = 1e-6
_NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class SeenFrame:
    """One frame: what is true and what was shown; boxes xyxy px of one grid.

    polyps: {id: box (4,)} to be found. faint: {id: box (4,)} of those hardly to be seen, neither demanded nor counted
    as false. shown: (n, 4), tentative tracks left out. cut: this frame continues nothing.
    """

    pts_s: float
    polyps: Mapping[int, Boxes] = field(default_factory=dict)
    faint: Mapping[int, Boxes] = field(default_factory=dict)
    shown: Boxes = field(default_factory=lambda: _NO_BOXES)
    cut: bool = False


@dataclass(frozen=True)
class Run:
    """Neighbouring frames of one kind: when the first begins and how long they last together."""

    start_s: float
    duration_s: float

    def lasts(self, least_s: float) -> bool:
        return self.duration_s >= least_s - _ROUNDING_S


@dataclass(frozen=True)
class PolypRecord:
    """How one polyp was announced. in_view_s: how long it was there to be found.

    shown: runs without interruption, their start in seconds of the polyp's own view: time passes while it is there to
    be found, and stands still while it is faint or gone.
    """

    id: int
    in_view_s: float
    shown: tuple[Run, ...]

    @property
    def first_shown_s(self) -> float | None:
        """First-detection time: how long it had been in view when first shown; None when missed."""
        return self.shown[0].start_s if self.shown else None

    def found(self, *, within_s: float = WITHIN_S, for_s: float = FOR_S) -> bool:
        """Shown for `for_s` (τ) without interruption, from within its first `within_s` (σ) in view."""
        return any(run.start_s <= within_s + _ROUNDING_S and run.lasts(for_s) for run in self.shown)


@dataclass(frozen=True)
class VideoRecord:
    """One video's events. duration_s: of all its frames together."""

    duration_s: float
    polyps: tuple[PolypRecord, ...]
    false_alarms: tuple[Run, ...]


@dataclass(frozen=True)
class EventFigures:
    """Over one or more videos; None where there is nothing to tell it from.

    sensitivity, sensitivity_longer: share of polyps found within σ = WITHIN_S for τ = FOR_S, FOR_LONGER_S.
    first_shown_s, first_shown_quartiles_s: median and quartiles over the polyps that were shown at all. missed: polyps
    that never were. minutes: of video. false_alarms_per_minute: of each class of DURATIONS_S.
    """

    minutes: float
    polyps: int
    missed: int
    sensitivity: float | None
    sensitivity_longer: float | None
    first_shown_s: float | None
    first_shown_quartiles_s: tuple[float, float] | None
    false_alarms_per_minute: Mapping[float, float]


def video_record(frames: Sequence[SeenFrame], *, period_s: float) -> VideoRecord:
    """frames: in order of the video. period_s: one over its exact rate. Raises ValueError for a period of 0 or less."""
    alike = [np.zeros(len(frame.shown)) for frame in frames]
    return records_by_level(frames, alike, (0.0,), period_s=period_s)[0.0]


def records_by_level(
    frames: Sequence[SeenFrame], values: Sequence[NDArray[np.floating]], levels: Sequence[float], *, period_s: float
) -> dict[float, VideoRecord]:
    """For each level the record there would be, had only the boxes of that value or more been shown.

    values: one of each shown box (n,) of each frame, such as its score or for how long it has been there. Boxes are
    held against the truth once, however many levels there are. Raises ValueError as `video_record` does.
    """
    if not period_s > 0:
        raise ValueError(f"a frame's period must be above 0 s, not {period_s}")
    lasting = durations(frames, period_s)
    judged = [_judged(frame, value) for frame, value in zip(frames, values, strict=True)]
    places = _places(frames)
    return {level: _record(frames, judged, lasting, places, level) for level in levels}


def event_figures(videos: Sequence[VideoRecord]) -> EventFigures:
    """Polyps, false alarms and minutes of all videos together."""
    polyps = [polyp for video in videos for polyp in video.polyps]
    firsts = [polyp.first_shown_s for polyp in polyps if polyp.first_shown_s is not None]
    minutes = sum(video.duration_s for video in videos) / 60
    alarms = [run for video in videos for run in video.false_alarms]
    quartiles = [float(value) for value in np.percentile(firsts, [25, 50, 75])] if firsts else None
    return EventFigures(
        minutes,
        len(polyps),
        len(polyps) - len(firsts),
        _share_found(polyps, FOR_S),
        _share_found(polyps, FOR_LONGER_S),
        quartiles[1] if quartiles else None,
        (quartiles[0], quartiles[2]) if quartiles else None,
        {least_s: sum(run.lasts(least_s) for run in alarms) / minutes for least_s in DURATIONS_S} if minutes else {},
    )


def _share_found(polyps: Sequence[PolypRecord], for_s: float) -> float | None:
    return sum(polyp.found(for_s=for_s) for polyp in polyps) / len(polyps) if polyps else None


def durations(frames: Sequence[SeenFrame], period_s: float) -> list[float]:
    """How long each frame stays, s."""
    lasting = [after.pts_s - frame.pts_s if continues(frame, after) else period_s for frame, after in pairwise(frames)]
    return [*lasting, *([period_s] if frames else [])]


def continues(frame: SeenFrame, after: SeenFrame) -> bool:
    """Whether the next frame is of the same time: no cut between, and no seek."""
    return not after.cut and 0 < after.pts_s - frame.pts_s <= LONGEST_STEP_S


def runs(marked: Iterable[bool], frames: Sequence[SeenFrame], lasting: Sequence[float]) -> Iterator[Run]:
    """The runs of marked frames, which end at a cut too. lasting: as `durations` has it."""
    start_s, duration_s = 0.0, 0.0
    before: SeenFrame | None = None
    for mark, frame, frame_s in zip(marked, frames, lasting, strict=True):
        cut = before is not None and not continues(before, frame)
        if duration_s and (cut or not mark):
            yield Run(start_s, duration_s)
            duration_s = 0.0
        if mark:
            start_s = start_s if duration_s else frame.pts_s
            duration_s += frame_s
        before = frame
    if duration_s:
        yield Run(start_s, duration_s)


@dataclass(frozen=True)
class _Judged:
    """One frame's boxes. hits: {id: the highest value of a box that reaches this polyp}. false: of one that reaches
    none; minus infinity where there is none."""

    hits: Mapping[int, float]
    false: float


def _judged(frame: SeenFrame, values: NDArray[np.floating]) -> _Judged:
    if not len(frame.shown):
        return _Judged({}, -math.inf)
    true = {**frame.faint, **frame.polyps}
    reached = matches(frame.shown, stacked(list(true.values())))
    hits = {
        identity: float(values[reached[:, place]].max())
        for place, identity in enumerate(true)
        if reached[:, place].any()
    }
    false = values[~reached.any(axis=1)]
    return _Judged(hits, float(false.max()) if len(false) else -math.inf)


def _places(frames: Sequence[SeenFrame]) -> dict[int, list[int]]:
    """The frames in which each polyp is there, faint or not; of those polyps that are to be found at all."""
    places: dict[int, list[int]] = {}
    for place, frame in enumerate(frames):
        for identity in {**frame.faint, **frame.polyps}:
            places.setdefault(identity, []).append(place)
    return {one: places[one] for one in sorted({identity for frame in frames for identity in frame.polyps})}


def _record(
    frames: Sequence[SeenFrame],
    judged: Sequence[_Judged],
    lasting: Sequence[float],
    places: Mapping[int, Sequence[int]],
    level: float,
) -> VideoRecord:
    return VideoRecord(
        sum(lasting),
        tuple(_polyp_record(identity, frames, judged, lasting, there, level) for identity, there in places.items()),
        tuple(runs((one.false >= level for one in judged), frames, lasting)),
    )


def _polyp_record(
    identity: int,
    frames: Sequence[SeenFrame],
    judged: Sequence[_Judged],
    lasting: Sequence[float],
    there: Sequence[int],
    level: float,
) -> PolypRecord:
    view_s = 0.0
    shown: list[Run] = []
    going = False
    last = -1
    for place in there:
        going = going and last == place - 1 and continues(frames[last], frames[place])
        hit = judged[place].hits.get(identity, -math.inf) >= level
        if hit and going:
            shown[-1] = Run(shown[-1].start_s, shown[-1].duration_s + lasting[place])
        elif hit:
            shown.append(Run(view_s, lasting[place]))
        # Faint and not shown: not demanded, and so no interruption.
        going = hit or (going and identity not in frames[place].polyps)
        view_s += lasting[place] if identity in frames[place].polyps else 0.0
        last = place
    return PolypRecord(identity, view_s, tuple(shown))
