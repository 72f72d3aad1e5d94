"""What has just passed, kept in memory so that a recording can begin with it. Its pictures: `recording/packets.py`."""

import sqlite3
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.recording.store import EncodedFrame
from realtime_polyp.temporal.alarms import Alarm

_MOST_BYTES = 512 << 20  # then the oldest go; a minute takes some 10 MB


@dataclass(frozen=True)
class Captured:
    """A captured frame.

    Attributes:
        frame: as a session file stores it.
        time_s: `Frame.captured_s`; once it is kept, the recorder's clock.
        place: `Original.place`.
        came_s: time.monotonic() when it was handed over.
    """

    frame: EncodedFrame
    time_s: float
    place: float | None
    came_s: float = 0.0


class PreRollStore:
    """Takes what a `SessionStore` takes, and forgets what is older than `keep_s`. Owned by one thread.

    Alarms are not kept: those that have ended follow from the tracks.
    """

    path = Path()

    def __init__(self, keep_s: float) -> None:
        self._keep_s, self._bytes = keep_s, 0
        self.frames: deque[Captured] = deque()
        self._events: deque[tuple[str, float, dict[str, Any]]] = deque()
        self.last_number = 0

    @property
    def zero_s(self) -> float:
        """The recorder's clock at the first frame that is kept, s."""
        return self.frames[0].time_s if self.frames else 0.0

    @property
    def before(self) -> int:
        """Frames that were forgotten."""
        return self.last_number - len(self.frames)

    @property
    def events(self) -> Iterator[tuple[str, float, dict[str, Any]]]:
        """Kind, time on the recorder's clock and detail of the events since the first frame."""
        return (one for one in self._events if one[1] >= self.zero_s)

    @property
    def database(self) -> sqlite3.Connection:
        raise RuntimeError("nothing is recorded yet")

    def add(self, frame: EncodedFrame, *, session_s: float, picture_s: float | None) -> int:
        """Keep a frame; picture_s: `Original.place`."""
        self.last_number += 1
        self.frames.append(Captured(frame, session_s, picture_s))
        self._bytes += frame.size_bytes
        while session_s - self.frames[0].time_s > self._keep_s or self._bytes > _MOST_BYTES:
            self._bytes -= self.frames.popleft().frame.size_bytes
        return self.last_number

    def add_event(self, kind: str, *, session_s: float, **detail: Any) -> None:
        self._events.append((kind, session_s, detail))
        while self._events[0][1] < session_s - self._keep_s:
            self._events.popleft()

    def set_fact(self, name: str, value: Any) -> None:
        """Facts are written when recording begins."""

    def add_alarm(self, alarm: Alarm, best_number: int) -> None:
        """See the class."""

    def begin(self) -> None:
        """There is no transaction."""

    def commit(self) -> None:
        """There is no transaction."""

    def fold(self) -> None:
        """There is no log."""

    def sync(self) -> None:
        """There is nothing on the disk."""

    def close(self) -> None:
        self.frames.clear()

    def fail(self, reason: dict[str, Any]) -> None:
        self.frames.clear()
