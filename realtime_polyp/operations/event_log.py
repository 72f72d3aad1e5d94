"""The log of the program: one JSON line per event, in files that rotate and that only their owner can read.

No text that names a patient enters it: neither names of sources, files and folders, nor messages of errors, which
quote them. Values are numbers and words of the program's own vocabulary.
"""

import io
import json
import logging
import os
import stat
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from realtime_polyp.messages import printable
from realtime_polyp.operations.errors import OperationsError
from realtime_polyp.outputs.base import reason_of

FILE_BYTES, OLD_FILES = 10 * 2**20, 5
"""A file of the log, bytes, and how many older ones are kept beside it as FILE.1 to FILE.5."""

Level = int
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR
Value = str | int | float | bool | None | list[str] | dict[str, float | None]


class EventLog:
    """Appends events to a file. Used by one thread. A disk that is full loses events, and ends nothing.

    lost: events that could not be written. error: why the last of them could not; None: it was.
    Raises OperationsError where the file cannot be written.
    """

    def __init__(self, path: Path, *, file_bytes: int = FILE_BYTES, old_files: int = OLD_FILES) -> None:
        self.path = path
        try:
            torn = _is_torn(path)
            self._handler = _PrivateHandler(path, file_bytes, old_files)
        except OSError as error:
            raise OperationsError(f"cannot write the log to {printable(path)}: {reason_of(error)}") from error
        self._handler.setFormatter(_JsonLines())
        if torn and self._handler.stream:
            self._handler.stream.write("\n")

    @property
    def lost(self) -> int:
        return self._handler.lost

    @property
    def error(self) -> str | None:
        return self._handler.error

    def write(self, event: str, level: Level = INFO, **values: Value) -> None:
        """Write one line."""
        record = logging.LogRecord("realtime_polyp", level, "", 0, event, None, None)
        record.values = values
        self._handler.error = None
        self._handler.handle(record)

    def close(self) -> None:
        """Close the file; what a full disk has not taken by now is lost."""
        with suppress(OSError):  # it is in `error` already
            self._handler.close()


def _is_torn(path: Path) -> bool:
    """Whether a file ends within a line, as a crash leaves it. Raises OSError."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": stamp, "level": record.levelname.lower(), "event": record.msg}
        return json.dumps(head | getattr(record, "values", {}))


class _PrivateHandler(RotatingFileHandler):
    """Rotates files of mode 0600, and remembers an error instead of printing it."""

    def __init__(self, path: Path, file_bytes: int, old_files: int) -> None:
        self.lost, self.error = 0, None  # type: int, str | None
        super().__init__(path, maxBytes=file_bytes, backupCount=old_files, encoding="ascii")

    def _open(self) -> io.TextIOWrapper:
        def opener(name: str, flags: int) -> int:
            handle = os.open(name, flags, 0o600)
            if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(handle).st_mode):
                with suppress(OSError):  # a file of another user
                    os.fchmod(handle, 0o600)
            return handle

        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=opener)  # type: ignore[return-value]

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        self.lost += 1
        self.error = reason_of(error) if isinstance(error, Exception) else "unknown"
