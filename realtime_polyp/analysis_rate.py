"""Which frames of a live source are analysed: all, or evenly every n-th where the models cannot keep up.

Without it, a frame that waits for the models is replaced by the next one: the steps between analysed frames then change
from one to the next, and each of them has waited. Every second frame instead meets models that are idle.
"""

import math
from collections import deque
from dataclasses import replace
from itertools import pairwise
from statistics import median

from realtime_polyp.packets import Frame

_TOLERANCE = 1.25  # times the time between two analysed frames: models this slow cost single frames, and no larger step
_SPARE = 0.75  # times the time between two analysed frames: more are analysed once the models need less than that
_LONGEST_STEP_S = (
    0.5  # between two analysed frames; slower models than that get the newest frame whenever they are free
)
_LATER_S = 1.0  # for so long the models were too slow before fewer frames are analysed
_SOONER_S, _LONGEST_S = 2.0, 60.0  # for so long they were fast before more are; doubled after each failed attempt
_FAILED_S = 15.0  # an attempt to analyse more frames failed if it ended sooner
_REMEMBERED = 31
_LEAST = 8  # durations and frame times that are needed before anything is decided


class AnalysisRate:
    """Chooses frames on the decode thread; `add_duration` is called on the thread that analyses.

    every: every n-th frame is analysed.
    """

    def __init__(self) -> None:
        self.every = 1
        self._durations_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._times_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._since_last, self._flipped = 0, False
        self._slow_since_s: float | None = None
        self._fast_since_s: float | None = None
        self._sooner_s, self._tried_s = _SOONER_S, -math.inf

    def add_duration(self, seconds: float) -> None:
        """Take how long the analysis of one frame took, from its start to its result, s."""
        self._durations_s.append(seconds)

    def choose(self, frame: Frame) -> tuple[Frame, bool]:
        """Return the next frame and whether it is analysed.

        Where not every frame is, the analysed ones are flipped in turn: their indices may all be even.
        """
        if self._times_s and not 0 < frame.pts_s - self._times_s[-1] < 1:
            self._times_s.clear()
            self._slow_since_s = self._fast_since_s = None  # nothing is known of the time between
        self._times_s.append(frame.pts_s)
        self._decide(frame.pts_s)
        self._since_last += 1
        if self._since_last < self.every:
            return frame, False
        self._since_last = 0
        if self.every == 1:
            return frame, True
        self._flipped = not self._flipped
        return replace(frame, flipped=self._flipped), True

    def _decide(self, now_s: float) -> None:
        if len(self._times_s) < _LEAST or len(self._durations_s) < _LEAST:
            return
        durations = sorted(tuple(self._durations_s))
        usual_s = durations[len(durations) * 3 // 4]
        period_s = median(later - earlier for earlier, later in pairwise(tuple(self._times_s)))
        needed = max(1, math.ceil(usual_s / (_TOLERANCE * period_s) - 1e-9))
        needed = min(needed, max(1, int(_LONGEST_STEP_S / period_s)))
        self._slow_since_s = _since(self._slow_since_s, needed > self.every, now_s)
        enough = max(1, math.ceil(usual_s / (_SPARE * period_s) - 1e-9))
        self._fast_since_s = _since(self._fast_since_s, enough < self.every, now_s)
        if self._slow_since_s is not None and now_s - self._slow_since_s >= _LATER_S:
            has_failed = now_s - self._tried_s < _FAILED_S
            self._sooner_s = min(2 * self._sooner_s, _LONGEST_S) if has_failed else _SOONER_S
            self._change(needed)
        elif self._fast_since_s is not None and now_s - self._fast_since_s >= self._sooner_s:
            self._tried_s = now_s
            self._change(enough)

    def _change(self, every: int) -> None:
        self.every = every
        self._slow_since_s = self._fast_since_s = None
        self._durations_s.clear()


def _since(since_s: float | None, holds: bool, now_s: float) -> float | None:
    """Since when something has held, by a clock that may have jumped back; None while it does not."""
    if not holds:
        return None
    return now_s if since_s is None or since_s > now_s else since_s


def ordinal(number: int) -> str:
    """Such as "2nd" or "3rd"."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
