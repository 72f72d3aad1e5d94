"""Blind mode: the program's results are hidden until the person has decided, and the person's time is recorded."""

import time
from collections.abc import Callable

from realtime_polyp.review.actions import BlindDecision


class BlindMode:
    """on: switched on. number: returns the frame on the screen."""

    def __init__(self, number: Callable[[], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._number, self._clock = number, clock
        self.on = False
        self._hidden_since_s, self._revealed_at = 0.0, -1
        self._seen: int | None = None

    @property
    def hides(self) -> bool:
        """Whether the results are hidden now: they are shown in the frame of a decision alone."""
        return self.on and self._revealed_at != self._number()

    def toggle(self) -> None:
        self.on = not self.on
        self._hide()

    def decide(self, *, polyp_seen: bool) -> BlindDecision | None:
        """What the person says of the frame on the screen; None: there is none. `reveal` then shows the results."""
        number = self._number()
        if number is None:
            return None
        return BlindDecision(number, polyp_seen, round(self._clock() - self._hidden_since_s, 2))

    def reveal(self) -> None:
        """Show the results in the frame on the screen."""
        number = self._number()
        self._revealed_at = -1 if number is None else number

    def go_on(self) -> None:
        """The person has left the frame of a decision: the next time starts."""
        if self._revealed_at >= 0:
            self._hide()

    def refresh(self) -> None:
        """Call it several times per second: the time of a decision begins with its frame."""
        if self._seen != self._number():
            self._hide()

    def _hide(self) -> None:
        self._hidden_since_s, self._revealed_at, self._seen = self._clock(), -1, self._number()
