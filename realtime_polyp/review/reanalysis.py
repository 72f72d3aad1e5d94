"""Runs models over the pictures of a recorded session again, and stores the second set of tracks beside the first.

What was recorded stays as it is: the new rows have tables of their own, and an entry in the audit log.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from realtime_polyp.json_files import parse_json
from realtime_polyp.packets import Frame, Result, Track
from realtime_polyp.recording.chain import reanalysis_content
from realtime_polyp.recording.schema import SESSION_FILE, TRACK_COLUMNS
from realtime_polyp.recording.store import add_to_chain, utc_now
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.review.tracks import STATES, TrackTable, read_tracks, table_of
from realtime_polyp.sources.base import SourceError
from realtime_polyp.temporal.track import OUT_COLUMNS, OUT_STATE

TABLES = f"""
CREATE TABLE IF NOT EXISTS reanalyses (        -- one row per further analysis of the session
    analysis INTEGER PRIMARY KEY,
    utc TEXT NOT NULL,
    detail TEXT NOT NULL                       -- JSON: models, engines, filter
);
CREATE TABLE IF NOT EXISTS reanalysed_tracks ( -- as table tracks
    analysis INTEGER NOT NULL REFERENCES reanalyses,
    {TRACK_COLUMNS},
    PRIMARY KEY (analysis, number, id)
) WITHOUT ROWID;
"""


class SessionSource:
    """The pictures of a session as a source: every frame as it was captured, with its recorded times. Implements
    `sources.base.Source`.

    A frame's index is its number in the session: a frame to which a person went back while recording is there twice.

    Raises SourceError where the picture is gone.
    """

    live = reads_ahead = False
    decoder = None

    def __init__(self, session: RecordedSession, at: Path | None = None) -> None:
        self._session, self._pictures = session, SessionPictures(session, at)
        if self._pictures.problem:
            raise SourceError(self._pictures.problem)
        source = session.facts.get("source", {})
        self.name = str(source.get("name") or session.folder.name)
        height, width = session.frame(int(session.frames.number[0])).image.shape[:2]
        self.size, self.warning = (width, height), None
        self.rate_hz = Fraction(source["rate_hz"]) if source.get("rate_hz") else None
        self.frames_total: int | None = len(session.frames)
        self.duration_s: float | None = session.frames.duration_s
        self.missing = 0
        """Frames without a picture so far; they are left out."""
        self._is_closed = False

    def frames(self) -> Iterator[Frame]:
        for number in self._session.frames.number.tolist():
            if self._is_closed:
                return
            image = self._pictures.find(number)
            if image is None:
                self.missing += 1
                continue
            frame = self._session.frame(number, image)
            yield replace(frame, index=number, flipped=frame.index % 2 == 1)  # flipped as it was
        self._pictures.close()

    def close(self) -> None:
        self._is_closed = True


@dataclass(frozen=True)
class Analysis:
    """A further analysis of a session: its number, when it was made, and with what."""

    analysis: int
    utc: str
    detail: dict[str, Any]


def analyse_again(
    session: RecordedSession,
    source: SessionSource,
    run: Callable[[SessionSource], Iterator[Result]],
    detail: dict[str, Any],
) -> TrackTable:
    """Run models over a session's pictures and store the tracks. Returns them.

    run: analyses each frame of a source, in order, such as `Runtime.results`. detail: what it runs with, JSON types.
    Raises SessionFileError where the session cannot be written; what `run` raises; nothing is stored then.
    """
    rows = [row for result in run(source) for row in _rows_of(result.frame.index, result.tracks)]
    try:
        with closing(sqlite3.connect(session.folder / SESSION_FILE, isolation_level=None, timeout=10)) as database:
            _store(database, rows, detail)
    except sqlite3.Error as error:
        raise SessionFileError(f"the second analysis cannot be stored in {session.folder}: {error}") from error
    numeric = [(*row[:OUT_STATE], STATES.index(row[OUT_STATE]), *row[OUT_STATE + 1 :]) for row in rows]
    return table_of(np.array(numeric, np.float64).reshape(-1, OUT_COLUMNS))


def _rows_of(number: int, tracks: Sequence[Track]) -> list[tuple[Any, ...]]:
    """The tracks of a frame as rows: its number, then the columns of table `tracks`."""
    return [
        (number, one.id, *(float(value) for value in one.box), float(one.score), one.state, float(one.age_s),
         float(one.unseen_s))
        for one in sorted(tracks, key=lambda one: one.id)
    ]  # fmt: skip


def list_analyses(session: RecordedSession) -> tuple[Analysis, ...]:
    """Return the further analyses of a session, in order."""
    if not session.database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'reanalyses'").fetchone():
        return ()
    rows = session.database.execute("SELECT analysis, utc, detail FROM reanalyses ORDER BY analysis")
    return tuple(
        Analysis(number, utc, parse_json(detail, dict[str, Any], "a row of reanalyses", "JSON", SessionFileError))
        for number, utc, detail in rows
    )


def reanalysed_tracks(session: RecordedSession, analysis: int) -> TrackTable:
    """Return the tracks of a further analysis. Raises sqlite3.Error."""
    return read_tracks(session, "reanalysed_tracks WHERE analysis = ?", (analysis,))


def _store(database: sqlite3.Connection, rows: list[tuple[Any, ...]], detail: dict[str, Any]) -> None:
    """Add the rows and their entry in the audit log, all or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        for statement in TABLES.split(";\n"):
            if statement.strip():
                database.execute(statement)
        utc, text = utc_now(), json.dumps(detail)
        number = database.execute("INSERT INTO reanalyses (utc, detail) VALUES (?,?)", (utc, text)).lastrowid
        marks = ",".join("?" * 11)
        database.executemany(f"INSERT INTO reanalysed_tracks VALUES ({marks})", ((number, *row) for row in rows))
        add_to_chain(database, "reanalysis", reanalysis_content((number, utc, text), rows))
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
