"""Runs the program itself on a stream for a given time: window, models and recorder. See `soak.py`.

The argument is a description of the run in JSON; the last line of output is the report.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from realtime_polyp.cli.opening import open_named
from realtime_polyp.cli.options import parse
from realtime_polyp.console import EXIT_INTERRUPTED
from realtime_polyp.json_files import parse_json
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.telemetry.board import Board, Status, recent_delays
from realtime_polyp.telemetry.deadlines import limits_ms, misses_of
from realtime_polyp.telemetry.histogram import DELAY_PERCENTS
from realtime_polyp.telemetry.ledger import Tally
from realtime_polyp.telemetry.machine import resident_mb
from realtime_polyp.viewer.host import Host
from realtime_polyp.viewer.session_factory import show_source

_SAMPLES = 120
_LONGEST_WARM_S = 60.0
_FIRST_PICTURE_S = 300.0


class _Given(msgspec.Struct, frozen=True):
    """What `soak.py` asks for. config: of a `RuntimeConfig`."""

    config: dict[str, Any]
    source: str
    length_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    rate_hz: Annotated[int, msgspec.Meta(ge=1, le=240)]
    folder: str


class _Drop(msgspec.Struct, frozen=True):
    """How many results or pictures the recorder left out, because the disk or the encoder was too slow."""

    what: str
    count: int


def main(arguments: list[str]) -> int:
    try:
        given = parse_json(" ".join(arguments), _Given, "the argument", "a description of a run in JSON")
    except ValueError as error:
        print(f"realtime_polyp.bench.soak_child: {error}", file=sys.stderr)
        return 2
    report = soak(given)
    sys.stdout.write(f"\n{json.dumps(report)}\n")
    sys.stdout.flush()
    return 0


def end_by_signal() -> None:
    """End the window as a supervisor does."""
    os.kill(os.getpid(), signal.SIGTERM)


def soak(given: _Given, end: Callable[[], None] = end_by_signal) -> dict[str, Any]:
    """Show and record the stream for its time; returns the figures. Raises what the program raises.

    end: closes the window; called on another thread.
    """
    folder = Path(given.folder)
    options = parse([given.source, "--record", str(folder), "--no-sound"])
    runtime = open_runtime(RuntimeConfig(**given.config | {"live": True}))
    runtime.pipeline()
    host = Host()
    sampler = Sampler(host.board, given.length_s, end)
    began_cpu_s, began_s = time.process_time(), time.monotonic()
    code = show_source(open_named(options, given.source), runtime, options, host)
    busy = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
    if code not in (0, EXIT_INTERRUPTED):
        raise RuntimeError(f"the window ended with code {code}")
    session = sampler.session
    if session is None:
        raise RuntimeError("the stream gave no picture")
    session.wait(5)
    return {
        **sampler.report(given.rate_hz),
        "pictures": _account(session.tally()),
        "analyses": _account(session.analyses.tally()),
        "cores_busy": round(busy, 2),
        "recording": _recording(folder),
    }


class Sampler:
    """Asks the board from a thread of its own, and ends the window when the time is over."""

    def __init__(self, board: Board, length_s: float, end: Callable[[], None]) -> None:
        self._stream, self._length_s, self._end = board.stream(), length_s, end
        self.warm_s = min(_LONGEST_WARM_S, length_s / 5)
        sixth_s = (length_s - self.warm_s) / 6
        # Where the first sixth begins and ends, and where the last begins. Only these statuses and the last are kept:
        # each holds 0.2 MB of histograms, and all of them would look like memory that the program loses.
        self._marks_s = (self.warm_s, self.warm_s + sixth_s, length_s - sixth_s)
        self.samples: list[dict[str, float]] = []
        self.statuses: list[tuple[float, Status]] = []
        self.session: Any = None
        threading.Thread(target=self._run, name="sampler", daemon=True).start()

    def _run(self) -> None:
        until_s = time.monotonic() + _FIRST_PICTURE_S
        while self._stream.picture is None and time.monotonic() < until_s:
            time.sleep(0.05)
        if self._stream.picture is None:
            self._end()
            return
        self.session, began_s = self._stream.session, time.monotonic()
        wanted_s: tuple[float, ...] = self._marks_s
        before = self._stream.snapshot()
        for number in range(_SAMPLES + 1):
            time.sleep(max(0.0, began_s + number * self._length_s / _SAMPLES - time.monotonic()))
            now_s, status = time.monotonic() - began_s, self._stream.snapshot()
            if number == _SAMPLES or (wanted_s and now_s >= wanted_s[0]):
                self.statuses.append((now_s, status))
                wanted_s = tuple(mark_s for mark_s in wanted_s if mark_s > now_s)
            sample = {"s": round(now_s, 1), "memory_mb": round(resident_mb(), 1), **_handles()}
            self.samples.append(sample | _overlay_ms(status, before))
            before = status
        self._end()

    def report(self, rate_hz: int) -> dict[str, Any]:
        """The figures, as JSON types. Deadlines count from the end of the warm-up."""
        warm, first_end, last_begin = (self._at(mark_s) for mark_s in self._marks_s)
        last = self.statuses[-1][1]
        delays = {"first": (warm, first_end), "last": (last_begin, last)}
        pictures = _between(last.pictures, warm.pictures)
        overlays = recent_delays(last, warm)[1]
        return {
            "samples": self.samples,
            "warm_s": self.warm_s,
            **{name: _delays(later, earlier) for name, (earlier, later) in delays.items()},
            "misses": {
                name: misses_of(pictures, overlays, limit_ms).to_dict() for name, limit_ms in limits_ms(rate_hz).items()
            },
            "every": last.every,
        }

    def _at(self, time_s: float) -> Status:
        """The first status at this time or later."""
        return next((status for at_s, status in self.statuses if at_s >= time_s), self.statuses[-1][1])


def _handles() -> dict[str, int]:
    """Numbers of threads, those of libraries too, and of open files."""
    threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return {"threads": threads, "files": files}


def _overlay_ms(later: Status, earlier: Status) -> dict[str, float]:
    """Delays of the overlays that were painted from one status to a later one; none where there was no overlay."""
    summary = recent_delays(later, earlier)[1].summary(DELAY_PERCENTS)
    return {f"overlay_{name}_ms": value for name in ("p50", "p99") if (value := summary[name]) is not None}


def _delays(later: Status, earlier: Status) -> dict[str, Any]:
    video, annotation = recent_delays(later, earlier)
    return {
        "video_delay_ms": video.summary(DELAY_PERCENTS),
        "annotation_delay_ms": annotation.summary(DELAY_PERCENTS),
        "overlays": annotation.count,
    }


def _between(later: Tally, earlier: Tally) -> Tally:
    """What was counted from one tally to a later one."""
    dropped = {
        stage: {reason: count - earlier.dropped.get(stage, {}).get(reason, 0) for reason, count in reasons.items()}
        for stage, reasons in later.dropped.items()
    }
    return Tally(
        later.captured - earlier.captured, later.shown - earlier.shown, dropped, later.pending - earlier.pending
    )


def _account(tally: Tally) -> dict[str, Any]:
    return {
        "captured": tally.captured,
        "shown": tally.shown,
        "dropped": tally.dropped_total,
        "reasons": tally.dropped,
        "pending": tally.pending,
    }


def _recording(folder: Path) -> dict[str, Any]:
    (name,) = [one for one in folder.iterdir() if one.is_dir()]
    session = RecordedSession(name)
    try:
        rows = session.database.execute("SELECT detail FROM events WHERE kind = 'drop'").fetchall()
        drops = [parse_json(text, _Drop, "an event", "a drop") for (text,) in rows]
        left_out = {name: sum(one.count for one in drops if one.what == name) for name in ("results", "pictures")}
        return {"frames": len(session.frames), "left_out": left_out, "problems": list(session.problems)}
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
