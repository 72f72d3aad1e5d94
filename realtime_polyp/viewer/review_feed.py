"""A feed over a recorded session: its pictures and results, filtered again at the threshold of the moment.

Frames carry the session's numbers and times: `Frame.index` is the number in the session, `Frame.pts_s` its clock.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.field_of_view import whole
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result
from realtime_polyp.recording.filter_settings import FilterSettings
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.review.session_tracks import SessionTracks
from realtime_polyp.session import Display, SessionError
from realtime_polyp.telemetry.ledger import Ledger, Tally
from realtime_polyp.watchdog import Progress, Stall, Trouble

_WAITING_RESULTS = 2
_ROUNDING_S = 1e-6


class ReviewFeed:
    """Plays a session from a time on its own clock. Implements `viewer.feed.Feed`.

    session: opened for this feed's thread alone. pictures: used by this feed's thread alone until it has ended.
    tracks: shared by all feeds of the session. warning: what the session lacks, in one sentence.
    """

    display: Display = "synced"
    filters_again = True
    every = 1

    def __init__(
        self,
        session: RecordedSession,
        pictures: SessionPictures,
        tracks: SessionTracks,
        start_s: float,
        *,
        warning: str | None = None,
    ) -> None:
        self._session, self._pictures, self._tracks, self.warning = session, pictures, tracks, warning
        self._first = max(0, int(np.searchsorted(session.frames.session_s, start_s + _ROUNDING_S, side="right")) - 1)
        self.shown_from_s, self._step_s = 0.0, 0.0
        self._ledger, self._progress = Ledger(), Progress()
        self._results: Channel[Result] = Channel(_WAITING_RESULTS)
        self.on_screen = int(session.frames.number[self._first]) if len(session.frames) else 0
        """Number of the frame that was shown last."""
        self._error: SessionError | None = None
        self._thread = threading.Thread(target=self._run, name="review", daemon=True)

    @property
    def score_threshold(self) -> float:
        return self._tracks.state.settings.score_threshold

    @score_threshold.setter
    def score_threshold(self, score_threshold: float) -> None:
        self._tracks.set(self._settings_at(score_threshold), self.on_screen)

    @property
    def tracks_polyps(self) -> bool:
        return self._tracks.state.settings.temporal is not None

    @property
    def engines_text(self) -> str:
        names = [name for name in self._session.facts.get("models", {}).values() if name]
        return f"recorded    {' + '.join(names) or 'without models'}"

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        return ()

    def stalled(self, limit_s: float) -> Stall | None:
        return next(iter(self._progress.stalled(limit_s)), None)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._results.stop()

    def is_over(self) -> bool:
        if self._thread.ident is not None:
            self._thread.join(0)
        if self._thread.is_alive():
            return False
        if self._error:
            raise self._error
        return True

    def set_step(self, step_s: float) -> None:
        self._step_s = step_s

    def set_position(self, pts_s: float, speed: float) -> None:
        """Every picture waits for its result: nothing depends on it."""

    def next_picture(self) -> Frame | None:
        return None

    def next_result(self) -> Result | None:
        result = self._results.take_nowait()
        return None if result is None else self._at_settings(result)

    def count_shown(self, frame: Frame) -> None:
        self.on_screen = frame.index
        self._ledger.shown(frame.index)

    def count_annotated(self, result: Result) -> None:
        """Nothing is timed: the results were there before."""

    def count_dropped(self, frame: Frame, reason: str) -> None:
        self._ledger.dropped(frame.index, "screen", reason)

    def drop_pending(self) -> None:
        self._ledger.drop_pending("screen", "stopped")

    def tally(self) -> Tally:
        return self._ledger.tally()

    def reanalyse(self, result: Result, score_threshold: float) -> Result:
        """The same frame at another threshold, filtered again."""
        self._tracks.set(self._settings_at(score_threshold), result.frame.index)
        return self._at_settings(result)

    def _settings_at(self, score_threshold: float) -> FilterSettings:
        """The settings with another threshold. The window rounds: what the recorded one rounds to is meant as that."""
        recorded = self._tracks.recorded.score_threshold
        is_recorded = round(recorded, 2) == round(score_threshold, 4)
        threshold = recorded if is_recorded else score_threshold
        return replace(self._tracks.recorded.at(threshold), temporal=self._tracks.state.settings.temporal)

    def _at_settings(self, result: Result) -> Result:
        """Give a result the tracks and detections of the settings of the moment."""
        number, state = result.frame.index, self._tracks.state
        found = self._tracks.detections(number, state.settings.score_threshold)
        return replace(result, tracks=state.at(number), detections=found or result.detections)

    def _run(self) -> None:
        number = self.on_screen
        try:
            for number in self._numbers():
                with self._progress.working("source", number):
                    result = self._read(number)
                self._ledger.captured(number)
                self._results.put(result)
            self._results.close()
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - no thread dies unheard
            self._error = SessionError("decoder", number, error)
        finally:
            self._session.close()

    def _numbers(self) -> Iterator[int]:
        """The frames to show, from the start on; played fast, some are left out."""
        frames, last_s = self._session.frames, -np.inf
        for row in range(self._first, len(frames)):
            now_s = float(frames.session_s[row])
            if now_s - last_s >= self._step_s - _ROUNDING_S:
                last_s = now_s
                yield int(frames.number[row])

    def _read(self, number: int) -> Result:
        """Read what was recorded of a frame. Its tracks are added when it is taken."""
        image, time_s = self._pictures.image(number), float(self._session.frames.session_s[number - 1])
        frame = self._session.frame(number, image)
        frame = replace(frame, index=number, pts_s=time_s, captured_s=time.monotonic())
        try:
            return replace(self._session.result(number, image), frame=frame, raw=None, cues=None)
        except KeyError:  # it was not analysed
            return Result(frame, whole(image), NO_DETECTIONS, (), None)
