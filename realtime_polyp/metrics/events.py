"""Event metrics of a video: which polyps were shown, how soon, and the rate of false alarms (docs/accuracy.md).

All times are seconds of the video's own clock. A frame lasts until the next one; the last frame before a cut, a seek
or the end lasts one frame period. The metrics depend only on the truth and on the boxes that were shown.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.overlaps import Boxes, matches, stacked

DURATIONS_S = (0.0, 0.5, 1.0, 2.0)  # classes of false alarms by minimum duration; 0 counts all
WITHIN_S = 3.0  # σ of per-polyp sensitivity
FOR_S, FOR_LONGER_S = 0.5, 2.0  # τ; both are reported
LONGEST_STEP_S = 1.0  # a longer step of the clock, or one of 0 or less, counts as a cut or a seek
_ROUNDING_S = 1e-6
_NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class SeenFrame:
    """The truth of one frame and what was shown in it. Boxes are xyxy px of one grid.

    Attributes:
        pts_s: time, s.
        polyps: {id: box (4,)} of polyps that must be found.
        difficult: {id: box (4,)} of polyps that are hardly visible: they need not be found, and a box on one is not
            false.
        shown: (n, 4), without tentative tracks.
        cut: this frame does not continue the one before.
    """

    pts_s: float
    polyps: Mapping[int, Boxes] = field(default_factory=dict)
    difficult: Mapping[int, Boxes] = field(default_factory=dict)
    shown: Boxes = field(default_factory=lambda: _NO_BOXES)
    cut: bool = False


@dataclass(frozen=True)
class Run:
    """Consecutive frames with a property, such as that a polyp is shown.

    Attributes:
        start_s: time of the first frame, s.
        duration_s: of all frames together, s.
    """

    start_s: float
    duration_s: float

    def lasts(self, least_s: float) -> bool:
        """Return whether the run has at least this duration."""
        return self.duration_s >= least_s - _ROUNDING_S


@dataclass(frozen=True)
class PolypRecord:
    """When one polyp was shown.

    Attributes:
        id: of the polyp in the truth.
        in_view_s: time in view, s, without the frames in which it is difficult.
        shown: uninterrupted runs in which it was shown. They start at seconds of its time in view, which does not
            advance while the polyp is difficult or absent.
    """

    id: int
    in_view_s: float
    shown: tuple[Run, ...]

    @property
    def first_shown_s(self) -> float | None:
        """First-detection time: time in view until the polyp was first shown, s; None if it was missed."""
        return self.shown[0].start_s if self.shown else None

    def found(self, *, within_s: float = WITHIN_S, for_s: float = FOR_S) -> bool:
        """Return whether a run of at least `for_s` (τ) started within the first `within_s` (σ) in view."""
        return any(run.start_s <= within_s + _ROUNDING_S and run.lasts(for_s) for run in self.shown)


@dataclass(frozen=True)
class VideoRecord:
    """The events of one video.

    Attributes:
        duration_s: of all frames together, s.
        polyps: one record per polyp that must be found, in order of id.
        false_alarms: runs of frames with at least one false box.
    """

    duration_s: float
    polyps: tuple[PolypRecord, ...]
    false_alarms: tuple[Run, ...]


@dataclass(frozen=True)
class EventFigures:
    """Event metrics of one or more videos. A figure is None if no polyp defines it.

    Attributes:
        minutes: duration of all videos.
        polyps: number of polyps that must be found.
        missed: number of polyps that were never shown.
        sensitivity: share of polyps found within σ = WITHIN_S for τ = FOR_S.
        sensitivity_longer: the same for τ = FOR_LONGER_S.
        first_shown_s: median first-detection time of the polyps that were shown, s.
        first_shown_quartiles_s: its first and third quartile, s.
        false_alarms_per_minute: {minimum duration, s: rate} for each class of DURATIONS_S; empty without video.
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
    """Return the events of one video. Raises ValueError for a period of 0 or less.

    frames: in order of the video. period_s: frame period, 1 / exact frame rate.
    """
    values = [np.zeros(len(frame.shown)) for frame in frames]
    return records_by_level(frames, values, (0.0,), period_s=period_s)[0.0]


def records_by_level(
    frames: Sequence[SeenFrame], values: Sequence[NDArray[np.floating]], levels: Sequence[float], *, period_s: float
) -> dict[float, VideoRecord]:
    """Return, for each level, the events if only boxes with at least that value were shown.

    values: one value per shown box (n,) for each frame, such as its score or its age. Boxes are matched with the truth
    once for all levels. Raises ValueError for a period of 0 or less.
    """
    if not period_s > 0:
        raise ValueError(f"the frame period must be above 0 s, not {period_s}")
    durations_s = frame_durations(frames, period_s)
    hits = [_match_frame(frame, value) for frame, value in zip(frames, values, strict=True)]
    indices = _frames_of_polyps(frames)
    return {
        level: VideoRecord(
            sum(durations_s),
            tuple(_polyp_record(identity, frames, hits, durations_s, at, level) for identity, at in indices.items()),
            tuple(runs((one.false >= level for one in hits), frames, durations_s)),
        )
        for level in levels
    }


def event_figures(videos: Sequence[VideoRecord]) -> EventFigures:
    """Return the event metrics over the polyps, false alarms and minutes of all videos."""
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


def frame_durations(frames: Sequence[SeenFrame], period_s: float) -> list[float]:
    """Return how long each frame lasts, s."""
    steps = [after.pts_s - frame.pts_s if continues(frame, after) else period_s for frame, after in pairwise(frames)]
    return [*steps, *([period_s] if frames else [])]


def continues(frame: SeenFrame, after: SeenFrame) -> bool:
    """Return whether the next frame continues this one, without a cut or a seek between them."""
    return not after.cut and 0 < after.pts_s - frame.pts_s <= LONGEST_STEP_S + _ROUNDING_S


def runs(marked: Iterable[bool], frames: Sequence[SeenFrame], durations_s: Sequence[float]) -> Iterator[Run]:
    """Yield the runs of marked frames. A run also ends at a cut. durations_s: as `frame_durations` returns them."""
    start_s, duration_s = 0.0, 0.0
    before: SeenFrame | None = None
    for mark, frame, frame_s in zip(marked, frames, durations_s, strict=True):
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
class _FrameHits:
    """The shown boxes of one frame, matched with its truth.

    Attributes:
        hits: {polyp id: highest value of a box on it}.
        false: highest value of a box that matches no polyp; minus infinity without such a box.
    """

    hits: Mapping[int, float]
    false: float


def _match_frame(frame: SeenFrame, values: NDArray[np.floating]) -> _FrameHits:
    if not len(frame.shown):
        return _FrameHits({}, -math.inf)
    true = {**frame.difficult, **frame.polyps}
    matched = matches(frame.shown, stacked(list(true.values())))
    hits = {
        identity: float(values[matched[:, column]].max())
        for column, identity in enumerate(true)
        if matched[:, column].any()
    }
    false = values[~matched.any(axis=1)]
    return _FrameHits(hits, float(false.max()) if len(false) else -math.inf)


def _frames_of_polyps(frames: Sequence[SeenFrame]) -> dict[int, list[int]]:
    """Return the indices of each polyp's frames, difficult or not, for polyps that must be found in some frame."""
    indices: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        for identity in {**frame.difficult, **frame.polyps}:
            indices.setdefault(identity, []).append(index)
    return {one: indices[one] for one in sorted({identity for frame in frames for identity in frame.polyps})}


def _polyp_record(
    identity: int,
    frames: Sequence[SeenFrame],
    hits: Sequence[_FrameHits],
    durations_s: Sequence[float],
    indices: Sequence[int],
    level: float,
) -> PolypRecord:
    view_s = 0.0
    shown: list[Run] = []
    running = False
    last = -1
    for index in indices:
        running = running and last == index - 1 and continues(frames[last], frames[index])
        hit = hits[index].hits.get(identity, -math.inf) >= level
        if hit and running:
            shown[-1] = Run(shown[-1].start_s, shown[-1].duration_s + durations_s[index])
        elif hit:
            shown.append(Run(view_s, durations_s[index]))
        # A difficult polyp need not be found, so a frame that does not show it is no interruption.
        running = hit or (running and identity not in frames[index].polyps)
        view_s += durations_s[index] if identity in frames[index].polyps else 0.0
        last = index
    return PolypRecord(identity, view_s, tuple(shown))
