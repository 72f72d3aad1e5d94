"""When something was shown on the screen: what the slider is marked with, and what the sound tells."""

from dataclasses import replace

from realtime_polyp.packets import Result
from realtime_polyp.temporal.alarms import Alarm, AlarmKeeper

Span = tuple[float, float]  # from, to: seconds of the recording


class ShownAlarms:
    """Hears of the result of each picture that is due, in order; overlay on or off, as the polyp is there."""

    def __init__(self) -> None:
        self._keeper = AlarmKeeper(measure=lambda result, track: track.score)
        self._last: Result | None = None
        self._ended: tuple[Span, ...] = ()

    @property
    def spans(self) -> tuple[Span, ...]:
        """When there were any so far, in order and apart; also over what was watched twice."""
        return merged((*self._ended, *((one.start_s, one.end_s) for one in self._keeper.going)))

    def sought(self) -> None:
        """The recording goes on elsewhere: nothing was shown on the way there."""
        self._keep(self._keeper.close())

    def hear(self, result: Result | None, min_score: float) -> int:
        """How many alarms begin. result: that of the picture on the screen. min_score: of a box that is shown."""
        if result is None or result is self._last:
            return 0
        self._last = result
        shown = tuple(track for track in result.tracks if track.score >= min_score)
        changed = self._keeper.update(replace(result, tracks=shown))
        self._keep(changed)
        return sum(one.ended is None for one in changed)

    def _keep(self, changed: tuple[Alarm, ...]) -> None:
        if ended := [(one.start_s, one.end_s) for one in changed if one.ended]:
            self._ended = merged((*self._ended, *ended))


def merged(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """The same times without overlaps, in order."""
    apart: list[Span] = []
    for start_s, end_s in sorted(spans):
        if apart and start_s <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end_s, apart[-1][1]))
        else:
            apart.append((start_s, end_s))
    return tuple(apart)
