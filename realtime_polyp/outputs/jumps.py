"""Where a session left the course of its source, and which part of a recording was watched already."""

from dataclasses import dataclass
from typing import Any, Literal

JumpKind = Literal["seek", "again", "reconnect", "pace"]

_SAME_TIME_S = 1e-6
Span = tuple[float, float]


@dataclass(frozen=True)
class Jump:
    """The session goes on at another place of its source, or opened it anew.

    Attributes:
        kind: seek: a person sought. again: it plays from its start again, or goes on after a failure. reconnect: a live
            source was opened anew; its index and clock go on. pace: the same place, with more or less analysis.
        from_s: time of the last frame before it, on the source's clock; of a live source, the session's.
        to_s: time at which it goes on, on the same clock.
        session_s: when, in seconds since the session's start.
        every_picture: from here on the outputs get every captured picture, not only those with a result.
    """

    kind: JumpKind
    from_s: float
    to_s: float
    session_s: float
    every_picture: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        times = {"from_s": self.from_s, "to_s": self.to_s, "session_s": self.session_s}
        return {"kind": self.kind, **{name: round(value, 6) for name, value in times.items()}}


class Coverage:
    """The parts of a recording that were written. Each part is written once: the first time that it is watched."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._current: Span | None = None

    def take(self, pts_s: float) -> bool:
        """Whether the frame at this time is new; it is then written. Call it with rising times, from jump to jump."""
        if any(begin_s - _SAME_TIME_S <= pts_s <= end_s + _SAME_TIME_S for begin_s, end_s in self._spans):
            return False
        self._current = (self._current[0] if self._current else pts_s, pts_s)
        return True

    def jump(self) -> None:
        """The session goes on elsewhere; what was written up to now is not written again."""
        if self._current is not None:
            self._spans = _merged([*self._spans, self._current])
        self._current = None


def _merged(spans: list[Span]) -> list[Span]:
    """Join spans that overlap, in order."""
    merged: list[Span] = []
    for begin_s, end_s in sorted(spans):
        if merged and begin_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end_s, merged[-1][1]))
        else:
            merged.append((begin_s, end_s))
    return merged
