"""Harms recordings at random moments, and tells what is left: killed, copied, on a full disk, in a removed folder."""

import multiprocessing
import pickle
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import av
import numpy as np
from tqdm import tqdm

from realtime_polyp.bench.record_child import RATE_HZ, SIZE, record
from realtime_polyp.field_of_view import whole
from realtime_polyp.packets import Detections, FilterCues, Frame, Mask, RawResult, Result, Track
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.matroska import last_time_s
from realtime_polyp.recording.schema import ORIGINAL_FILE, SESSION_FILE
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.telemetry.text_table import format_table

KINDS = ("encoded", "packets")
LIMIT_S = 1.0
"""The most that may be missing."""

_EARLIEST_S, _LATEST_S = 0.3, 3.0  # of the fault, after the first frame
_STREAM_S = 40.0
_DISK_MB = 24
_GOES_ON_S = 1.5  # after a folder was removed
_PATIENCE_S = 60.0
_PROCESSES = multiprocessing.get_context("forkserver")  # a process that has imported everything is forked
_PROCESSES.set_forkserver_preload(["realtime_polyp.bench.record_child"])


@dataclass(frozen=True)
class Left:
    """What is left of one recording.

    Attributes:
        fault: a key of FAULTS. kind: how the picture was recorded.
        after_s: time of the fault, s after the first frame.
        results_s, picture_s: what is missing before the fault, s.
        problem: what is wrong with what is left; None: nothing.
        told: what the person is told.
    """

    fault: str
    kind: str
    after_s: float
    results_s: float
    picture_s: float
    problem: str | None
    told: tuple[str, ...] = ()


@dataclass
class Child:
    """A recording in a process of its own. frames: {index: when it was taken}. error: what the recorder said."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"
    frames: dict[int, float] = field(default_factory=dict)
    error: str | None = None

    def wait_for_frame(self) -> None:
        """Wait for the first frame. Raises ValueError if none comes."""
        until_s = time.monotonic() + _PATIENCE_S
        while not self.frames:
            if not self.process.is_alive() or time.monotonic() > until_s:
                raise ValueError(f"the recording did not begin: {self.error or 'no reason'}")
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def end(self) -> None:
        """End it in an orderly way."""
        with suppress(OSError):
            self.pipe.send("end")
        self.process.join(_PATIENCE_S)


Fault = Callable[[Child, Path], tuple[Path, float]]
"""Harms the recording in a folder; returns where to look for the session, and the time of the fault."""


def _kill(child: Child, folder: Path) -> tuple[Path, float]:
    child.kill()
    return folder, time.monotonic()


def _copy(child: Child, folder: Path) -> tuple[Path, float]:
    copied_s, copy = time.monotonic(), folder.with_name("copy")
    shutil.copytree(folder, copy)
    child.kill()
    return copy, copied_s


def _fill(child: Child, folder: Path) -> tuple[Path, float]:
    filled_s = time.monotonic()
    for chunk in (1 << 16, 1 << 12):
        with suppress(OSError), open(folder.with_name("filler"), "ab", buffering=0) as filler:
            while filler.write(bytes(chunk)):
                pass
    child.process.join(_GOES_ON_S)
    child.end()
    return folder, filled_s


def _remove(child: Child, folder: Path) -> tuple[Path, float]:
    shutil.rmtree(folder, ignore_errors=True)  # what is written there meanwhile may be in the way
    until_s = time.monotonic() + _PATIENCE_S
    while not (folder / SESSION_FILE).exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    time.sleep(_GOES_ON_S)
    return _kill(child, folder)


def _move(child: Child, folder: Path) -> tuple[Path, float]:
    moved = folder.with_name("moved")
    folder.rename(moved)
    time.sleep(_GOES_ON_S)
    return _kill(child, moved)[0], time.monotonic()


FAULTS: dict[str, Fault] = {
    "kill -9": _kill,
    "file copy": _copy,
    "full disk": _fill,
    "removed folder": _remove,
    "moved folder": _move,
}


def measure_faults(count: int, *, seed: int = 0, faults: tuple[str, ...] = tuple(FAULTS)) -> list[Left]:
    """Harm `count` recordings with each fault at random moments. A full disk needs the right to mount one."""
    chance, left = random.Random(seed), list[Left]()
    with tempfile.TemporaryDirectory() as place, tqdm(total=count * len(faults), disable=None) as bar:
        inputs = write_inputs(Path(place))
        for number in range(count):
            for fault in faults:
                bar.set_postfix_str(fault)
                left.append(_harm(fault, KINDS[number % 2], inputs, chance.uniform(_EARLIEST_S, _LATEST_S)))
                bar.update()
    return left


def _harm(fault: str, kind: str, inputs: Path, after_s: float) -> Left:
    with _disk(small=fault == "full disk") as place:
        folder = place / "session"
        folder.mkdir()
        with _recording(folder, kind, inputs) as child:
            child.wait_for_frame()
            time.sleep(after_s)
            where, fault_s = FAULTS[fault](child, folder)
            return _judge(Left(fault, kind, after_s, 0.0, 0.0, None), child, where, fault_s)


def _judge(left: Left, child: Child, folder: Path, fault_s: float) -> Left:
    """Open what is left, and compare it with what was recorded."""
    try:
        session = RecordedSession(folder)
    except ValueError as error:
        return replace(left, problem=f"it does not open: {error}")
    broken = verify_chain(session)
    numbers, places = session.frames.source_index, session.frames.picture_s
    captured = {index: time_s for index, time_s in child.frames.items() if time_s <= fault_s}
    last_index = int(numbers[-1]) if len(numbers) else -1
    results_s = _missing_s(captured, last_index, fault_s)
    end_s = last_time_s(folder / ORIGINAL_FILE) if (folder / ORIGINAL_FILE).exists() else None
    with_picture = numbers[places <= end_s + 1e-3] if end_s is not None else numbers[:0]
    beyond_s = max(0.0, end_s - float(np.nanmax(places))) if end_s is not None and np.isfinite(places).any() else 0.0
    picture_s = _missing_s(captured, int(with_picture[-1]) if len(with_picture) else -1, fault_s) - beyond_s
    told = session.problems
    session.close()
    problem = broken[0] if broken else None
    if not problem and not told:
        problem = "nobody is told that something is missing"
    if not problem and max(results_s, picture_s) > LIMIT_S:
        problem = f"{max(results_s, picture_s):.2f} s are missing"
    return replace(left, results_s=results_s, picture_s=max(0.0, picture_s), problem=problem, told=told)


def _missing_s(captured: dict[int, float], last_index: int, fault_s: float) -> float:
    """How long before the fault the first frame was captured that is missing; 0 where none is."""
    missing = [time_s for index, time_s in captured.items() if index > last_index]
    return fault_s - min(missing) if missing else 0.0


@contextmanager
def _recording(folder: Path, kind: str, inputs: Path) -> Iterator[Child]:
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=record, args=(folder, kind, inputs, theirs), daemon=True)
    process.start()
    theirs.close()
    child = Child(process, ours)
    listener = threading.Thread(target=_listen, args=(child,), daemon=True)
    listener.start()
    try:
        yield child
    finally:
        child.kill()
        listener.join(_PATIENCE_S)


def _listen(child: Child) -> None:
    with suppress(EOFError, OSError):  # it was killed
        while True:
            heard = child.pipe.recv()
            if isinstance(heard, str):
                child.error = heard
            else:
                child.frames[heard[0]] = heard[1]


@contextmanager
def _disk(*, small: bool) -> Iterator[Path]:
    """A folder; small: on a disk of its own of some megabytes. Raises ValueError without the right to mount one."""
    with tempfile.TemporaryDirectory() as folder:
        if not small:
            yield Path(folder)
            return
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise ValueError("a full disk is tried on a small one, and this user may not mount it: run as root")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def write_inputs(place: Path) -> Path:
    """Results as the line gives them, and a stream."""
    chance = np.random.default_rng(0)
    (place / "results.pickle").write_bytes(pickle.dumps([_result(chance, index) for index in range(50)]))
    with av.open(str(place / "stream.ts"), "w", format="mpegts") as container:
        options = {"g": "12", "preset": "ultrafast", "tune": "zerolatency"}
        stream = container.add_stream("libx264", rate=Fraction(RATE_HZ), options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *SIZE, "yuv420p", 1_000_000
        for frame in PatternFrames(round(_STREAM_S * RATE_HZ)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    (place / "stream.txt").write_text(str(_STREAM_S))
    return place


class PatternFrames:
    """`count` noisy pictures, so that a stream has about the same number of bytes in each second."""

    def __init__(self, count: int) -> None:
        self._count, self._chance = count, np.random.default_rng(0)

    def __iter__(self) -> Iterator[Any]:
        for number in range(self._count):
            small = self._chance.integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
            yield np.roll(small.repeat(8, 0).repeat(8, 1), number, 1)


def _result(chance: np.random.Generator, index: int) -> Result:
    """A result in which every value that a session file keeps is set."""
    image = np.broadcast_to(np.uint8(0), (SIZE[1], SIZE[0], 3))
    frame = Frame(index, index / RATE_HZ, 0.0, image)
    view = whole(image)
    boxes = np.sort(chance.uniform(0, SIZE[1], (3, 4)).astype(np.float32), axis=1)
    found = Detections(boxes, np.sort(chance.random(3).astype(np.float32))[::-1].copy())
    mask = Mask(np.kron(chance.random((10, 12)), np.ones((8, 8))).astype(np.float32), view)
    patch = chance.normal(size=(12, 12, 3)).astype(np.float32)
    cues = FilterCues(found, chance.random((2, 3)).astype(np.float32), False, ((boxes[0], patch),))
    track = Track(1 + index // 25, boxes[0], 0.75, "shown", index / RATE_HZ, 0.0)
    return Result(frame, view, found, (track,), mask, raw=RawResult(frame, view, "ok", found, mask), cues=cues)


def faults_table(left: list[Left]) -> str:
    """One row per fault: how many sessions are as they must be, and the most that is missing."""
    rows, lines = [], []
    for fault in dict.fromkeys(one.fault for one in left):
        own = [one for one in left if one.fault == fault]
        good = sum(one.problem is None for one in own)
        worst = (max(one.results_s for one in own), max(one.picture_s for one in own))
        rows.append((fault, f"{good} of {len(own)}", f"{worst[0]:.2f}", f"{worst[1]:.2f}"))
        told = dict.fromkeys(sentence for one in own for sentence in one.told)
        lines.append(f"{fault}: for example {next(iter(told), 'nothing is said')!r}")
        lines += [f"  {one.kind} after {one.after_s:.2f} s: {one.problem}" for one in own if one.problem]
    head = ("fault", "as they must be", "results missing, s", "picture missing, s")
    return "\n".join([format_table(head, rows, indent="  "), *lines])
