"""What runs now, in one snapshot: what metrics, the health page, the log and the remote page show.

Sessions are attached to a `Board`, which is asked from other threads. Nothing on the way of a frame does more than keep
a reference, so nothing waits for whoever asks.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from realtime_polyp.packets import Frame, Result
from realtime_polyp.session import Session
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.histogram import DELAY_PERCENTS, Histogram
from realtime_polyp.telemetry.ledger import NO_TALLY, Tally
from realtime_polyp.telemetry.totals import Totals, totals_of
from realtime_polyp.watchdog import ANSWER_LIMIT_S

NO_SIGNAL_S = 1.0
"""A live source that delivers no picture for longer than this has no signal."""

_WINDOW_LIMIT_S = 3.0  # a window that has not spoken for so long hangs: what it said last no longer holds
_MOST_POLYPS = 50


@dataclass(frozen=True)
class Condition:
    """What is shown as the state of a session.

    Attributes:
        name: such as "running" or "no signal".
        tone: "good", "busy" (nothing runs, and nothing is wrong), "warn" or "bad".
        blanks: no overlay may be shown.
    """

    name: str
    tone: str = "good"
    blanks: bool = False


IDLE = Condition("idle", "busy", blanks=True)
_TROUBLES = {"source": "reconnecting", "decoder": "decoder failed", "model": "model failed"}
_STATES = {
    "ready": Condition("ready", "busy", blanks=True),
    "ended": Condition("ended", "busy"),
    "stopped": Condition("stopped", "busy", blanks=True),
}


@dataclass(frozen=True)
class ShownPolyp:
    """A polyp that was shown.

    Attributes:
        number: of its track.
        first_s, last_s: first and last frame in which it was visible, s of the video.
        score: the highest, 0..1.
        visible: it is in the newest result.
    """

    number: int
    first_s: float
    last_s: float
    score: float
    visible: bool


@dataclass(frozen=True)
class Status:
    """One session at one moment. No name of a source is among it: names of files may be names of patients.

    Attributes:
        stream: "1", or its number among several.
        source: counts the sources that this stream has followed, one after the other.
        condition: its state. since_s: how long it has been in it, s.
        live: the source is. rate_hz: its nominal rate; None: unknown. size: (width, height) px.
        pictures, analyses: the accounts of frames, over all stretches.
        video_delay_ms, annotation_delay_ms, stages_ms: over all stretches.
        polyps: how many were shown so far. shown: the newest of them, newest first.
        every: every n-th frame is analysed.
        models: of detector and segmenter, those that there are. engines: what runs them.
        failed_stage, failure: the stage that failed and the class of its error; None: none did.
        stall: the stage that hangs; None: none does.
        position_s: time of the newest frame, s of the video; None before the first.
    """

    stream: str
    condition: Condition = IDLE
    since_s: float = 0.0
    live: bool = False
    rate_hz: float | None = None
    size: tuple[int, int] = (0, 0)
    pictures: Tally = NO_TALLY
    analyses: Tally = NO_TALLY
    video_delay_ms: Histogram = field(default_factory=Histogram)
    annotation_delay_ms: Histogram = field(default_factory=Histogram)
    stages_ms: dict[str, Histogram] = field(default_factory=dict)
    polyps: int = 0
    shown: tuple[ShownPolyp, ...] = ()
    every: int = 1
    models: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    failed_stage: str | None = None
    failure: str | None = None
    stall: str | None = None
    position_s: float | None = None
    source: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types: what the health page and the remote page show."""
        return {
            "stream": self.stream,
            "state": self.condition.name,
            "tone": self.condition.tone,
            "since_s": round(self.since_s, 1),
            "live": self.live,
            "frames_captured": self.pictures.captured,
            "frames_shown": self.pictures.shown,
            "frames_dropped": self.pictures.dropped_total,
            "frames_analysed": self.analyses.shown,
            "analysed_every": self.every,
            "video_delay_ms": self.video_delay_ms.summary(DELAY_PERCENTS),
            "annotation_delay_ms": self.annotation_delay_ms.summary(DELAY_PERCENTS),
            "polyps": self.polyps,
            "models": list(self.models),
            "engines": list(self.engines),
        }


class Stream:
    """One session after another of one source. `take_frame` and `take_result` are called by its threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session: Session | None = None
        self.newest: Result | None = None
        self.picture: Frame | None = None
        self._before: Totals | None = None
        self._polyps: OrderedDict[int, ShownPolyp] = OrderedDict()
        self._count = self._sources = 0
        self._window: tuple[Condition, float] | None = None
        self._condition, self._since_s = IDLE, time.monotonic()
        self._last_picture_s = time.monotonic()
        self._lock = threading.Lock()

    def attach(self, session: Session, before: Totals | None = None) -> None:
        """Follow a session from now on. before: what the stretches before it come to; None: another source begins."""
        before = deepcopy(before)  # the caller adds to it, and a session must not be counted twice meanwhile
        with self._lock:
            if before is None:
                self._forget()
                self._sources += 1
            self.session, self._before = session, before
            self.newest = self.picture = None
            self._last_picture_s = time.monotonic()

    def detach(self) -> None:
        """The session is over: nothing runs."""
        with self._lock:
            self.session = self.newest = self.picture = self._window = None
            self._forget()

    def _forget(self) -> None:
        self._polyps.clear()
        self._count = 0

    def set_condition(self, condition: Condition) -> None:
        """What the window shows. It is called several times per second: otherwise it is forgotten."""
        self._window = condition, time.monotonic()

    def frames_to(self, on_frame: Callable[[Frame], None] | None) -> Callable[[Frame], None]:
        """The `on_frame` of a session that is followed."""

        def take(frame: Frame) -> None:
            self.take_frame(frame)
            if on_frame:
                on_frame(frame)

        return take

    def results_to(self, show: Callable[[Result], None]) -> Callable[[Result], None]:
        """The `show` of a session that is followed."""

        def take(result: Result) -> None:
            self.take_result(result)
            show(result)

        return take

    def take_frame(self, frame: Frame) -> None:
        """On the decode thread."""
        self.picture, self._last_picture_s = frame, time.monotonic()

    def take_result(self, result: Result) -> None:
        """On the deliver thread."""
        self.newest = result
        # On a black or frozen picture nothing is drawn.
        seen = {track.id: track.score for track in result.visible} if result.signal == "ok" else {}
        if not (seen or self._polyps):
            return
        with self._lock:
            self._note(seen, result.frame.pts_s)

    def _note(self, seen: dict[int, float], now_s: float) -> None:
        for number in [one for one, polyp in self._polyps.items() if polyp.visible and one not in seen]:
            self._polyps[number] = replace(self._polyps[number], visible=False)
        for number, score in seen.items():
            before = self._polyps.pop(number, None)
            self._count += before is None
            first_s, best = (before.first_s, max(before.score, score)) if before else (now_s, score)
            self._polyps[number] = ShownPolyp(number, first_s, now_s, best, True)
        while len(self._polyps) > _MOST_POLYPS:
            self._polyps.popitem(last=False)

    def condition(self) -> Condition:
        """Its state now; cheaper than a snapshot."""
        now_s = time.monotonic()
        condition = self._condition_now(self.session, now_s)
        if condition != self._condition:
            self._condition, self._since_s = condition, now_s
        return condition

    def no_picture_s(self) -> float:
        """Time since the last picture, s."""
        return time.monotonic() - self._last_picture_s

    def since_s(self) -> float:
        """How long it has been in this state, s, as far as anybody has asked."""
        return time.monotonic() - self._since_s

    def snapshot(self) -> Status:
        """Its status now."""
        with self._lock:
            session, before, source = self.session, self._before, self._sources
            shown, count = tuple(reversed(self._polyps.values())), self._count
            picture = self.picture
        status = Status(self.name, self.condition(), self.since_s(), source=source)
        if session is None:
            return status
        position_s = picture.pts_s if picture else None
        return replace(_describe(status, session, before), polyps=count, shown=shown, position_s=position_s)

    def _condition_now(self, session: Session | None, now_s: float) -> Condition:
        if session is None:
            return IDLE
        window = self._window
        if window and now_s - window[1] < _WINDOW_LIMIT_S:
            return window[0]
        return condition_of(session, self.newest, now_s - self._last_picture_s)


class Board:
    """The streams of this process. `snapshot` may be called from any thread."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._lock = threading.Lock()

    def stream(self, name: str = "1") -> Stream:
        """The stream of this name, which is made where there is none."""
        with self._lock:
            return self._streams.setdefault(name, Stream(name))

    def names(self) -> list[str]:
        """The names of the streams that there are."""
        with self._lock:
            return list(self._streams)

    def snapshot(self) -> tuple[Status, ...]:
        """The status of every stream; of one that idles where there is none."""
        with self._lock:
            streams = list(self._streams.values())
        return tuple(one.snapshot() for one in streams) or (Status("1"),)


def recent_delays(now: Status, before: Status | None) -> tuple[Histogram, Histogram]:
    """Video and annotation delays since an earlier status; all of them where another source has begun since."""
    delays = (now.video_delay_ms, now.annotation_delay_ms)
    if before is None or before.source != now.source:
        return delays
    return delays[0].since(before.video_delay_ms), delays[1].since(before.annotation_delay_ms)


def condition_of(session: Session, newest: Result | None, no_picture_s: float) -> Condition:
    """The state of a session as it can be told without a window.

    newest: its newest result. no_picture_s: time since its last picture, s.
    """
    if session.error:
        cause = session.error.__cause__
        lost = session.source.live and session.error.stage == "decoder" and isinstance(cause, SourceError)
        return Condition("no signal" if lost else f"{session.error.stage} failed", "bad", blanks=True)
    if session.state in _STATES:
        return _STATES[session.state]
    if troubles := [_TROUBLES[one.part] for one in session.troubles]:
        return Condition(troubles[0], "bad", blanks=True)
    stall = session.stalled(ANSWER_LIMIT_S)
    if stall:
        return Condition(f"{stall.stage} not answering", "bad", blanks=True)
    if session.source.live and no_picture_s > NO_SIGNAL_S:
        return Condition("no signal", "bad", blanks=True)
    if newest is None:
        return _STATES["ready"]
    if newest.signal != "ok":
        return Condition(f"{newest.signal} picture", "warn", blanks=True)
    return Condition("view not clear", "warn") if newest.frame_quality != "clear" else Condition("running")


def _describe(status: Status, session: Session, before: Totals | None) -> Status:
    totals = totals_of([session], before)
    engines = [engine for engine in (session.pipeline.detector, session.pipeline.segmenter) if engine]
    stall, error = session.stalled(ANSWER_LIMIT_S), session.error
    rate_hz = session.source.rate_hz
    return replace(
        status,
        live=session.source.live,
        rate_hz=float(rate_hz) if rate_hz else None,
        size=session.source.size,
        every=session.every,
        pictures=totals.pictures,
        analyses=totals.analyses,
        video_delay_ms=totals.video_delay_ms,
        annotation_delay_ms=totals.annotation_delay_ms,
        stages_ms=totals.stages_ms,
        models=tuple(dict.fromkeys(engine.model for engine in engines)),
        engines=tuple(dict.fromkeys(engine.name for engine in engines)),
        failed_stage=error.stage if error else None,
        failure=type(error.__cause__).__name__ if error else None,
        stall=stall.stage if stall else None,
    )
