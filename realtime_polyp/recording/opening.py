"""Opens a session file for reading, whatever state its recording left it in."""

import shutil
import sqlite3
import tempfile
from pathlib import Path


def open_session_file(path: Path) -> sqlite3.Connection:
    """Open a session file. Raises sqlite3.Error, OSError.

    Reading the write-ahead log needs an index beside it. Where that cannot be created, on a full disk, it is kept in
    memory; on a disk that cannot be written at all, a copy of the session file is read.
    """
    problem: sqlite3.Error | None = None
    for attempt in (_open, _open_alone, _open_copy):
        try:
            return attempt(path)
        except sqlite3.Error as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _open(path: Path) -> sqlite3.Connection:
    return _checked(sqlite3.connect(path, check_same_thread=False))


def _open_alone(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return _checked(connection)


def _open_copy(path: Path) -> sqlite3.Connection:
    with tempfile.TemporaryDirectory() as folder:  # what is open stays readable after it is removed
        for file in (path, path.with_name(f"{path.name}-wal")):
            if file.is_file():
                shutil.copyfile(file, Path(folder) / file.name)
        return _open(Path(folder) / path.name)


def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Read a little: only then SQLite opens its files."""
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
