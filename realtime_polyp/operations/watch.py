"""Writes what happens to the sessions into the log, from the board's snapshots, on a thread of its own."""

import platform
import sys
import threading
import time

from realtime_polyp.operations.event_log import ERROR, INFO, WARNING, EventLog, Level, Value
from realtime_polyp.telemetry.board import Board, Status, recent_delays
from realtime_polyp.telemetry.histogram import DELAY_PERCENTS
from realtime_polyp.telemetry.machine import resident_mb
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.telemetry.summary import package_version

_POLL_S = 0.25
FIGURES_S = 10.0
"""Time between two lines with figures, s."""
_CLOSE_S = 2.0
_LEVELS: dict[str, Level] = {"warn": WARNING, "bad": ERROR}


class LogWriter:
    """Asks the board four times per second until it is closed. Only its own thread waits for the disk."""

    def __init__(self, board: Board, log: EventLog, *, figures_s: float = FIGURES_S) -> None:
        self._board, self._log, self._figures_s = board, log, figures_s
        self._seen: dict[str, Status] = {}
        self._figures: dict[str, Status] = {}
        self._next_s, self._warned = time.monotonic() + figures_s, False
        self._end = threading.Event()
        self._code: int | None = None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def close(self, code: int) -> None:
        """Write the end. code: the program's exit code. A disk that does not answer is left alone after 2 s."""
        self._code = code
        self._end.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        lower_thread_priority()
        self._log.write("start", version=package_version(), python=platform.python_version(), system=sys.platform)
        while not self._end.wait(_POLL_S):
            self._poll()
        self._poll(last=True)
        self._log.write("end", exit_code=self._code, lost=self._log.lost)
        self._log.close()

    def _poll(self, *, last: bool = False) -> None:
        now_s, statuses = time.monotonic(), self._board.snapshot()
        for status in statuses:
            self._note_changes(status, self._seen.get(status.stream))
            self._seen[status.stream] = status
        if now_s >= self._next_s or last:
            self._next_s = now_s + self._figures_s
            for status in statuses:
                if status.pictures.captured:
                    self._write_figures(status)
        if self._log.error and not self._warned:
            self._warned = True
            print(f"realtime-polyp: the log has stopped: {self._log.error}", file=sys.stderr)
        self._warned = self._warned and self._log.error is not None

    def _note_changes(self, status: Status, before: Status | None) -> None:
        if status.models and (before is None or _source_of(status) != _source_of(before)):
            self._log.write(
                "source",
                stream=status.stream,
                live=status.live,
                width=status.size[0],
                height=status.size[1],
                rate_hz=None if status.rate_hz is None else round(status.rate_hz, 3),
                models=list(status.models),
                engines=list(status.engines),
            )
        if before is None or status.condition != before.condition:
            values: dict[str, Value] = {"stream": status.stream, "state": status.condition.name}
            if before:
                values |= {"before": before.condition.name, "lasted_s": round(before.since_s, 2)}
            if status.failed_stage:
                values |= {"stage": status.failed_stage, "error": status.failure}
            self._log.write("state", _LEVELS.get(status.condition.tone, INFO), **values)
        if before and status.every != before.every:
            self._log.write("analysis rate", WARNING, stream=status.stream, every=status.every)

    def _write_figures(self, status: Status) -> None:
        """Counts since the source began, and delays since the last such line."""
        before = self._figures.get(status.stream)
        self._figures[status.stream] = status
        video, annotation = recent_delays(status, before)
        self._log.write(
            "figures",
            stream=status.stream,
            captured=status.pictures.captured,
            shown=status.pictures.shown,
            analysed=status.analyses.shown,
            dropped=status.pictures.dropped_total,
            pending=status.pictures.pending,
            polyps=status.polyps,
            every=status.every,
            video_delay_ms=video.summary(DELAY_PERCENTS),
            annotation_delay_ms=annotation.summary(DELAY_PERCENTS),
            memory_mb=round(resident_mb(), 1),
            threads=threading.active_count(),
        )


def _source_of(status: Status) -> tuple[object, ...]:
    """What a line `source` of the log is of; where this changes, another line is written."""
    return status.source, status.size, status.models
