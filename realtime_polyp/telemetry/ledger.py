"""Exact accounting of frames: captured = shown + dropped[stage][reason] + pending at all times."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """Counts at one moment.

    Attributes:
        captured: frames read from the source.
        shown: frames shown.
        dropped: dropped frames by stage and reason.
        pending: frames neither shown nor dropped yet.
    """

    captured: int
    shown: int
    dropped: dict[str, dict[str, int]]
    pending: int

    @property
    def dropped_total(self) -> int:
        return sum(count for reasons in self.dropped.values() for count in reasons.values())

    def __add__(self, other: "Tally") -> "Tally":
        """Count two parts of a session together."""
        dropped = {stage: dict(reasons) for stage, reasons in self.dropped.items()}
        for stage, reasons in other.dropped.items():
            total = dropped.setdefault(stage, {})
            for reason, count in reasons.items():
                total[reason] = total.get(reason, 0) + count
        captured, shown = self.captured + other.captured, self.shown + other.shown
        return Tally(captured, shown, dropped, self.pending + other.pending)

    @property
    def balanced(self) -> bool:
        return self.captured == self.shown + self.dropped_total + self.pending


NO_TALLY = Tally(0, 0, {}, 0)


class Ledger:
    """Follows each frame by its index; thread-safe.

    Pending frames are a set, not a difference of counters. A lost frame therefore stays pending, and a frame that is
    counted twice or was never captured raises KeyError.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: set[int] = set()
        self._captured = self._shown = 0
        self._dropped: dict[str, dict[str, int]] = {}

    def captured(self, index: int) -> None:
        with self._lock:
            if index in self._pending:
                raise KeyError(f"frame {index} was captured twice")
            self._pending.add(index)
            self._captured += 1

    def shown(self, index: int) -> None:
        with self._lock:
            self._pending.remove(index)
            self._shown += 1

    def dropped(self, index: int, stage: str, reason: str) -> None:
        with self._lock:
            self._pending.remove(index)
            reasons = self._dropped.setdefault(stage, {})
            reasons[reason] = reasons.get(reason, 0) + 1

    def drop_pending(self, stage: str, reason: str) -> None:
        """Count every pending frame as dropped, at the end of a session."""
        with self._lock:
            if self._pending:
                reasons = self._dropped.setdefault(stage, {})
                reasons[reason] = reasons.get(reason, 0) + len(self._pending)
                self._pending.clear()

    def tally(self) -> Tally:
        with self._lock:
            dropped = {stage: dict(reasons) for stage, reasons in self._dropped.items()}
            return Tally(self._captured, self._shown, dropped, len(self._pending))
