"""A bad day, scripted: a live source and two models that fail in every way, while player and session go on.

`python -m realtime_polyp.bench --bad-day N` plays FIXED sequences and N random ones. After each fault the picture must
be back within 3 s; while it lasts, the right condition must be shown, and no box of before it. At the end the account
must be exact, and no thread or descriptor left.
"""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.bench.fake_device import FakeDevice
from realtime_polyp.bench.loopback import OTHER_SIZE, SIZE, Scene, Server
from realtime_polyp.engines.base import BaseEngine
from realtime_polyp.inference.guarded import GuardedInference, Ladder
from realtime_polyp.inference.host import HostInference
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.reconnecting import keep_open
from realtime_polyp.viewer.condition import Condition, condition_of
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import SessionFeed
from realtime_polyp.viewer.player import Player

BACK_S = 3.0
"""The picture must be back so long after a fault has ended, s."""

OLDEST_BOX_S = 1.3
"""The oldest box that may be on the screen: 0.2 s, and 1 s until it is known that no picture comes."""

_SILENCE_S = 1.5
_HANG_S = 0.6
_GOOD = ("running", "view not clear", "format changed", "picture late", "model slow")
_KINDS = ("device", "tcp", "udp", "rtsp")
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


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: what it is.
        seconds: how long it lasts, shortest and longest, s.
        shows: conditions of which one must be shown while it lasts; none: it may pass unseen.
        within_s: so soon, s.
    """

    name: str
    seconds: tuple[float, float]
    shows: tuple[str, ...] = ()
    within_s: float = 1.6


_AWAY = ("reconnecting", "no signal", "decoder failed")
_MODEL = ("model failed", "model not answering")
FAULTS: dict[str, tuple[Fault, ...]] = {
    "device": (
        Fault("unplugged", (1.2, 4.0), ("reconnecting",)),
        Fault("silent", (1.6, 4.0), _AWAY),
        Fault("read blocks", (1.6, 4.0), _AWAY),
    ),
    "tcp": (Fault("server killed", (0.3, 3.0), ("reconnecting",)), Fault("silent", (1.6, 4.0), _AWAY)),
    "rtsp": (Fault("server killed", (0.3, 3.0), ("reconnecting",)), Fault("silent", (1.6, 4.0), _AWAY)),
    "udp": (
        Fault("server killed", (1.6, 3.0), _AWAY),
        Fault("corrupted", (0.3, 1.5)),
        Fault("silent", (1.6, 4.0), _AWAY),
    ),
}
ALWAYS = (
    Fault("frozen", (2.0, 3.0), ("frozen picture",), 2.0),
    Fault("black", (1.0, 2.0), ("black picture",)),
    Fault("other size", (1.0, 2.0)),
    Fault("model raises", (0.3, 1.0), _MODEL),
    Fault("model hangs", (1.5, 2.5), _MODEL, 2.0),
    Fault("model gives NaN", (0.3, 1.0), _MODEL),
    Fault("model gives a wrong shape", (0.3, 1.0), _MODEL),
)
STOPPED = Fault("process stopped", (1.0, 3.0))


_NAMED = {one.name: one for one in (*(fault for group in FAULTS.values() for fault in group), *ALWAYS, STOPPED)}
FIXED: tuple[tuple[str, tuple[tuple[Fault, float], ...]], ...] = (  # played before the random ones
    ("tcp", ((_NAMED["silent"], 10.0), (_NAMED["server killed"], 10.0), (_NAMED["model hangs"], 5.0))),
    ("device", ((_NAMED["silent"], 10.0), (_NAMED["unplugged"], 10.0), (_NAMED["read blocks"], 10.0))),
    ("rtsp", ((_NAMED["silent"], 10.0), *[(_NAMED["server killed"], 1.0)] * 10)),
    ("udp", ((_NAMED["corrupted"], 5.0), (_NAMED["frozen"], 5.0), (_NAMED["other size"], 2.0))),
    ("device", ((STOPPED, 20.0), (_NAMED["black"], 5.0), (_NAMED["model raises"], 2.5))),
)


class Rig:
    """One source, two fake models, a session and a player, with everything that can be done to them."""

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.kind, self.scene, self.faults = kind, Scene(), Faults()
        self.device = FakeDevice(self.scene)
        self.server = None if kind == "device" else Server(kind, self.scene, seed)  # type: ignore[arg-type]
        if self.server:
            self.server.start()
        self.seen: list[tuple[float, Condition]] = []  # each change of the condition, with its time
        self.problems: list[str] = []
        self.painted_s, self._last = 0.0, (-1, -1.0)
        self._slowest_s = 0.0  # between two ticks: a busy machine is no fault
        self.guard = GuardedInference(
            self._models(), Ladder(lambda level: self._models(), ["cpu", "cpu"]), say=lambda text: None
        )
        self.guard._answer_s = _HANG_S
        self.pipeline = Pipeline(None, None, inference=self.guard)
        self.pipeline.warm_up()
        self.player = Player(self._open_feed, SourceInfo(kind, live=True), self._paint)
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
        if self.server:
            self.server.close()
        tally = self.player.tally()
        if not tally.balanced or tally.pending:
            self.problems.append(f"the account is not exact: {tally}")

    # What is done to it

    def begin(self, fault: Fault, seconds: float) -> None:
        does: dict[str, Callable[[], Any]] = {
            "unplugged": lambda: setattr(self.device, "plugged", False),
            "read blocks": lambda: setattr(self.device, "blocks", True),
            "silent": lambda: setattr(self.scene, "silent", True),
            "server killed": self.server.kill if self.server else lambda: None,
            "corrupted": lambda: setattr(self.server, "corrupts", 0.5),
            "frozen": lambda: setattr(self.scene, "content", "frozen"),
            "black": lambda: setattr(self.scene, "content", "black"),
            "other size": lambda: setattr(self.scene, "size", OTHER_SIZE),
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

    def _open_feed(self, start_s: float) -> SessionFeed:
        self.pipeline.reset()
        return SessionFeed(keep_open(self._open_source), self.pipeline, display="immediate")

    def _open_source(self) -> Source:
        if self.server is None:
            return self.device.open(silence_s=_SILENCE_S)
        return NetworkSource(self.server.url, silence_s=_SILENCE_S, probe_s=0.5, open_timeout_s=_SETTLE_S)

    def _paint(self, displayed: DisplayedFrame) -> Painted:
        self._check_order(displayed.frame)
        self.painted_s = time.monotonic()
        return Painted(picture=True, overlay=displayed.result is not None)

    def _check_order(self, frame: Frame) -> None:
        if frame.index < self._last[0] or frame.pts_s < self._last[1]:
            self.problems.append(f"frame {frame.index} at {frame.pts_s:.3f} s comes after {self._last}")
        self._last = frame.index, frame.pts_s

    def _play(self) -> None:
        before_s = time.monotonic()
        while not self._stop.is_set():
            wait_s = self.player.tick()
            now_s = time.monotonic()
            self._slowest_s, before_s = max(self._slowest_s, now_s - before_s - wait_s), now_s
            self._note(condition_of(self.player.state()), now_s)
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
        if fault is not STOPPED:
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


def random_script(chance: random.Random, kind: str, *, stops: bool) -> list[tuple[Fault, float]]:
    """Two to four faults with their lengths, s."""
    choice = [*FAULTS[kind], *FAULTS[kind], *ALWAYS, *([STOPPED] if stops else [])]
    return [(one, chance.uniform(*one.seconds)) for one in chance.choices(choice, k=chance.randint(2, 4))]


def run_bad_days(count: int, seed: int = 1) -> list[Day]:
    """Play random sequences, and print each that went wrong. Raises RuntimeError if one did."""
    chance, days = random.Random(seed), list[Day]()
    stops = sys.platform == "linux"
    play_day("device", [], 0)  # what is imported and compiled at the first use is no leak
    scripts = [(kind, [one for one in script if stops or one[0] is not STOPPED]) for kind, script in FIXED]
    kinds = (_KINDS[number % len(_KINDS)] for number in range(count))
    scripts += [(kind, random_script(chance, kind, stops=stops)) for kind in kinds]
    for number, (kind, script) in enumerate(scripts):
        day = play_day(kind, script, seed + number)
        days.append(day)
        if day.problems:
            print(f"{number + 1} ({day.kind}: {', '.join(day.script)}): {'; '.join(day.problems)}", flush=True)
    print(bad_day_table(days))
    if wrong := sum(bool(day.problems) for day in days):
        raise RuntimeError(f"{wrong} of {len(days)} sequences went wrong")
    return days


def bad_day_table(days: Sequence[Day]) -> str:
    """For each fault: how often, and how soon the picture was back."""
    found: dict[str, list[float]] = {}
    for day in days:
        for name, back_s in day.back_s:
            found.setdefault(name, []).append(back_s)
    lines = [f"{'fault':28} {'times':>6} {'back after, median':>19} {'longest':>8}"]
    lines += [
        f"{name:28} {len(all_s):6} {np.median(all_s):17.2f} s {max(all_s):6.2f} s"
        for name, all_s in sorted(found.items())
    ]
    good = sum(not day.problems for day in days)
    return "\n".join([*lines, f"{good} of {len(days)} sequences without a fault of ours"])
