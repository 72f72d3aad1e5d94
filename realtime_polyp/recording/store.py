"""Writes a session file: rows, transactions and the chain of hashes over them."""

import json
import os
import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.packets import NO_DETECTIONS, FilterCues, Frame, Result
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.recording import blobs, schema
from realtime_polyp.recording.chain import (
    GENESIS,
    add_row_to_chain,
    add_to_chain,
    chain_hash,
    content_hash,
    fact_content,
    frames_content,
    rows_hash,
    utc_now,
)
from realtime_polyp.temporal.alarms import Alarm

__all__ = ["GENESIS", "EncodedFrame", "SessionStore", "add_to_chain", "chain_hash", "content_hash", "encode_frame",
           "encode_result", "utc_now"]  # fmt: skip

_NO_CUES = FilterCues(NO_DETECTIONS, None, False, ())
_FRAME = "INSERT INTO frames VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
_OUTPUT = "INSERT INTO outputs VALUES (?,?,?,?,?,?,?,?)"
_CUES = "INSERT INTO cues VALUES (?,?,?,?,?)"
_TRACK = "INSERT INTO tracks VALUES (?,?,?,?,?,?,?,?,?,?)"
_Row = tuple[Any, ...]


@dataclass(frozen=True)
class EncodedFrame:
    """One frame as a session file stores it, without its number and its times in the session.

    Attributes:
        source: Frame.index, Frame.pts_s.
        rest: continues, analysed, width, height, signal, quality, best_score.
        output, cues: rows without the number; None: it was not analysed.
        tracks: rows without the number.
    """

    source: _Row
    rest: _Row
    output: _Row | None = None
    cues: _Row | None = None
    tracks: tuple[_Row, ...] = ()

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        blobs_of = [*(self.output or ()), *(self.cues or ())]
        return 1000 + sum(len(value) for value in blobs_of if isinstance(value, bytes)) + 300 * len(self.tracks)


def encode_frame(frame: Frame) -> EncodedFrame:
    """A frame that was not analysed."""
    height, width = frame.image.shape[:2]
    continues = int(frame.continues and not frame.is_still)
    return EncodedFrame((frame.index, float(frame.pts_s)), (continues, 0, width, height, "ok", "clear", 0.0))


def encode_result(result: Result) -> EncodedFrame:
    """An analysed frame."""
    cues, raw, frame = result.cues or _NO_CUES, result.raw, encode_frame(result.frame)
    scores = cues.detections.scores if result.cues else result.detections.scores
    best = float(scores.max(initial=0.0))
    continues, _, width, height, *_ = frame.rest
    output = (
        str(result.frame.pixel_aspect),
        blobs.encode_field(result.field_of_view),
        blobs.encode_detections(raw.detections if raw else NO_DETECTIONS),
        blobs.encode_mask(raw.mask if raw else None),
        blobs.encode_detections(result.detections),
        blobs.encode_mask(result.mask),
        json.dumps({name: round(value, 3) for name, value in result.stages_ms.items()}),
    )
    cue = (
        int(cues.cut),
        blobs.encode_detections(cues.detections),
        blobs.encode_camera(cues.camera),
        blobs.encode_appearances(cues.appearances),
    )
    tracks = tuple(
        (int(one.id), *(float(value) for value in one.box), float(one.score), one.state, float(one.age_s),
         float(one.unseen_s))
        for one in sorted(result.tracks, key=lambda one: one.id)
    )  # fmt: skip
    rest = (continues, 1, width, height, result.signal, result.frame_quality, best)
    return EncodedFrame(frame.source, rest, output, cue, tracks)


class SessionStore:
    """Adds rows to a session file. Everything since the last `commit` is one transaction.

    Owned by one thread at a time. Every method raises sqlite3.Error when the disk is full or gone; what was committed
    stays readable.
    """

    def __init__(self, folder: Path, *, zero_s: float = 0.0, before: int = 0) -> None:
        """Create the file in an existing folder.

        zero_s: the time, on the clock of all arguments, at which the session's clock begins, s. before: how many
        frames there were before its first one, for the numbers of alarms' best frames.
        """
        self._zero_s, self._before = zero_s, before
        self.path = folder / schema.SESSION_FILE
        self._database = schema.create(self.path)
        self._folding = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._number = 0
        self._hashes: list[str] = []  # of the frames since the last commit
        self._last_alarm = 0

    @property
    def database(self) -> sqlite3.Connection:
        """For rows that this class does not write: actions. See `begin`."""
        return self._database

    @property
    def last_number(self) -> int:
        """Number of the newest frame; 0 before the first."""
        return self._number

    def set_fact(self, name: str, value: Any) -> None:
        """Store a JSON value under a name; an older one is replaced. It enters the chain."""
        self.begin()
        text = json.dumps(value)
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, text))
        add_to_chain(self._database, "fact", fact_content(name, text))

    def add_result(self, result: Result, *, session_s: float, picture_s: float | None) -> int:
        """Add an analysed frame; returns its number. session_s: the session's clock. picture_s: place in the original;
        None: the picture was not recorded."""
        return self.add(encode_result(result), session_s=session_s, picture_s=picture_s)

    def add_skipped(self, frame: Frame, *, session_s: float, picture_s: float | None) -> int:
        """Add a frame that was recorded and not analysed; returns its number."""
        return self.add(encode_frame(frame), session_s=session_s, picture_s=picture_s)

    def add(self, frame: EncodedFrame, *, session_s: float, picture_s: float | None) -> int:
        """Add an encoded frame; returns its number."""
        self.begin()
        number = self._number = self._number + 1
        place = None if picture_s is None else float(picture_s)
        own_s = float(session_s) - self._zero_s
        rows: list[tuple[str, _Row]] = [(_FRAME, (number, *frame.source, own_s, place, *frame.rest))]
        if frame.output is not None and frame.cues is not None:
            rows += [(_OUTPUT, (number, *frame.output)), (_CUES, (number, *frame.cues))]
        rows += [(_TRACK, (number, *track)) for track in frame.tracks]
        for statement, row in rows:
            self._database.execute(statement, row)
        self._hashes.append(rows_hash(row for _, row in rows))
        return number

    def add_alarm(self, alarm: Alarm, best_number: int) -> None:
        """Add an alarm that has ended; its times are the session's clock. It enters the chain."""
        self.begin()
        self._last_alarm = number = self._last_alarm + 1  # alarm.number begins anew with every part of a session
        start_s, end_s = (max(0.0, float(time_s) - self._zero_s) for time_s in (alarm.start_s, alarm.end_s))
        figures = (start_s, end_s, float(alarm.shown_s), float(alarm.peak_score))
        row = (number, alarm.track, *figures, max(1, best_number - self._before), alarm.ended)
        self._database.execute("INSERT INTO alarms VALUES (?,?,?,?,?,?,?,?)", row)
        add_row_to_chain(self._database, "alarm", number)

    def add_event(self, kind: str, *, session_s: float, **detail: Any) -> None:
        """Add something that happened: a state, a drop, a seek. It enters the chain."""
        self.begin()
        statement = "INSERT INTO events (session_s, utc, kind, detail) VALUES (?,?,?,?)"
        row = (max(0.0, float(session_s) - self._zero_s), utc_now(), kind, json.dumps(detail))
        number = self._database.execute(statement, row).lastrowid
        add_row_to_chain(self._database, "event", number or 0)

    def commit(self) -> None:
        """Make everything so far durable, with an entry in the chain for the new frames."""
        if not self._database.in_transaction:
            return
        if self._hashes:
            first = self._number - len(self._hashes) + 1
            add_to_chain(self._database, "frames", frames_content(first, self._hashes))
        self._database.execute("COMMIT")
        self._hashes = []

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file, and empty it."""
        self._release()
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def fold(self) -> None:
        """Fold what is in the write-ahead log into the file, so that `close` is quick. May be called on another thread.

        The log is kept as it is: a copy of file and log is complete, whenever each of them was copied, because the log
        holds every page that was changed since the start. A reader that never ends keeps SQLite from emptying it.
        """
        with self._folding:
            reader = self._connect()
            reader.execute("BEGIN")
            reader.execute("SELECT COUNT(*) FROM facts").fetchone()  # only now it reads
            before, self._reader = self._reader, reader  # the next one has begun before the last one ends
            if before:
                before.close()
            folding = self._connect()
            folding.execute("PRAGMA wal_checkpoint(PASSIVE)")
            folding.close()

    def sync(self) -> None:
        """Have what was committed written to the disk itself, so that it survives a power failure. May be called on
        another thread. Raises OSError."""
        log = os.open(f"{self.path}-wal", os.O_RDWR)
        try:
            os.fsync(log)
        finally:
            os.close(log)

    def close(self) -> None:
        """Commit, fold the write-ahead log into the file, and close it."""
        try:
            self.commit()
            self.checkpoint()
        finally:
            self._database.close()

    def save_to(self, folder: Path) -> None:
        """Write everything again into a folder, and go on there: the file itself was deleted. Raises OSError too."""
        self.commit()
        self._release()
        make_private_folder(folder)
        saved = schema.open_new(folder / schema.SESSION_FILE)
        self._database.backup(saved)
        schema.set_modes(saved)
        with suppress(sqlite3.Error):
            self._database.close()
        self._database, self.path = saved, folder / schema.SESSION_FILE

    def fail(self, reason: dict[str, Any]) -> None:
        """Close the file without what was not committed, with fact `failed` if that can be written. Never raises."""
        self._hashes = []
        steps = (
            self._release,
            lambda: self._database.execute("ROLLBACK"),
            lambda: self.set_fact("failed", reason),
            self.close,
            self._database.close,
        )
        for step in steps:
            with suppress(sqlite3.Error):
                step()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    def _release(self) -> None:
        """End the reader of `fold`."""
        with self._folding:
            reader, self._reader = self._reader, None
            if reader:
                reader.close()

    def begin(self) -> None:
        """Begin a transaction, unless one is open."""
        if not self._database.in_transaction:
            self._database.execute("BEGIN IMMEDIATE")
