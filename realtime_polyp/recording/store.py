"""Writes a session file: rows, transactions and the chain of hashes over them."""

import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from realtime_polyp.packets import NO_DETECTIONS, FilterCues, Frame, Result
from realtime_polyp.recording import blobs, schema
from realtime_polyp.temporal.alarms import Alarm

_NO_CUES = FilterCues(NO_DETECTIONS, None, False, ())
_FRAME = "INSERT INTO frames VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
_OUTPUT = "INSERT INTO outputs VALUES (?,?,?,?,?,?,?,?)"
_CUES = "INSERT INTO cues VALUES (?,?,?,?,?)"
_TRACK = "INSERT INTO tracks VALUES (?,?,?,?,?,?,?,?,?,?)"
GENESIS = "0" * 64
"""What stands before the first entry of the chain."""


class SessionStore:
    """Adds rows to a session file. Everything since the last `commit` is one transaction.

    Owned by one thread at a time. Every method raises sqlite3.Error when the disk is full or gone; what was committed
    stays readable.
    """

    def __init__(self, folder: Path) -> None:
        """Create the file in an existing folder."""
        self._database = schema.create(folder / schema.SESSION_FILE)
        self._number = 0
        self._hash = hashlib.sha256()  # over the frame rows since the last commit
        self._first_number = 1

    @property
    def last_number(self) -> int:
        """Number of the newest frame; 0 before the first."""
        return self._number

    def set_fact(self, name: str, value: Any) -> None:
        """Store a JSON value under a name; an older one is replaced."""
        self._begin()
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, json.dumps(value)))

    def add_result(self, result: Result, *, session_s: float, picture_s: float | None) -> int:
        """Add an analysed frame; returns its number. session_s: the session's clock. picture_s: place in the original;
        None: the picture was not recorded."""
        self._begin()
        cues = result.cues or _NO_CUES
        best = float(cues.detections.scores.max(initial=0.0)) if result.cues else _best_of(result)
        quality = (result.signal, result.frame_quality, best)
        number = self._add_row(result.frame, session_s, picture_s, True, *quality)
        raw = result.raw
        output = (
            number,
            str(result.frame.pixel_aspect),
            blobs.encode_field(result.field_of_view),
            blobs.encode_detections(raw.detections if raw else NO_DETECTIONS),
            blobs.encode_mask(raw.mask if raw else None),
            blobs.encode_detections(result.detections),
            blobs.encode_mask(result.mask),
            json.dumps({name: round(value, 3) for name, value in result.stages_ms.items()}),
        )
        cue = (
            number,
            int(cues.cut),
            blobs.encode_detections(cues.detections),
            blobs.encode_camera(cues.camera),
            blobs.encode_appearances(cues.appearances),
        )
        for statement, values in ((_OUTPUT, output), (_CUES, cue)):
            self._hash.update(repr(values).encode())
            self._database.execute(statement, values)
        for track in result.tracks:
            box = (float(value) for value in track.box)
            row = (number, track.id, *box, float(track.score), track.state, float(track.age_s), float(track.unseen_s))
            self._hash.update(repr(row).encode())
            self._database.execute(_TRACK, row)
        return number

    def add_skipped(self, frame: Frame, *, session_s: float, picture_s: float | None) -> int:
        """Add a frame that was recorded and not analysed; returns its number."""
        self._begin()
        return self._add_row(frame, session_s, picture_s, False, "ok", "clear", 0.0)

    def add_alarm(self, alarm: Alarm, best_number: int) -> None:
        """Add an alarm that has ended; its times are the session's clock."""
        row = (alarm.number, alarm.track, alarm.start_s, alarm.end_s, alarm.shown_s, alarm.peak_score)
        self._begin()
        self._database.execute("INSERT INTO alarms VALUES (?,?,?,?,?,?,?,?)", (*row, best_number, alarm.ended))

    def add_event(self, kind: str, *, session_s: float, **detail: Any) -> None:
        """Add something that happened: a state, a drop, a seek. It enters the chain."""
        self._begin()
        utc, text = utc_now(), json.dumps(detail)
        statement = "INSERT INTO events (session_s, utc, kind, detail) VALUES (?,?,?,?)"
        self._database.execute(statement, (session_s, utc, kind, text))
        add_to_chain(self._database, "event", content_hash(kind, session_s, utc, text))

    def commit(self) -> None:
        """Make everything so far durable, with an entry in the chain for the new frames."""
        if not self._database.in_transaction:
            return
        if self._number >= self._first_number:
            content = f"{self._hash.hexdigest()} frames {self._first_number}-{self._number}"
            add_to_chain(self._database, "frames", content)
            self._hash, self._first_number = hashlib.sha256(), self._number + 1
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Commit, fold the write-ahead log into the file, and close it."""
        try:
            self.commit()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._database.close()

    def _begin(self) -> None:
        if not self._database.in_transaction:
            self._database.execute("BEGIN IMMEDIATE")

    def _add_row(
        self, frame: Frame, session_s: float, picture_s: float | None, analysed: bool, signal: str, quality: str,
        best_score: float,
    ) -> int:  # fmt: skip
        self._number += 1
        height, width = frame.image.shape[:2]
        when = (frame.index, frame.pts_s, session_s, picture_s, int(frame.continues and not frame.is_still))
        row = (self._number, *when, int(analysed), width, height, signal, quality, best_score)
        self._hash.update(repr(row).encode())
        self._database.execute(_FRAME, row)
        return self._number


def add_to_chain(database: sqlite3.Connection, what: str, content: str) -> None:
    """Append an entry to the chain of a session file. content: hash of what the entry vouches for."""
    last = database.execute("SELECT sha256 FROM audit ORDER BY entry DESC LIMIT 1").fetchone()
    count = database.execute("SELECT COALESCE(MAX(entry), 0) FROM audit").fetchone()[0]
    entry, utc = count + 1, utc_now()
    link = chain_hash(last[0] if last else GENESIS, entry, utc, what, content)
    database.execute("INSERT INTO audit VALUES (?,?,?,?,?)", (entry, utc, what, content, link))


def chain_hash(previous: str, entry: int, utc: str, what: str, content: str) -> str:
    """SHA-256 of an entry of the chain, hexadecimal."""
    return content_hash(previous, entry, utc, what, content)


def content_hash(*values: object) -> str:
    """SHA-256 of several values, hexadecimal."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def utc_now() -> str:
    """The present time, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _best_of(result: Result) -> float:
    return float(result.detections.scores.max(initial=0.0))
