"""Which stage of a session works on what, and since when: how a hung model, disk or source is told from an idle one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ANSWER_LIMIT_S = 10.0
"""A stage that works longer than this on one thing is reported."""


@dataclass(frozen=True)
class Stall:
    """A stage that does not come back.

    Attributes:
        stage: "source", "model" or "output".
        frame_index: the frame it works on; of a batch, the first.
        seconds: for how long it has worked on it, s.
    """

    stage: str
    frame_index: int
    seconds: float

    def __str__(self) -> str:
        return f"the {self.stage} has not answered for {self.seconds:.0f} s (frame {self.frame_index})"

    @property
    def warning(self) -> str:
        """What is said while it lasts."""
        what = "picture" if self.stage == "source" else "answer"
        return f"no {what} from the {self.stage} for {self.seconds:.0f} s (frame {self.frame_index})"


class StalledError(RuntimeError):
    """What was asked to end did not: `stall` hangs, and was left behind."""

    def __init__(self, stall: Stall) -> None:
        super().__init__(str(stall))
        self.stall = stall


class Progress:
    """Since when each stage has worked on what. One thread per stage writes; any thread may read.

    Waiting for input, or for room in a queue, is not work.
    """

    def __init__(self) -> None:
        self._working: dict[str, tuple[int, float]] = {}  # stage: frame, and time.monotonic() when it began

    @contextmanager
    def working(self, stage: str, frame_index: int) -> Iterator[None]:
        """Inside, the stage works on this frame."""
        self._working[stage] = frame_index, time.monotonic()
        try:
            yield
        finally:
            self._working.pop(stage, None)

    def stalled(self, limit_s: float) -> list[Stall]:
        """The stages that have worked for `limit_s` or longer on one thing, the longest first."""
        now_s = time.monotonic()
        found = [Stall(stage, frame, now_s - since_s) for stage, (frame, since_s) in self._working.copy().items()]
        return sorted((one for one in found if one.seconds >= limit_s), key=lambda one: -one.seconds)


class StallReport:
    """Tells each stall once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int]] = set()

    def news(self, stall: Stall | None) -> str | None:
        """The sentence for a stall that has not been told yet; None for one that has, and for None."""
        if stall is None or (stall.stage, stall.frame_index) in self._told:
            return None
        self._told.add((stall.stage, stall.frame_index))
        return stall.warning
