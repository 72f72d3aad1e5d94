"""A bad day, scripted: a live source and two models that fail in every way, while player and session go on.

`python -m realtime_polyp.bench --bad-day N` plays FIXED sequences and N random ones. After each fault the picture must
be back within 3 s; while it lasts, the right condition must be shown, and no box of before it. At the end the account
must be exact, and no thread or descriptor left. `bad_day_faults` has the faults, `bad_day_runs` plays many sequences.
"""

import gc
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.bench.bad_day_faults import STOPPED, Fault
from realtime_polyp.bench.bad_day_reader import ResultsReader
from realtime_polyp.bench.bad_day_recording import DayRecording
from realtime_polyp.bench.fake_device import FakeDevice
from realtime_polyp.bench.loopback import OTHER_SIZE, RATE_HZ, SIZE, Scene, Server
from realtime_polyp.engines.base import BaseEngine
from realtime_polyp.inference.guarded import GuardedInference, Ladder
from realtime_polyp.inference.host import HostInference
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.reconnecting import keep_open
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import SessionFeed
from realtime_polyp.viewer.health import Health, Watched
from realtime_polyp.viewer.player import Player

BACK_S = 3.0
"""The picture must be back so long after a fault has ended, s."""

OLDEST_BOX_S = 1.3
"""The oldest box that may be on the screen: 0.2 s, and 1 s until it is known that no picture comes."""

_SILENCE_S = 1.5
_HANG_S = 0.6
_GOOD = ("running", "view not clear", "format changed", "picture late", "model slow")
_GOES_ON_S = 1.0  # a picture that goes on is not later than this, and none comes so long after the one before
_AHEAD_S, _BACK_S = 3600.0, 30.0  # jumps of a sender's clock
_BEGIN_S = 1000.0  # its first timestamp, so that it can jump back
_LEAP_S = 60.0  # so far the session's clock never goes in one step
_SETTLE_S = 8.0
_MODEL_SIZE = (128, 160)


class FaultyDetector(BaseEngine):
    """Finds the bright disc, as long as `fault` is "": raises, hangs, or answers nonsense."""

    name, model, task, device, key, size = "fake", "fake", "detector", "cpu", "fake", _MODEL_SIZE

    def __init__(self, faults: "Faults") -> None:
        self._faults = faults

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        fault = self._faults.model
        if fault == "raises":
            raise RuntimeError("CUDA out of memory")
        while fault == "hangs" and self._faults.model == "hangs":
            time.sleep(0.02)
        boxes = np.stack([[_box(one), [2, 2, 20, 20]] for one in pixels]).astype(np.float32)
        scores = np.tile(np.array([0.9, 0.2], np.float32), (len(pixels), 1))
        if fault == "wrong shape":
            return boxes[:, :, :3], scores
        return boxes, np.full_like(scores, np.nan) if fault == "NaN" else scores


def _box(pixels: NDArray[np.uint8]) -> list[int]:
    rows, columns = np.nonzero(pixels[2] > 140)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]


@dataclass
class Faults:
    """What is wrong with the models now: "", "raises", "hangs", "NaN" or "wrong shape"."""

    model: str = ""


class Rig:
    """One source, two fake models, a session and a player, with everything that can be done to them."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.kind, self.scene, self.faults = kind, Scene(), Faults()
        self.reader, self.recording = ResultsReader(), DayRecording()
        self.scene.shift_s = _BEGIN_S
        self.device = FakeDevice(self.scene)
        self.server = None if kind == "device" else Server(kind, self.scene, seed)  # type: ignore[arg-type]
        if self.server:
            self.server.start()
        self.seen: list[tuple[float, Condition]] = []  # each change of the condition, with its time
        self.problems: list[str] = []
        self.painted_s, self._last = 0.0, (-1, -1.0)
        self._latest_s = 0.0  # the longest time between two pictures, or from a picture's due time, since a fault began
        self._jumps = 0
        self._slowest_s = 0.0  # between two ticks: a busy machine is no fault
        self.guard = GuardedInference(
            self._models(), Ladder(lambda level: self._models(), ["cpu", "cpu"]), say=lambda text: None
        )
        self.guard._answer_s = _HANG_S
        self.pipeline = Pipeline(None, None, inference=self.guard)
        self.pipeline.warm_up()
        self.player = Player(self._open_feed, SourceInfo(kind, live=True), self._paint)
        self._health = Health(self.player, Watched(lambda: self.reader.failure() or self.recording.failure()))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)

    def _models(self) -> HostInference:
        return HostInference(FaultyDetector(self.faults), None)  # type: ignore[arg-type]

    def start(self) -> None:
        self.player.open()
        self._thread.start()
        self.wait_for_picture(_SETTLE_S, "at the start")

    def close(self) -> None:
        """End everything, and check the account."""
        self._stop.set()
        self._thread.join(5)
        if not self.player.close(5.0):
            self.problems.append("the session did not end within 5 s")
        self.guard.close()
        self.reader.close()
        self.problems += self.reader.problems + self.recording.close()
        if self.server:
            self.server.close()
        self._check_account()

    def _check_account(self) -> None:
        """Every picture was shown or is counted as dropped, and each jump of the clock is told."""
        warning = self.player.feed.warning if self.player.feed else None
        if self._jumps and "timestamps" not in (warning or ""):
            self.problems.append(f"the timestamps jumped, but all that is said is {warning!r}")
        tally = self.player.tally()
        if not tally.balanced or tally.pending:
            self.problems.append(f"the account is not exact: {tally}")

    # What is done to it

    def begin(self, fault: Fault, seconds: float) -> None:
        self._latest_s = 0.0
        does: dict[str, Callable[[], Any]] = {
            "unplugged": lambda: setattr(self.device, "plugged", False),
            "read blocks": lambda: setattr(self.device, "blocks", True),
            "silent": lambda: setattr(self.scene, "silent", True),
            "server killed": self.server.kill if self.server else lambda: None,
            "corrupted": lambda: setattr(self.server, "corrupts", 0.5),
            "frozen": lambda: setattr(self.scene, "content", "frozen"),
            "black": lambda: setattr(self.scene, "content", "black"),
            "other size": lambda: setattr(self.scene, "size", OTHER_SIZE),
            "60 frames/s": lambda: self.scene.set_rate(2 * RATE_HZ),
            "clock jumps ahead": lambda: self._jump(_AHEAD_S),
            "clock jumps back": lambda: self._jump(-_BACK_S),
            "slow consumer": self.reader.slow_down,
            "full disk": self._fill_disk,
            "model raises": lambda: setattr(self.faults, "model", "raises"),
            "model hangs": lambda: setattr(self.faults, "model", "hangs"),
            "model gives NaN": lambda: setattr(self.faults, "model", "NaN"),
            "model gives a wrong shape": lambda: setattr(self.faults, "model", "wrong shape"),
            "process stopped": lambda: stop_process(seconds),
        }
        does[fault.name]()

    def end(self, fault: Fault) -> None:
        if fault.name == "server killed" and self.server:
            self.server.start()
        if self.server:
            self.server.corrupts = 0.0
        self.device.plugged, self.device.blocks = True, False
        self.scene.silent, self.scene.content, self.faults.model = False, "moving", ""
        if fault.name == "60 frames/s":
            self.scene.set_rate(RATE_HZ)
        self.reader.recover()
        self.recording.recover()

    def _fill_disk(self) -> None:
        self.reader.fill_disk()
        self.recording.fill_disk()

    def _jump(self, by_s: float) -> None:
        self.scene.shift_s += by_s
        self._jumps += 1

    # What is seen of it

    def wait_for_picture(self, limit_s: float, when: str) -> float:
        """Wait for a picture of the present size that is shown without fault; returns the time that took, s."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < limit_s + self._slowest_s:
            shown, name = self.player.displayed, self.seen[-1][1].name if self.seen else ""
            fresh = self.painted_s > began_s + 0.05 and name in _GOOD
            if fresh and shown and shown.frame.image.shape[1::-1] == self.scene.size:
                return time.monotonic() - began_s
            time.sleep(0.005)
        self.problems.append(
            f"{when}: no picture within {limit_s:g} s, but {self.seen[-1][1] if self.seen else 'nothing'}"
        )
        return limit_s

    def check_shown(self, fault: Fault, since_s: float) -> None:
        """Check that the right condition was shown soon after a fault had begun."""
        names = [(round(at_s - since_s, 2), one.name) for at_s, one in self.seen if at_s >= since_s]
        in_time = [name for after_s, name in names if after_s <= fault.within_s + self._slowest_s]
        if fault.shows and not set(in_time) & set(fault.shows):
            self.problems.append(f"{fault.name}: none of {fault.shows} within {fault.within_s:g} s, but {names}")
        if fault.goes_on:
            self._check_goes_on(fault, [name for _, name in names])

    def _check_goes_on(self, fault: Fault, names: list[str]) -> None:
        """Check that the picture went on undelayed, and that nothing else was shown."""
        if self._latest_s > _GOES_ON_S + self._slowest_s:
            self.problems.append(f"{fault.name}: a picture came {self._latest_s:.2f} s late")
        if others := set(names) - {*_GOOD, *fault.shows}:
            self.problems.append(f"{fault.name}: {', '.join(sorted(others))} was shown")

    def _open_feed(self, start_s: float) -> SessionFeed:
        self.pipeline.reset()
        source = keep_open(self._open_source)
        self.recording.start(source, self.pipeline)
        take, capture = self._take_result, self.recording.capture
        return SessionFeed(source, self.pipeline, display="immediate", on_result=take, on_frame=capture)

    def _take_result(self, result: Result) -> None:
        self.recording.write(result)
        self.reader.take(result)

    def _open_source(self) -> Source:
        if self.server is None:
            return self.device.open(silence_s=_SILENCE_S)
        return NetworkSource(self.server.url, silence_s=_SILENCE_S, probe_s=0.5, open_timeout_s=_SETTLE_S)

    def _paint(self, displayed: DisplayedFrame) -> Painted:
        now_s, frame = time.monotonic(), displayed.frame
        if frame.index != self._last[0]:
            since_s = now_s - self.painted_s if self.painted_s else 0.0
            self._latest_s = max(self._latest_s, since_s, now_s - frame.captured_s)
        self._check_order(frame)
        self.painted_s = now_s
        return Painted(picture=True, overlay=displayed.result is not None)

    def _check_order(self, frame: Frame) -> None:
        if frame.index < self._last[0] or frame.pts_s < self._last[1]:
            self.problems.append(f"frame {frame.index} at {frame.pts_s:.3f} s comes after {self._last}")
        elif frame.pts_s > self._last[1] + _LEAP_S and self._last[0] >= 0:
            self.problems.append(f"the clock leaps from {self._last[1]:.3f} s to {frame.pts_s:.3f} s")
        self._last = frame.index, frame.pts_s

    def _play(self) -> None:
        before_s = time.monotonic()
        while not self._stop.is_set():
            wait_s = self.player.tick()
            now_s = time.monotonic()
            self._slowest_s, before_s = max(self._slowest_s, now_s - before_s - wait_s), now_s
            self._note(self._health.condition(), now_s)
            self._stop.wait(wait_s)

    def _note(self, condition: Condition, now_s: float) -> None:
        if not self.seen or self.seen[-1][1].name != condition.name:
            self.seen.append((now_s, condition))
        shown = self.player.displayed
        if shown and shown.result and shown.result.tracks and not condition.blanks:
            age_s = now_s - shown.result.frame.captured_s
            if age_s > OLDEST_BOX_S + self._slowest_s:
                self.problems.append(f"a box of {age_s:.2f} s ago is on the screen: {condition.title}")


def stop_process(seconds: float) -> None:
    """Stop this process as a whole for some time, as a suspended machine does."""
    waker = subprocess.Popen(["/bin/sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    waker.wait()


@dataclass
class Day:
    """How a sequence went. back_s: after each fault, the time until the picture was back. problems: what was wrong."""

    kind: str
    script: list[str]
    back_s: list[tuple[str, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def play_day(kind: str, script: Sequence[tuple[Fault, float]], seed: int = 0) -> Day:
    """Play faults one after the other on a new rig; kind: "device", "tcp", "udp" or "rtsp"."""
    day = Day(kind, [f"{fault.name} {seconds:.1f} s" for fault, seconds in script])
    before = _left_open()
    rig = Rig(kind, seed)
    rig.start()
    for fault, seconds in script:
        began_s = time.monotonic()
        rig.begin(fault, seconds)
        if fault != STOPPED:
            time.sleep(seconds)
            rig.check_shown(fault, began_s)
        rig.end(fault)
        day.back_s.append((fault.name, rig.wait_for_picture(BACK_S, f"after {fault.name}")))
        if fault.name == "other size":
            rig.scene.size = SIZE
            rig.wait_for_picture(BACK_S, "after the usual size")
    rig.close()
    day.problems = rig.problems + _leaks(before)
    return day


def _left_open() -> tuple[int, int]:
    """The numbers of threads and of open descriptors."""
    gc.collect()
    folder = Path("/proc/self/fd")
    return threading.active_count(), len(list(folder.iterdir())) if folder.is_dir() else 0


def _leaks(before: tuple[int, int]) -> list[str]:
    """Say what is left after a few seconds."""
    until_s = time.monotonic() + 5.0
    while (now := _left_open()) > before and time.monotonic() < until_s:
        time.sleep(0.05)
    names = [thread.name for thread in threading.enumerate()]
    threads = [f"threads: {before[0]} before, {now[0]} after: {names}"] if now[0] > before[0] else []
    return threads + ([f"descriptors: {before[1]} before, {now[1]} after"] if now[1] > before[1] else [])
