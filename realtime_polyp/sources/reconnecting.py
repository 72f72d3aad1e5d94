"""A live source that comes back by itself: it is opened again and again, for as long as the session lasts."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source, SourceError
from realtime_polyp.sources.capture import CaptureSource
from realtime_polyp.sources.continued import Continued, LastFrame
from realtime_polyp.sources.live import LEAST_UNDECODED
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.wrapper import SourceWrapper
from realtime_polyp.watchdog import Trouble

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
"""Between two attempts to open a source: each wait is twice the one before it."""

AWAY_WAIT_S = 1.0
"""The longest wait where nobody answered: asking again costs nothing, and the picture is back soon."""

ATTEMPT_LIMIT_S = 60.0
"""An attempt that takes longer is abandoned, as where a driver hangs. A source's own limits end most attempts sooner: a
stream's after 10 s without an answer and 10 s without a picture, a device's after twice that."""

_MOST_HANGING = 4  # abandoned attempts whose threads still hang; with so many, no further one is made
_STEADY_S = 10.0  # a source that ran for so long did not fail because it was opened
_POLL_S = 0.05
_NO_PICTURE_S = 0.8  # for so long without a picture, packets come that cannot be decoded
_MOST_RETURNS = 1000
_MOST_LOSSES, _MORE_LOSSES = 20, "More was lost later."


@dataclass(frozen=True)
class Return:
    """A source was opened again. from_s, to_s: times of the pictures before and after, on the video's clock.
    session_s: since the session's start."""

    from_s: float
    to_s: float
    session_s: float


class Outages:
    """How often and how long a source was away, for a sentence at the end."""

    def __init__(self) -> None:
        self.count, self.total_s = 0, 0.0

    def add(self, away_s: float) -> None:
        self.count, self.total_s = self.count + 1, self.total_s + away_s

    def describe(self, name: str) -> str:
        """One sentence; "" where it never was away."""
        if not self.count:
            return ""
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"{name} was away {times}, for {self.total_s:.1f} s, and came back."


class Reconnecting(SourceWrapper):
    """Yields the frames of a live source, and opens it anew whenever it stops, stalls, fails or cannot be decoded.

    Index and clock go on: between both pictures as much of the video's time passes as passed on this machine. The
    first picture of each stretch continues nothing.

    Arguments:
        source: the source, opened.
        reopen: opens it anew; raises SourceError. It may block: it is called on a thread of its own.
        last: the picture of an earlier source that this one continues.
        give_up_after_s: how long to try, s without a picture: then `frames` ends as the source did. None: for ever.
        attempt_limit_s: how long one attempt to open it may take, s; then the next one is made.
        on_open: called with each source that is opened, before its first frame is read.
        on_trouble: called when pictures stop (once), on the thread that reads frames.
        on_return: called with the frame that ends an outage, the picture before it, and what was wrong.
    """

    def __init__(
        self,
        source: Source,
        reopen: Callable[[], Source],
        *,
        last: LastFrame | None = None,
        give_up_after_s: float | None = None,
        attempt_limit_s: float = ATTEMPT_LIMIT_S,
        on_open: Callable[[Source], None] = lambda source: None,
        on_trouble: Callable[[Trouble], None] = lambda trouble: None,
        on_return: Callable[[Frame, LastFrame, Trouble], None] = lambda frame, last, trouble: None,
    ) -> None:
        super().__init__(source)
        self.returns: list[Return] = []
        self._trouble: Trouble | None = None
        self.on_open, self.on_trouble, self.on_return = on_open, on_trouble, on_return
        self._reopen, self._last, self._give_up_after_s = reopen, last, give_up_after_s
        self._attempt_limit_s = attempt_limit_s
        self._hanging: list[_Opening] = []  # attempts that were abandoned and have not ended
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._outages = Outages()
        self._warnings: list[str] = []  # of the sources before this one
        self._began_s = self._opened_s = self._picture_s = time.monotonic()
        self._first_wait_s = FIRST_WAIT_S / 2  # before the latest outage's first attempt

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong now, what is tried and since when; None while pictures come. From any thread."""
        if self._trouble:
            return self._trouble
        damage = getattr(self.source, "damage", None)
        since_s = self._picture_s
        if damage and damage.undecoded >= LEAST_UNDECODED and time.monotonic() - since_s > _NO_PICTURE_S:
            return Trouble("decoder", f"{self.name} sends data, but no picture of it can be decoded.", since_s)
        return None

    @property
    def warning(self) -> str | None:
        lost = [self._outages.describe(self.name), *self._warnings, self.source.warning or ""]
        return " ".join(dict.fromkeys(filter(None, lost))) or None

    def frames(self) -> Iterator[Frame]:
        """Yield frames until `close`, or until the source was away for too long. Raises SourceError then."""
        self._picture_s = time.monotonic()
        while True:
            error: SourceError | None = None
            try:
                yield from self._stretch()
            except SourceError as failed:
                error = failed
            if self._stop.is_set():
                return
            reason = str(error) if error else f"{self.name} was ended by its sender."
            found = self._find_again(reason, error)
            if found is None:
                return
            self._go_on_with(found)

    def close(self) -> None:
        self._stop.set()
        with self._lock:
            self.source.close()

    def _stretch(self) -> Iterator[Frame]:
        """The frames of the source that is open."""
        source: Source = Continued(self.source, self._last) if self._last else self.source
        for frame in source.frames():
            if self._trouble and self._last:
                self._outages.add(frame.captured_s - self._last.captured_s)
                if len(self.returns) < _MOST_RETURNS:
                    self.returns.append(Return(self._last.pts_s, frame.pts_s, time.monotonic() - self._began_s))
                self.on_return(frame, self._last, self._trouble)
            self._trouble, self._picture_s = None, time.monotonic()
            self._last = LastFrame(frame.index, frame.pts_s, frame.captured_s)
            yield frame

    def _go_on_with(self, source: Source) -> None:
        """Read from a source that was opened anew."""
        with self._lock:
            before, self.source = self.source, source
            if self._stop.is_set():
                source.close()
        lost = _losses_of(before) if len(self._warnings) < _MOST_LOSSES else _losses_of(before) and _MORE_LOSSES
        if lost and lost not in self._warnings:
            self._warnings.append(lost)
        self._opened_s = time.monotonic()
        if not self._stop.is_set():  # else it is closed
            self.on_open(source)

    def _find_again(self, reason: str, error: SourceError | None) -> Source | None:
        """Open the source anew, until that works; None once `close` was called or the source ended and is given up.

        Raises the last SourceError where a source that failed is given up.
        """
        self.source.close()
        wait_s = self._first_wait_s = self._next_first_wait_s()
        while not self._stop.is_set():
            self._tell(reason, next_s=time.monotonic() + wait_s)
            if self._is_given_up(wait_s):
                if error:
                    raise error
                return None
            self._stop.wait(wait_s)
            self._tell(reason, attempts=1)
            found = self._open()
            if not isinstance(found, SourceError):
                return found
            error, reason = found, str(found)
            wait_s = min(wait_s * 2, AWAY_WAIT_S if found.is_away else LONGEST_WAIT_S)
        return None

    def _next_first_wait_s(self) -> float:
        """A source that answers and fails soon, again and again, is not asked five times per second."""
        has_run = time.monotonic() - self._opened_s > _STEADY_S
        return FIRST_WAIT_S if has_run else min(2 * self._first_wait_s, AWAY_WAIT_S)

    def _tell(self, reason: str, *, next_s: float | None = None, attempts: int = 0) -> None:
        """Say what is wrong, what is tried and since when."""
        before = self._trouble
        tried = (before.attempts if before else 0) + attempts
        self._trouble = Trouble("source", reason, self._picture_s, tried, next_s)
        if before is None:
            self.on_trouble(self._trouble)

    def _is_given_up(self, wait_s: float) -> bool:
        if self._give_up_after_s is None:
            return False
        return time.monotonic() + wait_s - self._picture_s > self._give_up_after_s

    def _open(self) -> Source | SourceError | None:
        """Make one attempt, on a thread because a driver may block. None: `close` was called meanwhile."""
        self._hanging = [one for one in self._hanging if not one.done.is_set()]
        if len(self._hanging) >= _MOST_HANGING:
            return SourceError(f"{self.name} does not open: {_MOST_HANGING} earlier attempts still hang.")
        opening, began_s = _Opening(self._reopen), time.monotonic()
        while not opening.done.wait(_POLL_S):
            hangs = time.monotonic() - began_s > self._attempt_limit_s
            if not (hangs or self._stop.is_set() or self._is_given_up(0.0)):
                continue
            opening.abandon()
            self._hanging.append(opening)
            why = f": no answer within {self._attempt_limit_s:g} s" if hangs else ""
            return None if self._stop.is_set() else SourceError(f"{self.name} does not open{why}.", is_away=True)
        return opening.take()


def _losses_of(source: Source) -> str | None:
    """What a source lost, without the sentence that its sender ended it: that is an outage, and told as one."""
    damage = getattr(source, "damage", None)
    return damage.describe_live(source.name) if damage else source.warning


class _Opening:
    """One attempt to open a source, on a thread of its own."""

    def __init__(self, reopen: Callable[[], Source]) -> None:
        self.done = threading.Event()
        self._reopen, self._lock = reopen, threading.Lock()
        self._found: Source | SourceError | None = None
        self._is_abandoned = False
        threading.Thread(target=self._run, name="open source", daemon=True).start()

    def abandon(self) -> None:
        """Nobody waits any more: what is opened is closed again."""
        with self._lock:
            self._is_abandoned = True
            if self._found and not isinstance(self._found, SourceError):
                self._found.close()

    def take(self) -> Source | SourceError | None:
        return self._found

    def _run(self) -> None:
        found: Source | SourceError
        try:
            found = self._reopen()
            if not found.live:  # such as HLS whose playlist is complete: it would be played from its beginning
                found.close()
                found = SourceError(f"{found.name} has ended: what is left is a recording.", is_away=True)
        except SourceError as error:
            found = error
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the session goes on and tries again
            found = SourceError(f"the source cannot be opened: {error}")
        with self._lock:
            self._found = found
            if self._is_abandoned and not isinstance(found, SourceError):
                found.close()
        self.done.set()


def comes_back(source: Source) -> bool:
    """Whether a source is of a kind that is opened anew when it stops: a camera, a card or a live stream."""
    return source.live and isinstance(source, CaptureSource | NetworkSource)


def keep_open(
    open_it: Callable[[], Source], *, give_up_after_s: float | None = None, last: LastFrame | None = None
) -> Source:
    """Open a source; a live one comes back by itself. Raises SourceError where it cannot be opened the first time.

    For the other arguments see `Reconnecting`.
    """
    source = open_it()
    if comes_back(source):
        return Reconnecting(source, open_it, last=last, give_up_after_s=give_up_after_s)
    return Continued(source, last) if last and source.live else source


def inner(source: Source) -> Source:
    """The source that is read from at present, without wrappers."""
    while isinstance(source, SourceWrapper):
        source = source.source
    return source
