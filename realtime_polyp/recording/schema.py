"""The session file: one SQLite database (WAL) beside the original picture. docs/session_format.md explains it.

    SESSION_FOLDER/
      session.sqlite      everything but the picture; session.sqlite-wal and -shm belong to it
      original.mkv        the picture as it was captured; absent where the source is a file that is referred to by path;
                          of a file that was copied, "original" with the file's own extension
      settings            in table `facts`: source, configuration, models, versions

What was recorded is never changed: rows are only added, and table `audit` holds a chain of hashes over them. What a
person says is added as rows of `actions`.
"""

import os
import sqlite3
from pathlib import Path

from realtime_polyp.private_files import open_private

SESSION_FORMAT = 1
SESSION_FILE = "session.sqlite"
ORIGINAL_STEM = "original"
ORIGINAL_FILE = f"{ORIGINAL_STEM}.mkv"

TRACK_COLUMNS = """number INTEGER NOT NULL REFERENCES frames,
    id INTEGER NOT NULL,
    x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
    score REAL NOT NULL,
    state TEXT NOT NULL,
    age_s REAL NOT NULL,
    unseen_s REAL NOT NULL"""
"""One track in one frame."""

TABLES = f"""
CREATE TABLE facts (             -- what is known about the session as a whole
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL          -- JSON
) WITHOUT ROWID;

CREATE TABLE frames (            -- one row per frame that was captured, in the session's order; narrow, to scan fast
    number INTEGER PRIMARY KEY,  -- 1, 2, ... in the session
    source_index INTEGER NOT NULL, -- Frame.index
    pts_s REAL NOT NULL,         -- Frame.pts_s, the source's clock
    session_s REAL NOT NULL,     -- the session's clock: since its first frame, never backwards
    picture_s REAL,              -- time of the picture in the original; NULL: it was not recorded
    continues INTEGER NOT NULL,  -- 0: a cut, a seek or a gap lies before it
    analysed INTEGER NOT NULL,   -- 0: no results of this frame; it was skipped
    width INTEGER NOT NULL, height INTEGER NOT NULL,    -- px of the displayed picture
    signal TEXT NOT NULL,        -- ok, black, frozen
    quality TEXT NOT NULL,       -- FrameQuality
    best_score REAL NOT NULL     -- highest score of the fused detections; 0: none
);

CREATE TABLE outputs (           -- one row per analysed frame; the encodings are in recording/blobs.py
    number INTEGER PRIMARY KEY REFERENCES frames,
    aspect TEXT NOT NULL,        -- Frame.pixel_aspect, such as "16/15"
    field BLOB NOT NULL,         -- field of view
    raw BLOB NOT NULL,           -- RawResult.detections, float32
    mask BLOB,                   -- RawResult.mask, 8 bit
    detections BLOB NOT NULL,    -- Result.detections, at the threshold of that moment
    filtered_mask BLOB,          -- Result.mask, 8 bit
    stages_ms TEXT NOT NULL      -- JSON
);

CREATE TABLE cues (              -- FilterCues of an analysed frame; narrow, so that the filter runs again fast
    number INTEGER PRIMARY KEY REFERENCES frames,
    cut INTEGER NOT NULL,        -- FilterCues.cut
    fused BLOB NOT NULL,         -- FilterCues.detections, float32
    camera BLOB,                 -- FilterCues.camera; NULL: not known
    appearances BLOB             -- FilterCues.appearances
);

CREATE TABLE tracks (            -- Result.tracks
    {TRACK_COLUMNS},
    PRIMARY KEY (number, id)
) WITHOUT ROWID;
CREATE INDEX tracks_by_id ON tracks (id, number);

CREATE TABLE alarms (            -- alarms that ended while recording; open ones follow from `tracks`
    alarm INTEGER PRIMARY KEY,
    track INTEGER NOT NULL,
    start_s REAL NOT NULL, end_s REAL NOT NULL, shown_s REAL NOT NULL,   -- the session's clock
    peak_score REAL NOT NULL,
    best_number INTEGER NOT NULL,
    ended TEXT NOT NULL
);

CREATE TABLE events (            -- states, drops, seeks, notes of the program
    event INTEGER PRIMARY KEY,
    session_s REAL NOT NULL,
    utc TEXT NOT NULL,           -- ISO 8601
    kind TEXT NOT NULL,
    detail TEXT NOT NULL         -- JSON
);

CREATE TABLE actions (           -- what a person did, in order; undo is an action too
    action INTEGER PRIMARY KEY,
    utc TEXT NOT NULL,
    author TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL         -- JSON
);

CREATE TABLE audit (             -- the chain: sha256 = SHA-256(previous sha256, entry, utc, what, content)
    entry INTEGER PRIMARY KEY,
    utc TEXT NOT NULL,
    what TEXT NOT NULL,          -- fact, frames, alarm, event, action
    content TEXT NOT NULL,       -- SHA-256 of the rows that this entry vouches for, and which: recording/chain.py
    sha256 TEXT NOT NULL
);
"""


def create(path: Path) -> sqlite3.Connection:
    """Create a session file, which only its owner can read. Raises sqlite3.Error, OSError; the file must not exist."""
    connection = open_new(path)
    set_modes(connection)
    connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SESSION_FORMAT}; COMMIT;")
    return connection


def open_new(path: Path) -> sqlite3.Connection:
    """Open an empty file that did not exist. Raises sqlite3.Error, OSError."""
    os.close(open_private(path, new=True))  # the log and its index get the same mode
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def set_modes(connection: sqlite3.Connection) -> None:
    """Choose how a session is recorded."""
    connection.execute("PRAGMA journal_mode = WAL")
    # A commit does not wait for the disk: another thread asks for that (`SessionStore.sync`).
    connection.execute("PRAGMA synchronous = NORMAL")
    # Checkpoints rewrite the file: a copy that is taken meanwhile would hold an older file and a newer log.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
