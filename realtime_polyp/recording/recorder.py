"""Records a session: every captured frame, every result, alarms and events, on a thread of its own.

A bounded consumer. `capture` and `write` hand over and return; where the disk is too slow, results are dropped and
counted, long before the display would wait. What is committed, at least once per second, survives a crash.
"""

import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from realtime_polyp.messages import full_path, printable
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.packets import Frame, Result
from realtime_polyp.recording.chain import utc_now
from realtime_polyp.recording.clock import SessionClock
from realtime_polyp.recording.folders import WHERE, Found, Reserve, WatchedFile
from realtime_polyp.recording.original import NoOriginal, Original
from realtime_polyp.recording.preroll import Captured, PreRollStore
from realtime_polyp.recording.store import EncodedFrame, SessionStore, encode_frame, encode_result
from realtime_polyp.temporal.alarms import Alarm, AlarmKeeper

COMMIT_S = 0.5
"""Between two commits, s."""

FOLD_S = 20.0
"""Between two times that the log is folded into the session file, s: about a megabyte."""

ANSWER_S = 10.0
"""A frame of a live source that has waited so long is recorded without a result, s."""

_QUEUED = 64  # results; of HD about 400 MB with their pictures, but an idle disk needs one
_MOST_PENDING = 10_000  # frames without a result
_WAKE_S, _SYNC_S = 0.1, 1.0
_REST = 3.0  # pause after a step of what can wait, in its own lengths
_LAST_STEPS_S = 2.0  # for what could wait, at the end of a session that somebody watches or has stopped
_LIKELY_PERIOD_S = 1 / 25

Key = tuple[int, float]
Work = Callable[[], object]


class SessionRecorder:
    """Records one session into an existing folder. It is also an `Output`.

    Arguments:
        folder: of the session, empty; None: nothing is written yet, and `begin` names it.
        facts: what is known at the start (`recording.facts`).
        original: keeps the picture.
        live: the source is.
        period_s: of its frames, s.
        waits: `write` waits for room, and `close` for a copy of the source that is not complete, as a file without a
            window may; else results are dropped, and so is the copy.
        states: what a person can change while it records, by name, JSON types; a change becomes an event.
        keep_s: without a folder, how much of the past is kept, s.

    Attributes:
        error: why recording ended early, one sentence; None while it goes on.
        warning: what is lost or happened to the recording while it goes on, one sentence; None: nothing.
        picture_lost: why the picture is not recorded any more, one sentence; None: it is.
        dropped: results that were not recorded.
        end: how the session ended, for fact `ended`: "ended", "stopped" or "failed".

    Raises OutputError where the session file cannot be created.
    """

    on_disk = True

    def __init__(
        self,
        folder: Path | None,
        facts: Mapping[str, Any],
        original: Original | None = None,
        *,
        live: bool = False,
        period_s: float = _LIKELY_PERIOD_S,
        waits: bool = False,
        states: Callable[[], Mapping[str, Any]] = dict,
        keep_s: float = 0.0,
    ) -> None:
        self.folder, self._facts, self._keep_s = folder, facts, keep_s
        self.error: OutputError | None = None
        self.warning: str | None = None
        self.picture_lost: str | None = None
        self.dropped, self.end = 0, "ended"
        self._synced = threading.Event()
        self._original: Original = original or NoOriginal()
        self._waits, self._states, self._is_live = waits, states, live
        self._clock = SessionClock(live=live, period_s=period_s)
        self._alarms = AlarmKeeper(period_s=period_s)
        self._changed = threading.Condition()
        self._items: deque[Result | Work] = deque()
        self._results = 0  # of the items
        self._pending: dict[Key, Captured] = {}
        self._closing = self._is_closed = False
        self._told: dict[str, Any] = {}  # the last value of each state
        self._has_steps, self._step_s = True, 0.0
        self._before = 0  # frames before the first one that is recorded
        self._store: SessionStore | PreRollStore = PreRollStore(keep_s)
        self._zero_s = 0.0
        self._reserve: Reserve | None = None
        self._place: WatchedFile | None = None
        if folder:
            try:
                self._open(folder)
            except (sqlite3.Error, OSError) as error:
                raise self._failure(error) from error
        # A daemon thread: a disk that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="record session", daemon=True)
        self._syncing = threading.Thread(target=self._sync_all, name="sync session", daemon=True)
        self._syncing.start()
        self._thread.start()

    @property
    def name(self) -> str:
        return f"session to {printable(self.folder)}" if self.folder else "what has just passed"

    # What the session hands over

    def capture(self, frame: Frame) -> None:
        """Take a captured frame, on the decode thread, before its result. Never blocks."""
        if self.error or self._closing:
            return
        self._clock.begin(frame.captured_s)
        place = self._original.place(frame)
        captured = Captured(encode_frame(frame), frame.captured_s, place, time.monotonic())
        with self._changed:
            self._pending[_key(frame)] = captured

    def write(self, result: Result) -> None:
        """Take a result; that of a frame that was not captured here is ignored. Raises OutputError once recording has
        failed."""
        with self._changed:
            if self._waits:
                self._changed.wait_for(lambda: self._results < _QUEUED or self.error or self._closing)
            if self.error:
                raise self.error
            if self._closing:
                return
            if self._results >= _QUEUED:
                self.dropped += 1
                return
            self._items.append(result)
            self._results += 1
            self._changed.notify_all()
        for name, value in self._states().items():
            if change := self._change(name, value):
                self.add_event("state", **change)

    def add_event(self, kind: str, **detail: Any) -> None:
        """Record something that happened now. detail: JSON types."""
        moment_s = time.monotonic()
        self.submit(lambda: self._store.add_event(kind, session_s=self._clock.of(moment_s), **detail))

    def seek(self, to_s: float) -> None:
        """The source goes on at another place, s of the source. Call it while nothing is captured."""
        with self._changed:
            last = next(reversed(self._pending), None)  # frames that follow belong to what comes next

        def work() -> None:
            self._end_stretch(last)
            self._add_alarms(self._alarms.seek())
            # At the time of the frame before it: the clock then goes on to that of the frame after it.
            self._store.add_event("seek", session_s=self._clock.now_s, to_s=round(to_s, 3))
            self._clock.jump()

        self.submit(work)

    def begin(self, folder: Path, open_original: Callable[[], Original], facts: Mapping[str, Any]) -> None:
        """Write what has just passed into a folder, and all that follows. It happens on the recorder's thread.

        open_original: called there for the picture. It may raise OSError, FFmpegError or ValueError. facts: in place of
        those that the recorder was made with; what may be long ago.
        """

        def work() -> None:
            kept = self._store
            assert isinstance(kept, PreRollStore)
            self.folder, self._original = folder, open_original()
            kept_s = self._clock.now_s - kept.zero_s
            self._facts = {**facts, "start_utc": utc_now(before_s=kept_s), "pre_roll_s": round(kept_s, 3)}
            self._open(folder, kept)

        self.submit(work)

    def submit(self, work: Work) -> None:
        """Have something done on the recorder's thread, in the transaction of the session file: see `database`."""
        with self._changed:
            if not self._closing and not self.error:
                self._items.append(work)
                self._changed.notify_all()

    @property
    def database(self) -> sqlite3.Connection:
        """The session file, for `submit`: the rows of what a person does."""
        return self._store.database

    @property
    def session_s(self) -> float:
        """The session's clock now, s."""
        return self._now_s - self._zero_s

    def time_of(self, frame: Frame) -> float:
        """The session's time of a frame that was captured, s; for `submit`, because it reads the session file."""
        if self._is_live:
            return max(0.0, self._clock.of(frame.captured_s) - self._zero_s)
        query = "SELECT session_s FROM frames WHERE source_index = ? AND pts_s = ? ORDER BY number DESC LIMIT 1"
        row = self.database.execute(query, (frame.index, float(frame.pts_s))).fetchone()
        return self.session_s if row is None else float(row[0])

    @property
    def _now_s(self) -> float:
        return self._clock.of(time.monotonic())

    @property
    def dropped_pictures(self) -> int:
        """Pictures that are missing in the original because it could not keep up."""
        return self._original.dropped

    def set_fact(self, name: str, value: Any) -> None:
        """Record what is known about the session as a whole. value: JSON types."""
        self.submit(lambda: self._store.set_fact(name, value))

    def note_end(self, state: str, warning: str | None = None) -> None:
        """Take note of how the session ended, before `close`. warning: the source's."""
        self.end = state
        if warning:
            self.add_event("warning", text=warning)

    def close(self) -> None:
        """Write what is queued, end the session file in an orderly way and wait for that. Raises OutputError."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self.error:
            raise self.error

    # The recorder's own thread

    def _run(self) -> None:
        # At the usual priority: it does little, and what it has not committed is lost in a crash.
        try:
            self._record_all()
            self._finish()
        except Exception as error:  # noqa: BLE001 - whatever it is, the person must be told, and nobody may wait
            self._fail(error)
        finally:
            with self._changed:
                self._is_closed = self._closing = True
                self._items.clear()
                self._changed.notify_all()

    def _record_all(self) -> None:
        committed_s = time.monotonic()
        while True:
            items, is_last = self._take()
            for item in items:
                if isinstance(item, Result):
                    self._add_result(item)
                else:
                    self._store.begin()
                    item()
            self._write_late()
            if len(self._pending) > _MOST_PENDING:
                self._write_skipped(leave=_MOST_PENDING // 2)
            if time.monotonic() - committed_s >= COMMIT_S:
                self._commit()
                committed_s = time.monotonic()
            if is_last:
                return
            self._step()

    def _sync_all(self) -> None:
        """On a thread of its own, because a busy disk may take seconds: have everything written to the disk itself."""
        folded_s = time.monotonic()
        while not self._synced.wait(_SYNC_S):
            # Each in its own right; the recorder's own thread meets its error too, and reports it.
            with suppress(OSError, sqlite3.Error):
                self._store.sync()
            with suppress(OSError):
                self._original.sync()
            with suppress(OSError, sqlite3.Error):
                if time.monotonic() - folded_s >= FOLD_S:
                    self._store.fold()
                    folded_s = time.monotonic()

    def _take(self) -> tuple[list[Result | Work], bool]:
        """What waits, a few at a time; and whether it is the last."""
        wait_s = min(_WAKE_S, _REST * self._step_s) if self._has_steps else _WAKE_S
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing, wait_s)
            items = [self._items.popleft() for _ in range(min(8, len(self._items)))]
            self._results -= sum(isinstance(item, Result) for item in items)
            self._changed.notify_all()
            return items, self._closing and not self._items

    def _add_result(self, result: Result) -> None:
        captured = self._take_captured(_key(result.frame))
        if captured is None:
            return
        number = self._add(encode_result(result), captured) + self._before
        width, height = result.frame.image.shape[1::-1]
        for state, value in (("signal", result.signal), ("frame size", [width, height])):
            if change := self._change(state, value):
                self._store.add_event("state", session_s=self._clock.now_s, **change)
        # An alarm's times are the session's, and its best frame is named by its number there.
        frame = replace(result.frame, pts_s=self._clock.now_s, index=number)
        self._add_alarms(self._alarms.update(replace(result, frame=frame)))

    def _change(self, state: str, value: Any) -> dict[str, Any] | None:
        """Note a state; what to record where it has changed. The first value is taken as known."""
        before = self._told.setdefault(state, value)
        self._told[state] = value
        return None if before == value else {"state": state, "value": value, "before": before}

    def _take_captured(self, key: Key) -> Captured | None:
        """The captured frame; those before it have no result and are written."""
        with self._changed:
            if key not in self._pending:
                return None
            skipped = []
            for before in list(self._pending):
                captured = self._pending.pop(before)
                if before == key:
                    break
                skipped.append(captured)
        for one in skipped:
            self._add(one.frame, one)
        return captured

    def _write_skipped(self, leave: int = 0) -> None:
        """Write frames that have had no result; the newest `leave` may still get one."""
        with self._changed:
            keys = list(self._pending)
        self._write_until(keys[-leave - 1] if len(keys) > leave else None)

    def _write_late(self) -> None:
        """Of a live source: write frames that no result is expected for any more, as while a model is down."""
        with self._changed:
            if not self._is_live or self._results:
                return
            late_s = time.monotonic() - ANSWER_S
            late = [key for key, one in self._pending.items() if one.came_s < late_s]
        if late:
            self._write_until(late[-1])

    def _write_until(self, last: Key | None, *, shown: bool = True) -> None:
        """Write the frames up to this one, which have had no result; shown: else they are left out."""
        with self._changed:
            keys = list(self._pending)
            up_to = keys.index(last) + 1 if last in self._pending else 0
            skipped = [self._pending.pop(key) for key in keys[:up_to]]
        for one in skipped if shown else ():
            self._add(one.frame, one)

    def _add(self, frame: EncodedFrame, captured: Captured) -> int:
        session_s = self._clock.at(frame.source[1], captured.time_s)
        if isinstance(self._store, PreRollStore):  # the original has not begun
            return self._store.add(frame, session_s=session_s, picture_s=captured.place)
        return self._store.add(frame, session_s=session_s, picture_s=self._original.picture_s(captured.place))

    def _end_stretch(self, last: Key | None) -> None:
        """Nothing follows the frame `last` without a cut. Of a recording, frames that were read ahead and never shown
        are left out."""
        self._write_until(last, shown=self._is_live)

    def _open(self, folder: Path, kept: "PreRollStore | None" = None) -> None:
        """Create the session file, and write what was kept."""
        self._reserve = Reserve(folder)
        self._zero_s, self._before = (kept.zero_s, kept.before) if kept else (0.0, 0)
        store = SessionStore(folder, zero_s=self._zero_s, before=self._before)
        self._store, self._place = store, WatchedFile(store.path)
        for name, value in {**self._facts, "original": self._original.facts()}.items():
            store.set_fact(name, value)
        store.commit()
        store.checkpoint()
        if kept:
            for one in kept.frames:
                store.add(one.frame, session_s=one.time_s, picture_s=self._original.picture_s(one.place))
            for kind, session_s, detail in kept.events:
                store.add_event(kind, session_s=session_s, **detail)
            store.commit()

    def _add_alarms(self, alarms: tuple[Alarm, ...]) -> None:
        for alarm in alarms:
            if alarm.ended:
                self._store.add_alarm(alarm, alarm.best.index)

    def _commit(self) -> None:
        self._check_original()
        self._note_drops()
        self._store.commit()
        if self._place and (found := self._place.find()) != "there":
            self._go_on(found)

    def _go_on(self, found: Found) -> None:
        """The session's folder was removed or moved: what was recorded is written again, or goes on where it went."""
        if found == "removed" and self.folder and self._place and isinstance(self._store, SessionStore):
            self._store.save_to(self.folder)
            self._place.forget()
            self._place = WatchedFile(self._store.path)
        self.warning = WHERE[found].format(folder=full_path(self.folder or ""))
        self._store.add_event(f"folder {found}", session_s=self._now_s)
        self._store.commit()

    def _check_original(self) -> None:
        """Without a picture the results are still worth recording."""
        if self._told.get("original"):
            return
        try:
            self._original.check()
        except Exception as error:  # noqa: BLE001 - an encoder may raise anything
            self._lose_original(error)

    def _lose_original(self, error: Exception) -> None:
        self._told["original"] = "lost"
        self.warning = self.picture_lost = f"the original picture is no longer recorded: {_reason(error)}"
        self._store.add_event("picture lost", session_s=self._now_s, reason=_reason(error))

    def _note_drops(self) -> None:
        for what, count in (("results", self.dropped), ("pictures", self.dropped_pictures)):
            if more := count - self._told.get(what, 0):
                self._told[what] = count
                self._store.add_event("drop", session_s=self._now_s, what=what, count=more)

    def _step(self) -> bool:
        """A little of the original's work that can wait; whether more is left."""
        if self._has_steps:
            began_s = time.monotonic()
            try:
                facts = self._original.step()
            except OSError as error:
                facts = None
                self._lose_original(error)
            self._has_steps, self._step_s = facts is not None, time.monotonic() - began_s
            for name, value in (facts or {}).items():
                self._store.set_fact(name, value)
        return self._has_steps

    def _finish(self) -> None:
        with self._changed:
            last = next(reversed(self._pending), None)
        self._end_stretch(last)
        self._add_alarms(self._alarms.close())
        self._commit()
        has_time = self._waits and self.end == "ended"
        until_s = time.monotonic() + (math.inf if has_time else _LAST_STEPS_S)
        while time.monotonic() < until_s and self._step():
            pass
        try:
            self._original.close()
        except Exception as error:  # noqa: BLE001
            if not self._told.get("original"):
                self._lose_original(error)
        frames, dropped = self._store.last_number, {"results": self.dropped, "pictures": self._original.dropped}
        self._store.set_fact("ended", {"utc": utc_now(), "how": self.end, "frames": frames, "dropped": dropped})
        self._store.commit()
        self._stop_syncing()
        self._store.close()
        self._release()

    def _fail(self, error: Exception) -> None:
        """Recording ends here; what was committed stays, and the reason is added where that is still possible."""
        with self._changed:
            self.error = error if isinstance(error, OutputError) else self._failure(error)
            self._changed.notify_all()
        self._stop_syncing()
        if self._reserve:
            self._reserve.release()  # on a full disk this is the room for what follows
        self._store.fail({"utc": utc_now(), "reason": _reason(error), "session_s": self._clock.now_s})
        with suppress(Exception):  # it has its own reason, which is no news
            self._original.close()
        self._release()

    def _stop_syncing(self) -> None:
        self._synced.set()
        self._syncing.join()

    def _release(self) -> None:
        if self._reserve:
            self._reserve.release()
        if self._place:
            self._place.forget()

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"cannot write {self.name}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """As `reason_of`; SQLite's own words are good enough."""
    return str(error) if isinstance(error, sqlite3.Error) else reason_of(error)


def _key(frame: Frame) -> Key:
    return frame.index, frame.captured_s
