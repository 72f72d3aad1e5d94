"""The player: owns the session of a source and decides which picture is on the screen, when. No Qt, no painting.

A source cannot rewind, so a seek leaves the session and opens another one, a moment earlier: the tracker has seen
those pictures when the wanted one is shown, and its overlay is right at once.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from realtime_polyp.channel import Channel
from realtime_polyp.engines.base import EngineError
from realtime_polyp.packets import Frame, Result
from realtime_polyp.session import Session, SessionError
from realtime_polyp.sources.base import SourceError
from realtime_polyp.viewer.condition import NO_SIGNAL_S, Failure, Phase, PlayerState
from realtime_polyp.viewer.pacing import Pacer
from realtime_polyp.viewer.rates import NO_READING, Rates, Reading
from realtime_polyp.viewer.reanalysis import Reanalysis, with_found
from realtime_polyp.viewer.view import Painted, SourceInfo, View

OpenSession = Callable[[float, Callable[[Result], None]], Session]

OVERLAY_LIMIT_S = 0.2
DELIBERATE = ("pre-roll", "paused", "stopped")  # pictures left out because someone asked for it: nothing was missed
_PRE_ROLL_S = 0.3
_HELD_RESULTS = 2
_POLL_S, _IDLE_S, _DUE_S = 0.002, 0.03, 0.0015
_LEAVE_LIMIT_S = 5.0
_CANNOT_OPEN = (SourceError, EngineError, OSError)


class Player:
    """Call `open`, then `tick` again and again after as many seconds as it returns, then `close`; all of it on one
    thread.

    paint: puts a view on the screen before it returns, and says what got there.
    """

    def __init__(
        self,
        open_session: OpenSession,
        info: SourceInfo,
        paint: Callable[[View], Painted],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_session, self.info, self._paint, self._clock = open_session, info, paint, clock
        self.session: Session | None = None
        self.view: View | None = None
        self.failure: Failure | None = None
        self.phase: Phase = "ready"
        self.paused = False
        self.score_threshold: float | None = None
        self._mailbox: Channel[Result] = Channel(_HELD_RESULTS)
        self._pacer, self._rates = Pacer(), Rates()
        self._next: Result | None = None  # taken from the mailbox, not yet due
        self._newest: Result | None = None
        self._steps = 0
        self._start_s = info.start_s
        self._deadline_s = 0.0
        self._last_picture_s = clock()
        self._changed: tuple[tuple[int, int], tuple[int, int], float] | None = None
        self._again = Reanalysis()

    # What a person asks for

    def open(self) -> None:
        """Start playing where it was last wished for. Raises what `open_session` raises."""
        # No pre-roll where the person asked to begin: what is recorded there must not begin earlier.
        pre_roll_s = 0.0 if self._start_s == self.info.start_s else _PRE_ROLL_S
        session = self._open_session(max(0.0, self._start_s - pre_roll_s), lambda result: self._mailbox.put(result))
        immediate = session.display == "immediate"
        self._mailbox = Channel(1, live=True) if immediate else Channel(_HELD_RESULTS)
        if self.score_threshold is None:
            self.score_threshold = session.pipeline.config.score_threshold
        session.pipeline.set_score_threshold(self.score_threshold)
        self.session, self.phase, self.failure = session, "playing", None
        self._next = self._newest = None
        self._steps = 1 if self.paused else 0
        self._last_picture_s = self._clock()
        self._pacer.restart()
        session.start()

    def toggle_pause(self) -> None:
        """Pause or go on; at the end or after a failure, play again."""
        if self.phase in ("ended", "failed"):
            self._play_again()
        else:
            self.pause(not self.paused)

    def pause(self, paused: bool) -> None:
        self.paused, self._steps = paused, 0
        self._pacer.restart()

    def step(self) -> None:
        """One picture on, then wait."""
        if not self.paused:
            self.pause(True)
        self._steps += 1

    def seek(self, to_s: float) -> None:
        """Go to `to_s` of a recording; the last of several wishes counts."""
        if self.info.live or self.phase == "closed":
            return
        latest_s = self.info.duration_s if self.info.duration_s is not None else to_s
        self._start_s = min(max(0.0, to_s), max(0.0, latest_s - 0.05))
        if self.phase != "seeking":
            self._change_session()

    def set_score_threshold(self, score_threshold: float) -> None:
        """For the frames to come, and for the one on the screen while it stands still."""
        lowered = self.score_threshold is None or score_threshold < self.score_threshold
        self.score_threshold = score_threshold
        if self.session:
            self.session.pipeline.set_score_threshold(score_threshold)
        if lowered:
            self._look_again()

    def close(self, within_s: float = 3.0) -> bool:
        """Leave the session; False if a thread of it still hangs in a blocked read after `within_s`."""
        if self.phase == "closed":
            return True
        self._leave()
        self.phase = "closed"
        self._again.close()
        deadline_s = time.monotonic() + within_s
        while not self._has_left():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.005)
        return True

    # What a person is shown

    @property
    def position_s(self) -> float:
        if self.phase == "seeking" or self.view is None:
            return self._start_s
        return self.view.frame.pts_s

    @property
    def still(self) -> bool:
        """The same picture stays on the screen."""
        return self.paused or self.phase == "ended"

    @property
    def missed(self) -> int:
        """Pictures of this session that should have been seen and were not."""
        if self.session is None:
            return 0
        stages = self.session.tally().dropped.values()
        return sum(count for stage in stages for reason, count in stage.items() if reason not in DELIBERATE)

    def facts(self) -> PlayerState:
        now_s = self._clock()
        newest = self._newest
        immediate = self.session is not None and self.session.screen is not None
        return PlayerState(
            phase=self.phase,
            live=self.info.live,
            paused=self.paused,
            has_picture=self.view is not None,
            silent_s=now_s - self._last_picture_s,
            overlay_age_s=now_s - newest.frame.captured_s if immediate and newest else None,
            signal=newest.signal if newest else "ok",
            frame_quality=newest.frame_quality if newest else "clear",
            changed=(*self._changed[:2], now_s - self._changed[2]) if self._changed else None,
            failure=self.failure,
            warning=self.session.source.warning if self.session else None,
        )

    def reading(self) -> Reading:
        now_s = self._clock()
        runs = self.phase == "playing" and not self.paused
        signal = not self.info.live or now_s - self._last_picture_s <= NO_SIGNAL_S
        return self._rates.read(now_s) if runs and signal else NO_READING

    # What time asks for

    def tick(self) -> float:
        """Do what is due; returns the seconds after which to call again."""
        self._take_look()
        if self.phase == "seeking":
            return self._reopen()
        if self.phase != "playing" or self.session is None:
            return _IDLE_S
        try:
            over = self.session.wait(0)  # asked before the mailbox: what is over has delivered everything
        except SessionError as error:
            return self._fail(_failure_of(error, live=self.info.live))
        wait_s = self._tick_immediate(self.session) if self.session.screen else self._tick_synced(self.session)
        if over and wait_s is None:
            return self._end(self.session)
        return _POLL_S if wait_s is None else wait_s

    def _tick_synced(self, session: Session) -> float | None:
        """Each result with its own picture, when it is due; None when there is none."""
        self._take_next(session)
        if self._next is None:
            return None
        now_s = self._clock()
        if self.paused and not self._steps:
            return _IDLE_S
        if not self.paused and not self.info.live:
            wait_s = self._pacer.wait_s(self._next.frame.pts_s, now_s)
            if wait_s > _DUE_S:
                return min(wait_s, _IDLE_S)
        result, self._next, self._newest = self._next, None, self._next
        self._steps = max(0, self._steps - 1)
        self._pacer.shown(result.frame.pts_s, now_s)
        self._show(session, View(result.frame, result), new_picture=True, new_overlay=True)
        return 0.0

    def _take_next(self, session: Session) -> None:
        """The next result to show. A recording's come one by one; of a live source's only the newest counts, and none
        while it is paused."""
        while self._next is None or self.info.live:
            result = self._mailbox.take_nowait()
            if result is None:
                break
            self._last_picture_s = self._clock()
            if self._next:
                self._drop(session, self._next.frame, "newer frame")
            early = not self.info.live and result.frame.pts_s < self._start_s - 1e-3
            self._next = None if early else result
            if early:
                self._drop(session, result.frame, "pre-roll")
        if self._next and self.info.live and self.paused and not self._steps and self.view:
            self._drop(session, self._next.frame, "paused")
            self._next = None

    def _tick_immediate(self, session: Session) -> float | None:
        """The newest picture at once, with the newest result that is young enough; None when nothing is new."""
        frame = session.screen.latest() if session.screen else None
        result = self._mailbox.latest()
        if frame:
            self._last_picture_s = self._clock()
        if self.paused and self.view and not (self._steps and frame):
            return self._stand_still(session, self.view, frame, result)
        self._steps = 0
        self._newest = result or self._newest
        shown = frame or (self.view.frame if self.view else None)
        if shown is None:
            return None
        usable = self._usable(shown)
        if frame or (self.view and usable is not self.view.result):
            new_overlay = usable is not None and (self.view is None or usable is not self.view.result)
            self._show(session, View(shown, usable), new_picture=frame is not None, new_overlay=new_overlay)
            return 0.0
        return None

    def _stand_still(self, session: Session, view: View, frame: Frame | None, result: Result | None) -> float | None:
        """Paused: pictures pass by unseen, but the one on the screen still gets its own overlay when that is ready."""
        if frame:
            self._drop(session, frame, "paused")
        if result and result.frame is view.frame and result is not view.result:
            self._newest = result
            self._show(session, View(view.frame, result), new_picture=False, new_overlay=True)
        return _POLL_S if frame else None

    def _usable(self, shown: Frame) -> Result | None:
        """The newest result, unless it is too old or of a picture of another format."""
        newest = self._newest
        if newest is None or newest.frame.image.shape != shown.image.shape:
            return None
        return newest if self._clock() - newest.frame.captured_s <= OVERLAY_LIMIT_S else None

    def _show(self, session: Session, view: View, *, new_picture: bool, new_overlay: bool) -> None:
        """Paint, and account for what was painted."""
        self._note_format(view.frame)
        self.view = view
        painted = self._paint(view)
        now_s = self._clock()
        if new_picture and painted.picture:
            session.shown(view.frame)
            self._rates.picture(view.frame.captured_s, now_s)
        elif new_picture:
            self._drop(session, view.frame, "window hidden")
        if new_overlay and painted.overlay and view.result:
            session.annotated(view.result)
            self._rates.overlay(view.result.frame.captured_s, sum(view.result.stages_ms.values()), now_s)

    def _note_format(self, frame: Frame) -> None:
        if self.view and self.view.frame.image.shape != frame.image.shape:
            self._changed = (_size(self.view.frame), _size(frame), self._clock())

    def _drop(self, session: Session, frame: Frame, reason: str) -> None:
        session.pictures.dropped(frame.index, "screen", reason)

    def _look_again(self) -> None:
        if self.still and self.view and self.view.result and self.session:
            self._again.begin(self.session.pipeline, self.view.result, self.score_threshold or 0.0)

    def _take_look(self) -> None:
        look = self._again.take()
        if look is None:
            return
        error = look.found.exception()
        if error:
            self._fail(Failure("model", f"the model failed: {error}"))
        elif self.view and self.view.result is look.result and self.still:
            self.view = replace(self.view, result=with_found(look.result, look.found.result()))
            self._paint(self.view)
        if self.score_threshold is not None and self.score_threshold < look.score_threshold:
            self._look_again()  # the threshold fell further meanwhile

    # The ends of a session

    def _change_session(self) -> None:
        self._leave()
        self.phase, self._deadline_s = "seeking", self._clock() + _LEAVE_LIMIT_S

    def _leave(self) -> None:
        if self.session:
            self.session.stop()
        self._mailbox.stop()
        self._next = None

    def _has_left(self) -> bool:
        """The session's threads are gone and its account is closed. That it failed while being left is of no
        interest."""
        if self.session is None:
            return True
        try:
            gone = self.session.wait(0)
        except SessionError:
            gone = True
        if gone:
            self.session.finish_pictures()
        return gone

    def _reopen(self) -> float:
        if not self._has_left():
            if self._clock() > self._deadline_s:
                return self._fail(Failure("viewer", f"the source did not stop within {_LEAVE_LIMIT_S:g} s"))
            return _POLL_S
        try:
            self.open()
        except _CANNOT_OPEN as error:
            return self._fail(Failure("viewer", str(error)))
        return 0.0

    def _play_again(self) -> None:
        failed = self.phase == "failed" and not self.info.live
        self._start_s = self.position_s if failed else self.info.start_s
        self.paused = False
        self._change_session()

    def _fail(self, failure: Failure) -> float:
        """The last overlay goes, the last picture stays, and the reason is said."""
        self._leave()
        self._has_left()
        self.phase, self.failure, self._newest = "failed", failure, None
        if self.view:
            self.view = replace(self.view, result=None)
            self._paint(self.view)
        return _IDLE_S

    def _end(self, session: Session) -> float:
        session.finish_pictures()
        self.phase = "ended"
        if self.info.loop and self.view:
            self._play_again()
        return _IDLE_S


def _size(frame: Frame) -> tuple[int, int]:
    height, width = frame.image.shape[:2]
    return width, height


def _failure_of(error: SessionError, *, live: bool) -> Failure:
    """A live source that says itself why there is no picture has lost its signal; anything else is a fault."""
    if live and isinstance(error.__cause__, SourceError):
        return Failure("signal", str(error.__cause__))
    return Failure(error.stage, str(error))
