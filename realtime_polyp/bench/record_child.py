"""A recording that is meant to come to harm: `record_faults.py` runs it in a process of its own."""

import pickle
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.packets import Frame, Result
from realtime_polyp.recording.live_original import LiveOriginal
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.start import open_feed, period_of
from realtime_polyp.sources import NetworkSource, PatternSource, Source

SIZE, RATE_HZ = (320, 240), 25
PIECE_S = 0.02


def record(folder: Path, kind: str, inputs: Path, parent: "Connection[Any, Any]") -> None:
    """Record a live source into a folder, until the parent sends something.

    kind: "encoded" is a test pattern, "packets" a stream over loopback. Sends for each frame its index and when the
    recorder took it; at last the recorder's error, if there was one.
    """
    results: list[Result] = pickle.loads((inputs / "results.pickle").read_bytes())  # written by the parent
    source = _open(kind, inputs / "stream.ts")
    original = LiveOriginal(open_feed(source), folder)
    facts = {"source": {"name": kind, "path": None}}
    recorder = SessionRecorder(folder, facts, original, live=True, period_s=period_of(source))
    try:
        for number, frame in enumerate(_until(source.frames(), parent)):
            taken_s = time.monotonic()
            recorder.capture(frame)
            recorder.write(result_of(frame, results[number % len(results)]))
            parent.send((frame.index, taken_s))
        recorder.close()
    except OutputError as error:
        parent.send(str(error))
    source.close()


def result_of(frame: Frame, other: Result) -> Result:
    """A frame with the result of another one."""
    return replace(other, frame=frame, raw=replace(other.raw, frame=frame) if other.raw else None)


def _until(frames: Iterator[Frame], parent: "Connection[Any, Any]") -> Iterator[Frame]:
    for frame in frames:
        yield frame
        if parent.poll():
            return


def _open(kind: str, stream: Path) -> Source:
    if kind == "encoded":
        return PatternSource(f"pattern:{SIZE[0]}x{SIZE[1]}@{RATE_HZ}")
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server, stream), daemon=True).start()
    return NetworkSource(f"tcp://127.0.0.1:{server.getsockname()[1]}", probe_s=0.3)


def _serve(server: socket.socket, stream: Path) -> None:
    """Send a stream in its own time: the file's name is followed by its duration in `stream.txt`."""
    data, duration_s = stream.read_bytes(), float(stream.with_suffix(".txt").read_text())
    connection, _ = server.accept()
    piece, begin_s = max(188, round(len(data) * PIECE_S / duration_s)), time.monotonic()
    with suppress(OSError):  # the receiver goes away
        for count, at in enumerate(range(0, len(data), piece)):
            connection.sendall(data[at : at + piece])
            time.sleep(max(0.0, begin_s + count * PIECE_S - time.monotonic()))
