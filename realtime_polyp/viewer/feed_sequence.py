"""One feed after another: a feed cannot rewind, so a seek leaves it and opens the next one once it has ended."""

import time
from collections.abc import Callable

from realtime_polyp.session import SessionError
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.ledger import NO_TALLY, Tally
from realtime_polyp.viewer.condition import NO_SIGNAL_S, Failure, Phase
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.feed import Feed, OpenFeed

INTENDED_DROPS = ("pre-roll", "paused", "stopped")
"""Reasons for which a picture is left out on purpose; any other reason means that the viewer missed it."""

_PRE_ROLL_S = 0.3  # a feed starts this much before the requested time
_STOP_LIMIT_S = 5.0
_END_S = 0.05  # a seek goes no closer to the end of a recording


class FeedSequence:
    """Opens and leaves feeds. It shows nothing.

    open_feed: opens a feed that starts at a given time. info: of the source. clock: the present time, s.

    Attributes:
        feed: the one that plays, or played last; None before the first.
        phase: what is done with it.
        failure: why playing failed.
        start_s: the first time that is shown of the feed, or of the one that is opened next, s of the video.
    """

    def __init__(self, open_feed: OpenFeed, info: SourceInfo, clock: Callable[[], float]) -> None:
        self._open_feed, self.info, self._clock = open_feed, info, clock
        self.feed: Feed | None = None
        self.phase: Phase = "ready"
        self.failure: Failure | None = None
        self.start_s = info.start_s
        self._tally_before = NO_TALLY  # of the feeds before this one
        self._deadline_s = 0.0  # for the feed that is left

    def open(self, lead_s: float) -> Feed:
        """Open a feed at `start_s`; it is not started. Raises what `open_feed` raises.

        lead_s: how much earlier than usual it begins, s.
        """
        # No pre-roll at the start that the user chose: a recording must not start before it.
        pre_roll_s = 0.0 if self.start_s == self.info.start_s else _PRE_ROLL_S + lead_s
        feed = self._open_feed(max(0.0, self.start_s - pre_roll_s))
        if not self.info.live:
            feed.shown_from_s = self.start_s
        self._tally_before += self.feed.tally() if self.feed else NO_TALLY
        self.feed, self.phase, self.failure = feed, "playing", None
        return feed

    def seek(self, to_s: float) -> None:
        """Go to a time of a recording, s; the last of several calls counts."""
        latest_s = self.info.duration_s if self.info.duration_s is not None else to_s
        self.start_s = min(max(0.0, to_s), max(0.0, latest_s - _END_S))
        if self.phase != "seeking":
            self.change()

    def change(self) -> None:
        """Stop this feed, so that the next one can be opened as soon as it has ended."""
        self._stop()
        self.phase, self._deadline_s = "seeking", self._clock() + _STOP_LIMIT_S

    def has_stopped(self) -> bool:
        """Whether the feed has ended; its account is then closed. A failure while stopping is ignored."""
        if self.feed is None:
            return True
        try:
            is_over = self.feed.is_over()
        except SessionError:
            is_over = True
        if is_over:
            self.feed.drop_pending()
        return is_over

    def stop_failure(self) -> Failure | None:
        """Why a feed that was left does not end; None while there is still time."""
        if self._clock() <= self._deadline_s:
            return None
        stall = self.feed.stalled(NO_SIGNAL_S) if self.feed else None
        return Failure("viewer", str(stall) if stall else f"the source did not stop within {_STOP_LIMIT_S:g} s")

    def fail(self, failure: Failure) -> None:
        """Leave the feed for good."""
        self._stop()
        self.has_stopped()
        self.phase, self.failure = "failed", failure

    def end(self) -> None:
        """The feed has delivered everything."""
        if self.feed:
            self.feed.drop_pending()
        self.phase = "ended"

    def close(self, within_s: float) -> bool:
        """Leave the feed; False if one of its threads still hangs in a blocked read after `within_s`."""
        if self.phase == "closed":
            return True
        self._stop()
        self.phase = "closed"
        deadline_s = time.monotonic() + within_s
        while not self.has_stopped():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.005)
        return True

    def tally(self) -> Tally:
        """Count the pictures since the start, over all feeds."""
        return self._tally_before + (self.feed.tally() if self.feed else NO_TALLY)

    @property
    def missed(self) -> int:
        """The number of pictures that should have been shown and were not, since the start."""
        stages = self.tally().dropped.values()
        return sum(count for stage in stages for reason, count in stage.items() if reason not in INTENDED_DROPS)

    def _stop(self) -> None:
        if self.feed:
            self.feed.stop()


def failure_of(error: SessionError, *, live: bool) -> Failure:
    """A live source that reports why there is no picture has lost its signal; anything else is a fault."""
    if live and isinstance(error.__cause__, SourceError):
        return Failure("signal", str(error.__cause__))
    return Failure(error.stage, str(error))
