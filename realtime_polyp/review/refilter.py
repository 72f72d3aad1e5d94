"""Runs the temporal filter again on a recorded session, without models and pictures, at any threshold and times.

With the recorded settings it gives the recorded tracks. With others two things are not always known: the camera motion
of frames in which nothing was tracked, which then counts as unknown, and the appearance of a box in the very frame: one
of the same place at most half a second away takes its place, and a polyp that was nowhere tracked is not re-identified.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import LONGEST_STEP_S
from realtime_polyp.recording.filter_settings import FilterSettings
from realtime_polyp.review.cue_table import CueTable
from realtime_polyp.review.tracks import TrackTable, table_of
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.track import OUT_BOX, OUT_COLUMNS, OUT_ENTRY, OUT_ID, SHOWN, rules_of
from realtime_polyp.temporal.tracker import Tracker

LEAD_S = 10.0
"""The filter starts at most this much before a stretch that is wanted at once; it then may lack an older polyp."""

_PIECE = 10_000  # entries
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
        self._rules = rules_of(settings.temporal or TemporalConfig(), settings.evidence, settings.score_threshold)
        self._frames = cues.batch(sees_always=not as_recorded)

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
        return self._piece(self._begin(), self._start_of(begin), begin, end)

    def _begin(self) -> Tracker | None:
        self._left_seeks = list(self._seeks)
        return Tracker(self._settings.temporal) if self._settings.temporal else None

    def _start_of(self, entry: int) -> int:
        """Return the latest entry up to `entry` after which nothing is followed or remembered; LEAD_S back at most."""
        cues, temporal = self._cues, self._settings.temporal
        if temporal is None or not 0 < entry < len(cues):
            return entry
        first = entry - int(np.searchsorted(-cues.pts_s[:entry][::-1], LEAD_S - cues.pts_s[entry]))
        part = slice(first, entry + 1)
        steps = np.diff(cues.pts_s[part], prepend=cues.pts_s[first])
        fresh = np.flatnonzero((steps < 0) | (steps > LONGEST_STEP_S))
        return first + max(0, int(fresh[-1]) - 2) if len(fresh) else first  # two steps tell the frame rate

    def _piece(self, tracker: Tracker | None, start: int, begin: int, end: int) -> Piece:
        """Filter the entries from `start` to `end`, and return those from `begin` on."""
        if tracker is None:
            return self._as_piece(self._unfiltered(begin, end), begin, end)
        seeks = self._cues.number.searchsorted(self._left_seeks)
        stops = [int(one) for one in seeks if one < end]
        self._left_seeks = self._left_seeks[len(stops) :]
        rows, entry = [], start
        for stop in stops:
            # What was shown before a seek gives its numbers to what is met again after it.
            rows.append(self._one_by_one(tracker, entry, max(entry, stop)))
            tracker.seek()
            entry = max(entry, stop)
        run = self._one_by_one if self._left_seeks else self._batch
        rows.append(run(tracker, entry, end))
        table = np.concatenate(rows)
        return self._as_piece(table[table[:, OUT_ENTRY] >= begin], begin, end)

    def _batch(self, tracker: Tracker, first: int, last: int) -> NDArray[np.float64]:
        appearance = partial(self._cues.appearance, reach_s=self._reach_s)
        return tracker.run_batch(self._frames, first, last, self._rules, self._settings.floor, appearance)

    def _one_by_one(self, tracker: Tracker, first: int, last: int) -> NDArray[np.float64]:
        """As `_batch`, and the tracker remembers what was shown, for a later seek."""
        rows = []
        for entry in range(first, last):
            found = self._batch(tracker, entry, entry + 1)
            tracker.remember(float(self._cues.pts_s[entry]))
            rows.append(found)
        return np.concatenate(rows) if rows else np.empty((0, OUT_COLUMNS))

    def _unfiltered(self, begin: int, end: int) -> NDArray[np.float64]:
        """Every box is shown at once."""
        rows = [
            (entry, place, *box.tolist(), float(score), SHOWN, 0.0, 0.0)
            for entry in range(begin, end)
            for found in (self._cues.detections(entry, self._settings.score_threshold),)
            for place, (box, score) in enumerate(zip(found.boxes, found.scores, strict=True), 1)
        ]
        return np.array(rows, np.float64).reshape(-1, OUT_COLUMNS)

    def _as_piece(self, table: NDArray[np.float64], begin: int, end: int) -> Piece:
        """Clip the boxes to the field of view, leave out those outside it, and sort by frame and id."""
        cues = self._cues
        entries = table[:, OUT_ENTRY].astype(np.int64)
        table[:, OUT_ENTRY] = cues.number[entries]
        if self._settings.temporal:
            fields, boxes = cues.fields[entries].astype(np.float64), table[:, OUT_BOX]
            boxes[:] = np.clip(boxes, np.tile(fields[:, :2], 2), np.tile(fields[:, 2:], 2))
            table = table[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
            table = table[np.lexsort((table[:, OUT_ID], table[:, OUT_ENTRY]))]
        first, last = (int(cues.number[begin]), int(cues.number[end - 1])) if end > begin else (0, -1)
        return Piece(first, last, table_of(table))
