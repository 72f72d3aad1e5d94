"""Standard output and standard error that every command can rely on. Imports nothing that takes time."""

import errno
import io
import os
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn, TextIO

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # `| head` has ended, or the terminal was closed
_STANDARD = {"stdout": 1, "stderr": 2}


def prepare_console() -> None:
    """Make printing safe, once at a command's start.

    A character that the terminal cannot show is written as an escape. What is printed to a pipe that nobody reads any
    more, or to a stream that was closed before the start, is left out, and the command goes on.
    """
    _occupy_closed()
    for name, number in _STANDARD.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, "w", errors="backslashreplace", closefd=False))
        elif type(stream) is io.TextIOWrapper and _descriptor(stream) == number:  # not a test's or a notebook's
            setattr(sys, name, _patient(stream, number))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """End the process with this exit code, whatever still hangs: everything must have been closed.

    Python's own end joins threads, and libraries' ends wait for theirs.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            with suppress(OSError):
                print(f"realtime-polyp: cannot write to standard output: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(code or EXIT_BAD_INPUT)  # Python's own end would try again
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    if others or code == EXIT_INTERRUPTED:
        os._exit(code)
    raise SystemExit(code)


def _occupy_closed() -> None:
    """Open nothing in place of closed standard streams, or the next file that is opened would get their prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _patient(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """The same stream, as buffered as before, over a file that outlives its reader."""
    before: Any = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer
    if isinstance(before, _PatientFile):
        return stream
    with suppress(OSError):
        stream.flush()
    raw = _PatientFile(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if before is stream.buffer else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        newline=None,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _PatientFile(io.FileIO):
    """A file that takes everything once nobody reads it any more."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            nothing = os.open(os.devnull, os.O_WRONLY)  # libraries print to the number
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return len(data)
