"""Which part of a recording the timeline shows, and how pixels and times map to each other."""

from dataclasses import dataclass, replace

_SHORTEST_S = 0.5  # the closest zoom
_PAGE_AT, _PAGE_TO = 0.97, 0.1  # where the playhead leaves the view, and where it is then, as fractions of the width


@dataclass(frozen=True)
class TimelineView:
    """The part from `start_s` to `end_s` of a recording of `duration_s`, all s.

    A frame covers the time until the next one; `rate_hz` is the number of frames per second, if it is known.
    """

    duration_s: float
    start_s: float
    end_s: float
    rate_hz: float | None = None

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def is_zoomed(self) -> bool:
        return self.length_s < self.duration_s - 1e-6

    def zoom(self, factor: float, at_s: float) -> "TimelineView":
        """Show `factor` times less, with `at_s` at the same place on the screen."""
        length_s = min(max(self.length_s / factor, min(_SHORTEST_S, self.duration_s)), self.duration_s)
        share = (at_s - self.start_s) / self.length_s if self.length_s else 0.5
        return self._at(at_s - share * length_s, length_s)

    def pan(self, by_s: float) -> "TimelineView":
        """Show a later part, or an earlier one where negative."""
        return self._at(self.start_s + by_s, self.length_s)

    def follow(self, position_s: float) -> "TimelineView":
        """Turn the page when the playhead has left the view."""
        share = (position_s - self.start_s) / self.length_s if self.length_s else 0.0
        if not self.is_zoomed or 0 <= share <= _PAGE_AT:
            return self
        return self._at(position_s - _PAGE_TO * self.length_s, self.length_s)

    def to_px(self, time_s: float, width_px: float) -> float:
        """Where a time lies on a widget of this width, px."""
        return (time_s - self.start_s) / self.length_s * width_px if self.length_s else 0.0

    def to_s(self, x_px: float, width_px: float) -> float:
        """The time at a place, s, within the recording."""
        time_s = self.start_s + x_px / max(1.0, width_px) * self.length_s
        return min(max(0.0, time_s), self.duration_s)

    def frame_at(self, time_s: float) -> float:
        """The time to seek to, s, so that the frame that covers `time_s` is the first that is shown."""
        if not self.rate_hz:
            return time_s
        number = int(time_s * self.rate_hz + 1e-6)
        return max(0.0, (number - 0.3) / self.rate_hz)  # times are rounded: aim between this frame and the one before

    def _at(self, start_s: float, length_s: float) -> "TimelineView":
        start_s = min(max(0.0, start_s), self.duration_s - length_s)
        return replace(self, start_s=start_s, end_s=start_s + length_s)


def whole(duration_s: float, rate_hz: float | None = None) -> TimelineView:
    """Show the whole recording."""
    return TimelineView(duration_s, 0.0, duration_s, rate_hz)


_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def ticks(view: TimelineView, width_px: float, least_px: float) -> list[float]:
    """Round times for labels that are at least `least_px` apart, s."""
    wanted_s = view.length_s * least_px / max(1.0, width_px)
    step_s = next((one for one in _TICKS_S if one >= wanted_s), _TICKS_S[-1])
    first, last = int(view.start_s / step_s), int(view.end_s / step_s + 1e-9)
    return [number * step_s for number in range(first, last + 1) if number * step_s >= view.start_s - 1e-9]
