"""Verifies the chain of hashes of a session file: a changed, removed or added row is found and named."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from realtime_polyp.recording.chain import (
    GENESIS,
    MARK_DIGITS,
    chain_hash,
    content_hash,
    fact_content,
    reanalysis_content,
    row_content,
    rows_hash,
)

_TABLES = {"alarm": "alarms", "event": "events", "action": "actions"}
_OF_FRAMES = ("frames", "outputs", "cues", "tracks")
_MOST_FRAMES = 100_000  # of one entry, which is written twice per second


class HasDatabase(Protocol):
    """A `RecordedSession`, or anything else with an open session file."""

    @property
    def database(self) -> sqlite3.Connection: ...


def verify_chain(session: HasDatabase) -> tuple[str, ...]:
    """Recompute the chain and the hashes of all rows; return what does not fit, one sentence each, empty if all fits.

    Of each kind of rows the first one that does not fit is named. Reads the whole session: about a second per
    100,000 frames. Rows that were removed at the end together with their entries leave no trace in the file; an
    ended session ends with fact `ended`.
    """
    database, problems = session.database, list[str]()
    checks: dict[str, Callable[[sqlite3.Connection], Iterator[str]]] = {
        "links": _check_links,
        "facts": _check_facts,
        "frames": _check_frames,
    }
    for what in _TABLES:
        checks[f"{what}s"] = partial(_check_rows, what=what)
    checks["further analyses"] = _check_reanalyses
    database.execute("BEGIN")  # one state, also while recording goes on
    try:
        for name, check in checks.items():
            try:
                for problem in check(database):
                    problems.append(problem)
            except (ValueError, LookupError, TypeError):
                problems.append(f"the audit log's entries of {name} cannot be read, so these are not verified")
        return tuple(problems)
    except sqlite3.DatabaseError as error:
        return (f"the session file cannot be read: {error}",)
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def _check_links(database: sqlite3.Connection) -> Iterator[str]:
    """Whether every entry links to the one before it."""
    previous, expected = GENESIS, 1
    for entry, utc, what, content, link in database.execute("SELECT * FROM audit ORDER BY entry"):
        if entry != expected:
            yield f"entry {expected} of the audit log was removed"
            return
        if link != chain_hash(previous, entry, utc, what, content):
            yield f"entry {entry} of the audit log was changed ({what}, {utc})"
            return
        previous, expected = link, entry + 1


def _check_facts(database: sqlite3.Connection) -> Iterator[str]:
    vouched = {content.split(" ", 2)[2]: content for content in _contents(database, "fact")}  # the last one counts
    found = dict(database.execute("SELECT name, value FROM facts ORDER BY name"))
    for name in sorted(vouched.keys() | found.keys()):
        if name not in found:
            yield f"fact {name} was removed"
        elif name not in vouched:
            yield f"fact {name} was added"
        elif fact_content(name, found[name]) != vouched[name]:
            yield f"fact {name} was changed"


def _check_rows(database: sqlite3.Connection, what: str) -> Iterator[str]:
    """Rows of which each has an entry of its own."""
    vouched = {int(content.split()[2]): content for content in _contents(database, what)}
    found = {row[0]: row_content(what, row) for row in database.execute(f"SELECT * FROM {_TABLES[what]}")}
    for number in sorted(vouched.keys() | found.keys()):
        if number not in found:
            yield f"{what} {number} was removed"
        elif number not in vouched:
            yield f"{what} {number} was added"
        elif found[number] != vouched[number]:
            yield f"{what} {number} was changed"
        else:
            continue
        return


def _check_reanalyses(database: sqlite3.Connection) -> Iterator[str]:
    """Further analyses, whose tables are there only if there is one."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    has_tables = {"reanalyses", "reanalysed_tracks"} <= tables
    vouched = {number: content.split()[0] for number, content in enumerate(_contents(database, "reanalysis"), 1)}
    found, with_tracks = {}, set[int]()
    if has_tables:
        found = {row[0]: row for row in database.execute("SELECT analysis, utc, detail FROM reanalyses")}
        with_tracks = {row[0] for row in database.execute("SELECT DISTINCT analysis FROM reanalysed_tracks")}
    for number in sorted(vouched.keys() | found.keys() | with_tracks):
        if number not in found:
            yield f"further analysis {number} was {'removed' if number in vouched else 'added'}"
        elif number not in vouched:
            yield f"further analysis {number} was added"
        elif reanalysis_content(found[number], _reanalysed_tracks(database, number)).split()[0] != vouched[number]:
            yield f"further analysis {number} was changed"
        else:
            continue
        return


def _reanalysed_tracks(database: sqlite3.Connection, analysis: int) -> Iterator[tuple[object, ...]]:
    query = "SELECT * FROM reanalysed_tracks WHERE analysis = ? ORDER BY number, id"
    return (row[1:] for row in database.execute(query, (analysis,)))


def _check_frames(database: sqlite3.Connection) -> Iterator[str]:
    end = 0
    for content in _contents(database, "frames"):
        total, _, span, *marks = content.split()
        first, last = (int(number) for number in span.split("-"))
        if last - first > _MOST_FRAMES:
            raise ValueError(span)
        hashes = list(_frame_hashes(database, first, last))
        if content_hash(*hashes) != total:
            yield _name_frame(first, hashes, marks[0] if marks else "")
            return
        end = last
    for table in _OF_FRAMES:
        query = f"SELECT number FROM {table} WHERE number > ? OR number < 1 ORDER BY number LIMIT 1"
        if row := database.execute(query, (end,)).fetchone():
            yield f"frame {row[0]} was added (table {table})"
            return


def _frame_hashes(database: sqlite3.Connection, first: int, last: int) -> Iterator[str]:
    """The hash of each frame's rows; of a frame that is gone, of none."""
    rows: dict[int, list[tuple[object, ...]]] = {number: [] for number in range(first, last + 1)}
    for table in _OF_FRAMES:
        order = "number, id" if table == "tracks" else "number"
        query = f"SELECT * FROM {table} WHERE number BETWEEN ? AND ? ORDER BY {order}"
        for row in database.execute(query, (first, last)):
            rows[row[0]].append(row)
    yield from (rows_hash(own) for own in rows.values())


def _name_frame(first: int, hashes: list[str], marks: str) -> str:
    """The first frame whose hash does not begin as it did when it was recorded."""
    for at, found in enumerate(hashes):
        if not found.startswith(marks[at * MARK_DIGITS : (at + 1) * MARK_DIGITS] or "-"):
            return f"frame {first + at} was changed or removed"
    return f"frames {first} to {first + len(hashes) - 1} do not fit their entry of the audit log"


def _contents(database: sqlite3.Connection, what: str) -> Iterator[str]:
    for (content,) in database.execute("SELECT content FROM audit WHERE what = ? ORDER BY entry", (what,)):
        yield content
