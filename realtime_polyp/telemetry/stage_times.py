"""Durations of the stages that a batch passes through."""

import time
from dataclasses import dataclass

from realtime_polyp.telemetry.trace import Trace


@dataclass(frozen=True)
class StageTime:
    """One stage's work on one batch; times are time.perf_counter() seconds."""

    stage: str
    start_s: float
    end_s: float


class StageTimer:
    """Times consecutive stages, and writes them to a trace where there is one.

    track: the trace's row. arguments: what the trace says of each span, such as the frame's index.
    """

    def __init__(self, trace: Trace | None = None, track: str = "", **arguments: object) -> None:
        self.times: list[StageTime] = []
        self._trace, self._track, self._arguments = trace, track, arguments
        self._since_s = time.perf_counter()

    def lap(self, stage: str, since_s: float | None = None) -> None:
        """End a stage that began when the one before ended, or at `since_s` by time.perf_counter()."""
        end_s = time.perf_counter()
        self.add(StageTime(stage, self._since_s if since_s is None else since_s, end_s))
        self._since_s = end_s

    def add(self, time: StageTime) -> None:
        """Add a stage that was timed elsewhere; the next lap begins at its end."""
        self.times.append(time)
        self._since_s = time.end_s
        if self._trace:
            self._trace.add(self._track, time.stage, time.start_s, time.end_s, **self._arguments)

    def shares_ms(self, frames: int) -> dict[str, float]:
        """Each stage's time, ms, divided by the number of frames in the batch."""
        shares: dict[str, float] = {}
        for one in self.times:
            shares[one.stage] = shares.get(one.stage, 0.0) + (one.end_s - one.start_s) * 1e3 / frames
        return shares
