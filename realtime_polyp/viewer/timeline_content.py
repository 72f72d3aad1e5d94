"""What the timeline draws: the data of a recording, and how far it was analysed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.review.timeline_data import AlarmSpan, TimelineData
from realtime_polyp.viewer.shown_alarms import Span

Level = tuple[int, int]
"""Where in its row a bar lies: its level from the top, 0, 1, ..., and how many levels the row has there."""

NO_DATA = TimelineData(np.zeros(0), np.zeros(0, np.float32), np.zeros(0, "U1"), np.zeros(0, "U1"))


@dataclass(frozen=True)
class TimelineContent:
    """One state of the timeline.

    Attributes:
        data: curves, bands, alarms and marks. The number of an alarm is 0 where it is not known.
        analysed: the parts of which every frame was analysed, s; None: the whole recording.
        sampled: the parts of which some frames were analysed, s.
        failed: the parts that could not be analysed, s.
        threshold: lowest score of a box that is shown, 0..1.
        loop_s: the stretch that is played again and again, s; its end is None until it was chosen.
        progress: share of the recording that the analysis ahead has covered, 0..1; None where none runs.
    """

    data: TimelineData = NO_DATA
    analysed: tuple[Span, ...] | None = None
    sampled: tuple[Span, ...] = ()
    failed: tuple[Span, ...] = ()
    threshold: float = 0.0
    loop_s: tuple[float, float | None] | None = None
    progress: float | None = None

    @property
    def has_two_rows(self) -> bool:
        """Whether there is a second analysis to compare with."""
        return bool(self.data.other_alarms)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Where the bar of each alarm lies."""
        return levels_of(self.data.alarms)

    @cached_property
    def other_levels(self) -> tuple[Level, ...]:
        """The same for the alarms of the second analysis."""
        return levels_of(self.data.other_alarms)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """How many levels each row of bars has at most, from the top row down."""
        rows = (self.levels, self.other_levels) if self.has_two_rows else (self.levels,)
        return tuple(max((count for _, count in levels), default=1) for levels in rows)

    def alarm_at(self, time_s: float, share: float | None = None) -> AlarmSpan | None:
        """The alarm at a time: of several, the one whose bar is there, else the one that began last.

        share: where in the row of bars, from 0 at its top to 1; None: anywhere.
        """
        placed = zip(self.data.alarms, self.levels, strict=True)
        there = [(alarm, level) for alarm, level in placed if alarm[0] <= time_s <= alarm[1]]
        hit = [alarm for alarm, (level, count) in there if share is not None and level <= share * count < level + 1]
        return next(reversed([*(alarm for alarm, _ in there), *hit]), None)

    def frame_at(self, time_s: float) -> int | None:
        """Number of the entry of `data` that covers a time; None where there is none near."""
        times_s = self.data.times_s
        index = int(np.searchsorted(times_s, time_s + 1e-6, side="right")) - 1
        return index if 0 <= index < len(times_s) and time_s - times_s[index] < 1.0 else None


def levels_of(alarms: tuple[AlarmSpan, ...]) -> tuple[Level, ...]:
    """Return where the bar of each alarm lies. Alarms that overlap in time share the row; any other has all of it.

    alarms: in order of their start.
    """
    groups: list[list[int]] = []  # levels of alarms that overlap, directly or through others
    ends_s: list[float] = []  # where the last bar of each level ends, in the last group
    for start_s, end_s, _ in alarms:
        if all(end <= start_s for end in ends_s):
            groups.append([])
            ends_s = []
        level = next((place for place, end in enumerate(ends_s) if end <= start_s), len(ends_s))
        ends_s[level : level + 1] = [end_s]
        groups[-1].append(level)
    return tuple((level, max(group) + 1) for group in groups for level in group)


def columns(
    times_s: NDArray[np.float64], values: NDArray[np.float32], edges_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Highest value between each pair of neighbouring edges; NaN where there is none. edges_s: (n + 1,) rising."""
    at = np.searchsorted(times_s, edges_s)
    result = np.full(len(edges_s) - 1, np.nan, np.float32)
    filled = at[1:] > at[:-1]
    if filled.any():
        result[filled] = np.maximum.reduceat(values[: at[-1]], at[:-1][filled])
    return result


def fill_gaps(values: NDArray[np.float32], longest: float) -> NDArray[np.float32]:
    """Join known values by straight lines where no more than `longest` entries lie between them."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 2:
        return values
    at = np.arange(len(values))
    after = np.searchsorted(known, at).clip(1, len(known) - 1)
    left, right = known[after - 1], known[after]
    inside = (at >= left) & (at <= right) & (right - left <= max(2.0, longest))
    joined = np.interp(at, known, values[known]).astype(np.float32)
    return np.where(inside, joined, values)


def runs(times_s: NDArray[np.float64], labels: NDArray[np.str_], usual: str) -> list[tuple[float, float, str]]:
    """Stretches of one label other than the usual one, as (start, end, label), s."""
    if not len(times_s):
        return []
    changes = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    starts = np.concatenate([[0], changes])
    ends = np.concatenate([changes, [len(labels)]])
    period_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    until_s = np.append(times_s, times_s[-1] + period_s)
    return [
        (float(times_s[first]), float(until_s[last]), str(labels[first]))
        for first, last in zip(starts, ends, strict=True)
        if labels[first] != usual
    ]


def has_counterpart(alarm: AlarmSpan, others: tuple[AlarmSpan, ...]) -> bool:
    """Whether another analysis has an alarm at the same time."""
    return any(start_s < alarm[1] and alarm[0] < end_s for start_s, end_s, _ in others)
