"""The tracks of a session at the settings of the moment: recorded at first, then those of the filter that ran again.

A polyp keeps the number that it had in the recording, whatever the settings: what was said about it stays with it.
What is on the screen is answered at once, the rest on a thread, in pieces.
"""

import threading
from dataclasses import dataclass, replace

import numpy as np

from realtime_polyp.messages import describe_error
from realtime_polyp.packets import Detections, Track
from realtime_polyp.recording.filter_settings import FilterSettings
from realtime_polyp.review.alarms import SessionAlarm, find_alarms
from realtime_polyp.review.cue_table import CueTable, read_cues, read_seeks, recorded_settings
from realtime_polyp.review.polyps import match_numbers, renumber
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.refilter import Piece, Refilter
from realtime_polyp.review.tracks import NO_TRACKS, TrackTable, join_tables, recorded_tracks

_WHOLE = 1 << 62  # a frame number that no session reaches
_AROUND = 30  # frames before and after the one on the screen that are filtered at once


@dataclass(frozen=True)
class TrackState:
    """One state of the answer.

    Attributes:
        settings: they were asked for.
        tracks: of the whole session: at these settings once `is_complete`, else at earlier ones.
        alarms: of these tracks.
        pieces: what is there at these settings so far.
        is_complete: nothing is under way.
    """

    settings: FilterSettings
    tracks: TrackTable = NO_TRACKS
    alarms: tuple[SessionAlarm, ...] = ()
    pieces: tuple[Piece, ...] = ()
    is_complete: bool = False

    def at(self, number: int) -> tuple[Track, ...]:
        """The tracks of a frame. At earlier settings, those below the threshold are left out."""
        for piece in self.pieces:
            if piece.first <= number <= piece.last:
                return piece.tracks.at(number)
        found = self.tracks.at(number)
        return found if self.is_complete else tuple(one for one in found if one.score >= self.settings.score_threshold)


class SessionTracks:
    """Loads a session's tracks on a thread, and filters again whenever the settings change.

    state: the newest one; replaced as a whole, so that any thread may read it.
    error: why the session cannot be read, in one sentence; None where it can.
    """

    def __init__(self, session: RecordedSession) -> None:
        self.recorded = recorded_settings(session)
        self.state = TrackState(self.recorded)
        self.error: str | None = None
        self._session = session.again()
        self._cues: CueTable | None = None
        self._recorded_tracks = NO_TRACKS
        self._seeks: tuple[int, ...] = ()
        self._changed = threading.Condition()
        self._asked: FilterSettings | None = None
        self._shown, self._closing = 1, False
        self._thread = threading.Thread(target=self._run, name="refilter", daemon=True)
        self._thread.start()

    def set(self, settings: FilterSettings, shown: int) -> None:
        """Ask for other settings. What is around the frame `shown` is there when this returns, once all is loaded."""
        with self._changed:
            if settings == self.state.settings:
                return
            before, self._asked, self._shown = self.state, settings, shown
            is_there = settings == self.recorded and self._cues is not None
            pieces = (Piece(0, _WHOLE, self._recorded_tracks),) if is_there else ()
            self.state = replace(before, settings=settings, pieces=pieces, is_complete=False)
            self._changed.notify()
        if self._cues is not None and settings != self.recorded:
            piece = self._refilter(self._cues, settings).stretch(max(1, shown - _AROUND), shown + _AROUND)
            with self._changed:
                if self.state.settings == settings and not self.state.is_complete:
                    known = _with_known_ids(piece, self._recorded_tracks)
                    self.state = replace(self.state, pieces=(*self.state.pieces, known))

    def detections(self, number: int, score_threshold: float) -> Detections | None:
        """The fused detections of a frame that reach a score; None while they are being loaded, or without any."""
        cues = self._cues
        if cues is None:
            return None
        entry = int(np.searchsorted(cues.number, number))
        found = entry < len(cues) and cues.number[entry] == number
        return cues.detections(entry, score_threshold) if found else None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the tracks of the whole session are there; False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state.is_complete or self.error is not None, timeout_s)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._recorded_tracks = recorded_tracks(self._session)
            with self._changed:
                self._asked = self._asked or self.recorded
            if self._asked == self.recorded:
                self._finish(self.recorded, self._recorded_tracks)
            self._seeks, cues = read_seeks(self._session), read_cues(self._session)
            self._refilter(cues, self.recorded).stretch(1, 1)  # compiles the filter, which takes seconds the first time
            self._cues = cues
            while (settings := self._next()) is not None:
                self._answer(self._cues, settings)
        except Exception as error:  # noqa: BLE001 - no thread dies unheard
            with self._changed:
                self.error = f"The session cannot be read: {describe_error(error)}"
                self._changed.notify_all()
        finally:
            self._session.close()

    def _next(self) -> FilterSettings | None:
        with self._changed:
            self._changed.wait_for(lambda: self._asked is not None or self._closing)
            settings, self._asked = self._asked, None
            return None if self._closing else settings

    def _answer(self, cues: CueTable, settings: FilterSettings) -> None:
        if self.state.is_complete and self.state.settings == settings:
            return
        if settings == self.recorded:
            self._finish(settings, self._recorded_tracks)
            return
        pieces: list[Piece] = []
        for piece in self._refilter(cues, settings).all(lambda: self._closing or self._asked is not None):
            pieces.append(piece)
            known = _with_known_ids(piece, self._recorded_tracks)
            with self._changed:
                if self.state.settings == settings:
                    self.state = replace(self.state, pieces=(*self.state.pieces, known))
        if not self._closing and self._asked is None:
            tracks = join_tables(piece.tracks for piece in pieces)
            self._finish(settings, renumber(tracks, match_numbers(tracks, self._recorded_tracks)))

    def _finish(self, settings: FilterSettings, tracks: TrackTable) -> None:
        alarms = find_alarms(self._session.frames, tracks)
        with self._changed:
            if self.state.settings == settings:
                self.state = TrackState(settings, tracks, alarms, is_complete=True)
                self._changed.notify_all()

    def _refilter(self, cues: CueTable, settings: FilterSettings) -> Refilter:
        return Refilter(cues, settings, self._seeks, as_recorded=settings == self.recorded)


def _with_known_ids(piece: Piece, known: TrackTable) -> Piece:
    """Give the tracks of a part of the session the numbers under which they are known."""
    near, highest = known.between(piece.first, piece.last), int(known.id.max(initial=0))
    return replace(piece, tracks=renumber(piece.tracks, match_numbers(piece.tracks, near, above=highest)))
