"""The chain of hashes in table `audit` of a session file, and what its entries vouch for.

Every entry vouches for rows by the SHA-256 of their values, and for all entries before it by the SHA-256 of the last
one. Values are hashed as a JSON list per row, a blob in it as its own SHA-256 in hexadecimal.

    what     content
    fact     SHA-256 of a row of `facts`, "fact", its name
    frames   SHA-256 of the hashes of the frames, "frames", first and last number as "26-50", and the first 8 digits of
             each frame's hash, so that one that was changed can be named
    alarm, event, action    SHA-256 of a row of that table, its name, its number
    reanalysis              SHA-256 of a row of `reanalyses` and its rows of `reanalysed_tracks`, "reanalysis", its
                            number; older entries lack the last two
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

GENESIS = "0" * 64
"""What stands before the first entry of the chain."""
MARK_DIGITS = 8
_SINGLE_ROWS = {"alarm": "alarms", "event": "events", "action": "actions"}


def add_to_chain(database: sqlite3.Connection, what: str, content: str) -> None:
    """Append an entry to the chain of a session file. content: what the entry vouches for, see above."""
    last = database.execute("SELECT entry, sha256 FROM audit ORDER BY entry DESC LIMIT 1").fetchone()
    before, previous = last or (0, GENESIS)
    entry, utc = before + 1, utc_now()
    link = chain_hash(previous, entry, utc, what, content)
    database.execute("INSERT INTO audit VALUES (?,?,?,?,?)", (entry, utc, what, content, link))


def add_row_to_chain(database: sqlite3.Connection, what: str, number: int) -> None:
    """Append an entry for one row of table `alarms`, `events` or `actions`. what: alarm, event or action."""
    row = database.execute(f"SELECT * FROM {_SINGLE_ROWS[what]} WHERE {what} = ?", (number,)).fetchone()
    add_to_chain(database, what, row_content(what, row))


def row_content(what: str, row: Sequence[object]) -> str:
    """The content of the entry for one row of `alarms`, `events` or `actions`; its first column is its number."""
    return f"{content_hash(*row)} {what} {row[0]}"


def fact_content(name: str, value: str) -> str:
    """The content of the entry for a fact. value: as stored, JSON."""
    return f"{content_hash(name, value)} fact {name}"


def reanalysis_content(row: Sequence[object], tracks: Iterable[Sequence[object]]) -> str:
    """The content of the entry for a further analysis. tracks: its rows by frame and id, without its number."""
    return f"{content_hash(*row, [list(one) for one in tracks])} reanalysis {row[0]}"


def frames_content(first: int, hashes: Sequence[str]) -> str:
    """The content of the entry for frames that follow each other. first: number. hashes: of each frame's rows."""
    marks = "".join(one[:MARK_DIGITS] for one in hashes)
    return f"{content_hash(*hashes)} frames {first}-{first + len(hashes) - 1} {marks}"


def rows_hash(rows: Iterable[Sequence[object]]) -> str:
    """SHA-256 of several rows, hexadecimal: of one frame its rows of `frames`, `outputs`, `cues` and `tracks`."""
    return hashlib.sha256("\n".join(_to_json(row) for row in rows).encode()).hexdigest()


def chain_hash(previous: str, entry: int, utc: str, what: str, content: str) -> str:
    """SHA-256 of an entry of the chain, hexadecimal."""
    return content_hash(previous, entry, utc, what, content)


def content_hash(*values: object) -> str:
    """SHA-256 of several values, hexadecimal: of their JSON list."""
    return rows_hash([values])


def utc_now(*, before_s: float = 0.0) -> str:
    """The present time, or that of so many seconds ago, ISO 8601 with milliseconds."""
    return (datetime.now(UTC) - timedelta(seconds=before_s)).isoformat(timespec="milliseconds")


def _to_json(row: Sequence[object]) -> str:
    return json.dumps([hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value for value in row])
