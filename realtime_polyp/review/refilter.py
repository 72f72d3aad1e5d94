"""Runs the temporal filter again on a recorded session, without models and pictures, at any threshold and times.

With the recorded settings it gives the recorded tracks. With others two things are not always known: the camera motion
of frames in which nothing was tracked, which then counts as unknown, and the appearance of a box in the very frame: one
of the same place at most half a second away takes its place, and a polyp that was nowhere tracked is not re-identified.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from realtime_polyp.packets import LONGEST_STEP_S
from realtime_polyp.recording.filter_settings import FilterSettings
from realtime_polyp.review.cue_table import CueTable
from realtime_polyp.review.tracks import STATES, TrackTable, table_of
from realtime_polyp.temporal.tracker import Tracker, TrackerInput

LEAD_S = 10.0
"""The filter starts at most this much before a stretch that is wanted at once; it then may lack an older polyp."""

_PIECE = 3000  # entries
_APPEARANCE_REACH_S = 0.5  # while a box is followed, its appearance is stored every 0.25 s


@dataclass(frozen=True)
class Piece:
    """A part of the answer: the tracks of the frames `first` to `last`, both included."""

    first: int
    last: int
    tracks: TrackTable


class Refilter:
    """The filter over a session's cues, with one set of settings.

    as_recorded: these are the settings of the recording, and its appearances are all that there were.
    seeks: rising numbers of the frames before which the recording was continued elsewhere.
    """

    def __init__(
        self, cues: CueTable, settings: FilterSettings, seeks: Sequence[int] = (), *, as_recorded: bool = False
    ) -> None:
        self._cues, self._settings, self._seeks = cues, settings, seeks
        self._reach_s = 0.0 if as_recorded else _APPEARANCE_REACH_S
        self._left_seeks: list[int] = []
        self._best = cues.best_scores()

    def all(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Piece]:
        """Yield the tracks of the whole session piece by piece, until `stop` returns True."""
        tracker, entry = self._begin(), 0
        while entry < len(self._cues) and not stop():
            last = min(len(self._cues), entry + _PIECE)
            yield self._piece(tracker, entry, entry, last)
            entry = last

    def stretch(self, first: int, last: int) -> Piece:
        """Return the tracks of the frames `first` to `last` alone. Numbers count from where the filter starts."""
        begin, end = (int(one) for one in np.searchsorted(self._cues.number, (first, last + 1)))
        start = self._quiet_entry(begin)
        return self._piece(self._begin(), start, begin, end)

    def _begin(self) -> Tracker | None:
        self._left_seeks = list(self._seeks)
        return Tracker(self._settings.temporal) if self._settings.temporal else None

    def _quiet_entry(self, entry: int) -> int:
        """Return the latest entry up to `entry` at which nothing is followed or remembered; LEAD_S back at most."""
        cues, temporal = self._cues, self._settings.temporal
        if temporal is None or not entry:
            return entry
        first = entry - int(np.searchsorted(-cues.pts_s[:entry][::-1], LEAD_S - cues.pts_s[entry]))
        part = slice(first, entry + 1)
        steps = np.diff(cues.pts_s[part], prepend=cues.pts_s[first])
        fresh = np.flatnonzero((steps < 0) | (steps > LONGEST_STEP_S))
        return first + int(fresh[-1]) if len(fresh) else first

    def _piece(self, tracker: Tracker | None, start: int, begin: int, end: int) -> Piece:
        """Filter the entries from `start` to `end`, and return those from `begin` on."""
        rows: list[tuple[float, ...]] = []
        if tracker is None:
            return self._unfiltered(begin, end)
        strong = np.flatnonzero(self._best[start:end] >= self._settings.score_threshold) + start
        entry = start
        while entry < end:
            if tracker.idle:  # only a strong box begins something
                following = strong[np.searchsorted(strong, entry) :]
                if not len(following):
                    break
                entry = int(following[0])
            found = self._update(tracker, entry)
            if entry >= begin:
                rows += found
            entry += 1
        return self._as_piece(rows, begin, end)

    def _update(self, tracker: Tracker, entry: int) -> list[tuple[float, ...]]:
        cues, settings = self._cues, self._settings
        number = int(cues.number[entry])
        while self._left_seeks and self._left_seeks[0] <= number:
            del self._left_seeks[0]
            tracker.seek()
        if entry and (cues.size[entry] != cues.size[entry - 1]).any():
            tracker.reset()
        tracks, _ = tracker.update(
            TrackerInput(
                detections=cues.detections(entry, settings.floor),
                mask=None,
                pts_s=float(cues.pts_s[entry]),
                motion=cues.motion(entry),
                extract=partial(cues.appearance, entry, reach_s=self._reach_s),
                start_score=settings.score_threshold,
                evidence=settings.evidence,
                is_clear=bool(cues.is_clear[entry]),
            )
        )
        return [
            (number, one.id, *one.box.tolist(), one.score, STATES.index(one.state), one.age_s, one.unseen_s)
            for one in tracks
        ]

    def _unfiltered(self, begin: int, end: int) -> Piece:
        """Every box is shown at once."""
        rows = []
        for entry in range(begin, end):
            found = self._cues.detections(entry, self._settings.score_threshold)
            rows += [
                (float(self._cues.number[entry]), float(place), *box.tolist(), float(score), 1.0, 0.0, 0.0)
                for place, (box, score) in enumerate(zip(found.boxes, found.scores, strict=True), 1)
            ]
        return self._as_piece(rows, begin, end)

    def _as_piece(self, rows: list[tuple[float, ...]], begin: int, end: int) -> Piece:
        """Clip the boxes to the field of view, leave out those outside it, and sort by frame and id."""
        cues = self._cues
        table = np.array(rows, np.float64).reshape(-1, 10)
        if len(table) and self._settings.temporal:
            fields = cues.fields[np.searchsorted(cues.number, table[:, 0].astype(np.int64))].astype(np.float64)
            table[:, 2:6] = np.clip(table[:, 2:6], np.tile(fields[:, :2], 2), np.tile(fields[:, 2:], 2))
            table = table[(table[:, 4] > table[:, 2]) & (table[:, 5] > table[:, 3])]
            table = table[np.lexsort((table[:, 1], table[:, 0]))]
        first, last = (int(cues.number[begin]), int(cues.number[end - 1])) if end > begin else (0, -1)
        return Piece(first, last, table_of(table))
