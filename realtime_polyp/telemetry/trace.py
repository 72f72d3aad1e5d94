"""Timeline of all threads and CUDA streams, for chrome://tracing or ui.perfetto.dev."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

_MOST_SPANS = 300_000  # the newest are kept: about eight minutes of a 60 Hz source


@dataclass(frozen=True)
class Span:
    """A period of work.

    Attributes:
        track: the thread or CUDA stream.
        name: of the work.
        start_s, end_s: time.perf_counter(), s.
        arguments: shown with the span.
    """

    track: str
    name: str
    start_s: float
    end_s: float
    arguments: dict[str, Any]


class Trace:
    """Collects spans from any thread; keeps the newest. `lost` counts those that were discarded."""

    def __init__(self, *, most_spans: int = _MOST_SPANS) -> None:
        self._spans: deque[Span] = deque(maxlen=most_spans)
        self._lock = threading.Lock()
        self.lost = 0

    def add(self, track: str, name: str, start_s: float, end_s: float, **arguments: Any) -> None:
        with self._lock:
            self.lost += len(self._spans) == self._spans.maxlen
            self._spans.append(Span(track, name, start_s, end_s, arguments))

    def spans(self) -> list[Span]:
        with self._lock:
            return list(self._spans)


def events_of(spans: list[Span], *, lost: int = 0) -> dict[str, Any]:
    """Convert spans to Chrome's trace event format: one row per track, microseconds since the first span."""
    rows = {track: number for number, track in enumerate(dict.fromkeys(span.track for span in spans), 1)}
    began_s = min((span.start_s for span in spans), default=0.0)
    names = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": row, "args": {"name": track}} for track, row in rows.items()
    ]
    work = [
        {
            "ph": "X",
            "name": span.name,
            "pid": 1,
            "tid": rows[span.track],
            "ts": round((span.start_s - began_s) * 1e6, 1),
            "dur": round((span.end_s - span.start_s) * 1e6, 1),
            "args": span.arguments,
        }
        for span in spans
    ]
    return {"displayTimeUnit": "ms", "otherData": {"spans_lost": lost}, "traceEvents": names + work}
