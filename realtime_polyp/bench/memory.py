"""Resident memory while a clip is analysed in a loop at full speed."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from realtime_polyp.bench.recording import recorder_and, recording_of
from realtime_polyp.engines import decoding_device
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.machine import resident_mb
from realtime_polyp.telemetry.summary import summarise

_EVERY_S = 30.0


def measure_memory(config: RuntimeConfig, clip: Path, minutes: float, *, records: bool = False) -> dict[str, Any]:
    """Return the session's summary with samples (s, MB). records: the session is recorded as well."""
    pipeline = open_runtime(config).pipeline()
    with recording_of(clip, pipeline) if records else nullcontext() as recorder:
        return _measure(config, clip, pipeline, minutes, recorder)


def _measure(
    config: RuntimeConfig, clip: Path, pipeline: Pipeline, minutes: float, recorder: SessionRecorder | None
) -> dict[str, Any]:
    with tqdm(total=round(minutes * 60), desc="memory", unit="s", dynamic_ncols=True, disable=None) as bar:
        monitor = MemoryMonitor(minutes * 60, bar)
        session = Session(
            FileSource(clip, loop=True, hardware=decoding_device(config.device)),
            pipeline,
            recorder_and(recorder, monitor.update),
            on_frame=recorder.capture if recorder else None,
        )
        monitor.stop = session.stop
        session.start()
        session.wait()
    return {
        "minutes": minutes,
        "memory_mb": monitor.samples,
        "settled_mb": monitor.settled_mb(),
        "end_mb": monitor.samples[-1][1],
        **summarise(session),
    }


class MemoryMonitor:
    """Samples (s, resident MB) with every result; calls `stop` when the time is over."""

    def __init__(self, length_s: float, bar: "tqdm[Any]") -> None:
        self.samples: list[tuple[float, float]] = []
        self.stop: Callable[[], None] = lambda: None
        self._length_s, self._next_s, self._began_s, self._bar = length_s, 0.0, time.monotonic(), bar

    def update(self, result: Result) -> None:
        passed_s = time.monotonic() - self._began_s
        if passed_s >= self._next_s:
            self._next_s += min(_EVERY_S, self._length_s / 20)
            self.samples.append((round(passed_s, 1), round(resident_mb(), 1)))
            self._bar.set_postfix_str(f"{self.samples[-1][1]:.0f} MB")
            self._bar.update(round(passed_s) - self._bar.n)
        if passed_s >= self._length_s:
            self.stop()

    def settled_mb(self) -> float:
        """Return memory after the first tenth of the run, when every buffer has been allocated."""
        return self.samples[len(self.samples) // 10][1]
