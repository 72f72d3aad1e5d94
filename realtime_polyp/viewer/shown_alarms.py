"""The alarms that the user has seen so far: bars below the slider, and the moments to play a sound."""

from dataclasses import replace

from realtime_polyp.packets import Result
from realtime_polyp.temporal.alarms import Alarm, AlarmKeeper

Span = tuple[float, float]
"""Start and end in the recording, s."""


class ShownAlarms:
    """Follows alarms on the screen. Switching the overlay off does not end an alarm: the polyp is still there."""

    def __init__(self) -> None:
        self._keeper = AlarmKeeper(measure=lambda result, track: track.score)
        self._last: Result | None = None
        self._ended: tuple[Span, ...] = ()
        self._ended_of: dict[int, tuple[Span, ...]] = {}
        self._numbers: set[int] = set()
        self.started: tuple[Alarm, ...] = ()

    @property
    def polyps(self) -> int:
        """How many polyps were shown so far: the numbers that stood at their boxes, each counted once."""
        return len(self._numbers)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The times of all alarms so far, in order and without overlaps, also where a part was played twice."""
        return merge_spans((*self._ended, *((alarm.start_s, alarm.end_s) for alarm in self._keeper.open_alarms)))

    @property
    def bars(self) -> tuple[tuple[float, float, int], ...]:
        """Start, end, s, and number of all alarms so far, in order; each time of each number once."""
        spans = {number: list(ended) for number, ended in self._ended_of.items()}
        for alarm in self._keeper.open_alarms:
            spans.setdefault(alarm.track, []).append((alarm.start_s, alarm.end_s))
        return tuple(sorted((*span, number) for number, found in spans.items() for span in merge_spans(tuple(found))))

    def on_seek(self) -> None:
        """End all alarms: the recording continues elsewhere, and nothing was shown in between."""
        self._collect_ended(self._keeper.close())

    def update(self, result: Result | None, min_score: float) -> int:
        """Take the result on the screen, and return how many alarms start with it; `started` then has these.

        Call it for every painted frame, in order. min_score: lowest score of a box that is shown.
        """
        self.started = ()
        if result is None or result is self._last:
            return 0
        self._last = result
        shown = tuple(track for track in result.tracks if track.score >= min_score)
        changed = self._keeper.update(replace(result, tracks=shown))
        self._collect_ended(changed)
        self.started = tuple(alarm for alarm in changed if alarm.ended is None)
        self._numbers |= {alarm.track for alarm in self.started}
        return len(self.started)

    def _collect_ended(self, changed: tuple[Alarm, ...]) -> None:
        if ended := [(alarm.start_s, alarm.end_s) for alarm in changed if alarm.ended]:
            self._ended = merge_spans((*self._ended, *ended))
        for alarm in changed:
            if alarm.ended:
                before = self._ended_of.get(alarm.track, ())
                self._ended_of[alarm.track] = merge_spans((*before, (alarm.start_s, alarm.end_s)))


def merge_spans(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Join spans that overlap; returns them in order."""
    merged: list[Span] = []
    for start_s, end_s in sorted(spans):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end_s, merged[-1][1]))
        else:
            merged.append((start_s, end_s))
    return tuple(merged)
