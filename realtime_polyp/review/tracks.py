"""Tracks of a whole session as columns: the recorded ones, or those of the filter that ran again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Track, TrackStatus
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.temporal.track import (
    OUT_AGE_S,
    OUT_BOX,
    OUT_COLUMNS,
    OUT_ENTRY,
    OUT_ID,
    OUT_SCORE,
    OUT_STATE,
    OUT_UNSEEN_S,
)

STATES: tuple[TrackStatus, ...] = ("tentative", "shown", "held")
_STATE = "CASE state WHEN 'tentative' THEN 0 WHEN 'shown' THEN 1 ELSE 2 END"
_COLUMNS = f"number, id, x1, y1, x2, y2, score, {_STATE}, age_s, unseen_s"


@dataclass(frozen=True)
class TrackTable:
    """One row per track and frame, in the order of the frames; each column (m,).

    Attributes:
        number: of the frame, 1, 2, ... in the session.
        id: see `Track`, as are the other columns.
        box: (m, 4) float32 xyxy, source px.
        score: 0..1.
        state: index in `STATES`.
        age_s, unseen_s: s.
    """

    number: NDArray[np.int64]
    id: NDArray[np.int64]
    box: NDArray[np.float32]
    score: NDArray[np.float64]
    state: NDArray[np.uint8]
    age_s: NDArray[np.float64]
    unseen_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.number)

    @property
    def visible(self) -> NDArray[np.bool_]:
        return self.state > 0

    def at(self, number: int) -> tuple[Track, ...]:
        """Return the tracks of one frame."""
        first, last = np.searchsorted(self.number, (number, number + 1))
        return tuple(
            Track(
                int(self.id[row]), self.box[row], float(self.score[row]), STATES[self.state[row]],
                float(self.age_s[row]), float(self.unseen_s[row]),
            )
            for row in range(first, last)
        )  # fmt: skip

    def between(self, first: int, last: int) -> "TrackTable":
        """Return the rows of the frames `first` to `last`, both included."""
        rows = slice(*np.searchsorted(self.number, (first, last + 1)))
        return self.take(rows)

    def take(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "TrackTable":
        """Return some of the rows."""
        return TrackTable(*(column[rows] for column in self.columns()))

    def columns(self) -> tuple[NDArray[Any], ...]:
        """All columns, in the order of the attributes."""
        return self.number, self.id, self.box, self.score, self.state, self.age_s, self.unseen_s


def table_of(rows: NDArray[np.float64]) -> TrackTable:
    """Make a table of rows with the columns OUT_* of `temporal.track`, with the frame's number in the first."""
    return TrackTable(
        rows[:, OUT_ENTRY].astype(np.int64),
        rows[:, OUT_ID].astype(np.int64),
        rows[:, OUT_BOX].astype(np.float32),
        rows[:, OUT_SCORE],
        rows[:, OUT_STATE].astype(np.uint8),
        rows[:, OUT_AGE_S],
        rows[:, OUT_UNSEEN_S],
    )


def join_tables(tables: Iterable[TrackTable]) -> TrackTable:
    """Join tables of consecutive frames."""
    found = [table.columns() for table in tables]
    return TrackTable(*(np.concatenate(column) for column in zip(*found, strict=True))) if found else NO_TRACKS


NO_TRACKS = table_of(np.zeros((0, OUT_COLUMNS)))


def recorded_tracks(session: RecordedSession) -> TrackTable:
    """Read the tracks as they were recorded. Raises sqlite3.Error."""
    return read_tracks(session, "tracks")


def read_tracks(session: RecordedSession, rows: str, values: tuple[int, ...] = ()) -> TrackTable:
    """Read the tracks of the session's frames, in the order of the frames.

    rows: a table with the columns of `tracks`, and a condition with `values`.

    Raises sqlite3.Error.
    """
    found = session.database.execute(f"SELECT {_COLUMNS} FROM {rows} ORDER BY number, id", values).fetchall()
    tracks = table_of(np.array(found, np.float64).reshape(-1, OUT_COLUMNS))
    return tracks.between(1, len(session.frames))  # while it is recorded, there are more than when it was opened
