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

    @property
    def balanced(self) -> bool:
        return self.captured == self.shown + self.dropped_total + self.pending


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
