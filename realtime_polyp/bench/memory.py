"""Resident memory while a loop of a clip is analysed as fast as it goes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from realtime_polyp.bench.line import Setup, open_pipeline
from realtime_polyp.packets import Result
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.machine import resident_mb
from realtime_polyp.telemetry.summary import summarise

_EVERY_S = 30.0


def memory(setup: Setup, clip: Path, minutes: float) -> dict[str, Any]:
    """The samples (s, MB), beside what a session always tells."""
    pipeline = open_pipeline(setup, "throughput")
    with tqdm(total=round(minutes * 60), desc="memory", unit="s", dynamic_ncols=True, disable=None) as bar:
        watch = MemoryWatch(minutes * 60, bar)
        session = Session(FileSource(clip, loop=True), pipeline, watch.see)
        watch.stop = session.stop
        session.start()
        session.wait()
    return {
        "minutes": minutes,
        "memory_mb": watch.samples,
        "settled_mb": watch.settled(),
        "end_mb": watch.samples[-1][1],
        **summarise(session),
    }


class MemoryWatch:
    """Samples (s, resident MB) as results pass; calls `stop` when the time is over."""

    def __init__(self, length_s: float, bar: "tqdm[Any]") -> None:
        self.samples: list[tuple[float, float]] = []
        self.stop: Callable[[], None] = lambda: None
        self._length_s, self._next_s, self._began_s, self._bar = length_s, 0.0, time.monotonic(), bar

    def see(self, result: Result) -> None:
        passed_s = time.monotonic() - self._began_s
        if passed_s >= self._next_s:
            self._next_s += min(_EVERY_S, self._length_s / 20)
            self.samples.append((round(passed_s, 1), round(resident_mb(), 1)))
            self._bar.set_postfix_str(f"{self.samples[-1][1]:.0f} MB")
            self._bar.update(round(passed_s) - self._bar.n)
        if passed_s >= self._length_s:
            self.stop()

    def settled(self) -> float:
        """Memory after the first tenth, when every buffer has been allocated."""
        return self.samples[len(self.samples) // 10][1]
