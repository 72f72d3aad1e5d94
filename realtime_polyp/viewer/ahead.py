"""Runs the analysis ahead of the player in a process of its own, at a low priority, and collects what it finds.

A process, not a thread: a thread of low priority would hold Python's lock while it waits for a core, and the picture
would wait with it. The process ends with the window, and its memory is free as soon as everything is analysed.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from realtime_polyp.cli.options import Options
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.review.key_pictures import key_frames
from realtime_polyp.review.look_ahead import Report, look_ahead
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.sources import open_source
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.viewer.findings import Findings
from realtime_polyp.viewer.thinned import Thinned

_LOW = 5  # the lowest would wait for ever where the player takes all of a small machine
_REST_S, _LONGEST_REST_S = 1.0, 2.0  # after the player was late; doubled while it stays late
_CALM_S = 6.0  # without lateness, until a rest is short again
_JOIN_S = 1.0


@dataclass(frozen=True)
class Job:
    """What is to be analysed.

    Attributes:
        source: the recording, as on the command line.
        config: how; the same as for playing.
        start_s, end_s: the part, s.
        allow_playlists: a playlist may lead to other files.
        deinterlace: as for playing; at most the rate of pictures.
    """

    source: str
    config: RuntimeConfig
    start_s: float
    end_s: float
    allow_playlists: bool = False
    deinterlace: Mode = "auto"


def file_of(source: str) -> Path | None:
    """The video file of a source that can be read a second time; None for anything else."""
    path = Path(source)
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):  # an address may be longer than a file's name
        return None


def job_of(
    runtime: Runtime, options: Options, duration_s: float | None, field: FieldOfView | None = None
) -> Job | None:
    """What is analysed ahead of the player; None where it was switched off, or nothing would be found.

    field: the field of view that a person named. A GPU is the player's alone.
    """
    if options.ahead is False or duration_s is None or runtime.detector is None:
        return None
    config = replace(runtime.config, field=field or runtime.config.field)
    if runtime.detector.device == "cuda":
        config = replace(config, device="cpu", engine="auto")
    deinterlace: Mode = "off" if options.deinterlace == "off" else "auto"
    return Job(options.source, config, options.start_s, duration_s, options.allow_playlists, deinterlace)


class Ahead:
    """The analysis ahead, which adds to the findings.

    Call `start` once, `give_way` while the player is late, and `close` at the end.
    """

    def __init__(self, job: Job, findings: Findings) -> None:
        self._job, self._findings = job, findings
        self._process: multiprocessing.process.BaseProcess | None = None
        self._ours: Connection | None = None
        self._rest_s, self._rests_until_s = _REST_S, 0.0

    def start(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(self._job, theirs), name="ahead", daemon=True)
        self._process.start()
        theirs.close()
        threading.Thread(target=self._collect, args=(self._ours,), name="ahead", daemon=True).start()

    def give_way(self) -> None:
        """Rest for a while: the player is late."""
        now_s = time.monotonic()
        if self._ours is None or now_s < self._rests_until_s or self._findings.is_over:
            return
        calm = now_s - self._rests_until_s > _CALM_S
        self._rest_s = _REST_S if calm else min(2 * self._rest_s, _LONGEST_REST_S)
        self._rests_until_s = now_s + self._rest_s
        with suppress(OSError):
            self._ours.send(now_s + self._rest_s)

    def close(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.join(_JOIN_S)

    def _collect(self, connection: Connection) -> None:
        with suppress(OSError, EOFError):
            while True:
                self._findings.add(connection.recv())
        self._findings.end()


def _run(job: Job, connection: Connection) -> None:
    """The process: analyse, and report. It ends when the viewer is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the viewer's
    lower_thread_priority(_LOW)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # a damaged file was reported by the viewer already
    with suppress(OSError, EOFError):
        began_s = time.monotonic()
        for report in _reports(job):
            connection.send(report)
            _rest(connection, time.monotonic() - began_s)
            began_s = time.monotonic()


def _rest(connection: Connection, worked_s: float) -> None:
    """Rest until the time that was asked for last, but no longer than was worked: a player may be late for ever.

    Both processes read time.monotonic(), which is one for the whole machine: the wall clock may be set meanwhile.
    """
    until_s = 0.0
    while connection.poll():
        until_s = connection.recv()
    time.sleep(min(max(0.0, until_s - time.monotonic()), worked_s))


def _reports(job: Job) -> Iterator[Report]:
    runtime = open_runtime(job.config)

    def open_part(start_s: float, end_s: float | None) -> Thinned:
        playlists, deinterlace = job.allow_playlists, job.deinterlace
        source = open_source(
            job.source, start_s=start_s, end_s=end_s, allow_playlists=playlists, deinterlace=deinterlace
        )
        return Thinned(source)

    def thin(source: object, step_s: float) -> Thinned:
        assert isinstance(source, Thinned)
        source.step_s = step_s
        return source

    keys = key_frames(Path(job.source), job.start_s, job.end_s, allow_playlists=job.allow_playlists)
    return look_ahead(open_part, runtime, job.start_s, job.end_s, keys=keys, thin=thin)
