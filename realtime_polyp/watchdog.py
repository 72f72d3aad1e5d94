"""A watchdog: records which frame each stage works on and since when, to tell a hung stage from an idle one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

ANSWER_LIMIT_S = 10.0
"""A stage that works longer than this on one frame is reported, s."""


@dataclass(frozen=True)
class Stall:
    """A stage that hangs.

    Attributes:
        stage: "source", "model" or "output".
        frame_index: index of the frame it works on, or of the first frame of a batch.
        seconds: time since it began to work on the frame, s.
    """

    stage: str
    frame_index: int
    seconds: float

    def __str__(self) -> str:
        return f"the {self.stage} has not answered for {self.seconds:.0f} s (frame {self.frame_index})"

    @property
    def warning(self) -> str:
        """The message to show while the stage hangs."""
        what = "picture" if self.stage == "source" else "answer"
        return f"no {what} from the {self.stage} for {self.seconds:.0f} s (frame {self.frame_index})"


@dataclass(frozen=True)
class Trouble:
    """Something that failed and is started again by itself, while everything else goes on.

    Attributes:
        part: "source"; "decoder", where data come and no picture can be decoded; or "model".
        reason: what is wrong, one sentence or clause.
        since_s: time.monotonic() of the last picture, or of the model's failure, s.
        attempts: how often it was started again since.
        next_s: time.monotonic() of the next attempt, s; None: one is under way.
    """

    part: Literal["source", "decoder", "model"]
    reason: str
    since_s: float
    attempts: int = 0
    next_s: float | None = None

    def age_s(self, now_s: float | None = None) -> float:
        """How long it has lasted, s."""
        return (time.monotonic() if now_s is None else now_s) - self.since_s


@runtime_checkable
class Troubled(Protocol):
    """A part of the line that starts itself again."""

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong now; None while it works. From any thread."""
        ...


def troubles_of(*parts: object) -> tuple[Trouble, ...]:
    """What is wrong now with the parts that start themselves again."""
    found = [part.trouble for part in parts if isinstance(part, Troubled)]
    return tuple(one for one in found if one)


class StalledError(RuntimeError):
    """A stage did not end in time after it was stopped, and its thread was abandoned. `stall` says which."""

    def __init__(self, stall: Stall) -> None:
        super().__init__(str(stall))
        self.stall = stall


class Progress:
    """Records the frame that each stage works on and since when. One thread per stage writes; any thread may read.

    Waiting for input or for room in a queue does not count as work.
    """

    def __init__(self) -> None:
        self._working: dict[str, tuple[int, float]] = {}  # stage: frame index, start by time.monotonic()

    @contextmanager
    def working(self, stage: str, frame_index: int) -> Iterator[None]:
        """Record that the stage works on this frame inside the `with` block."""
        self._working[stage] = frame_index, time.monotonic()
        try:
            yield
        finally:
            self._working.pop(stage, None)

    def stalled(self, limit_s: float) -> list[Stall]:
        """Return the stages that have worked on one frame for `limit_s` or longer, the longest first."""
        now_s = time.monotonic()
        found = [Stall(stage, frame, now_s - since_s) for stage, (frame, since_s) in self._working.copy().items()]
        return sorted((one for one in found if one.seconds >= limit_s), key=lambda one: -one.seconds)


class StallReport:
    """Reports each stall once."""

    def __init__(self) -> None:
        self._reported: set[tuple[str, int]] = set()

    def news(self, stall: Stall | None) -> str | None:
        """Return the warning of a stall that has not been reported yet; else None."""
        if stall is None or (stall.stage, stall.frame_index) in self._reported:
            return None
        self._reported.add((stall.stage, stall.frame_index))
        return stall.warning
