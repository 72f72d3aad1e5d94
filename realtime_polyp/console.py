"""Makes printing to standard output and error safe for every command. Imports only modules that load fast."""

import errno
import io
import os
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn, TextIO

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # the pipe has no reader, or the terminal was closed
_STANDARD = {"stdout": 1, "stderr": 2}


class PrintError(OSError):
    """Standard output or error cannot take what is printed."""


def prepare_console() -> None:
    """Make printing safe. Call it once at the start of a command.

    Characters that the terminal cannot show are written as escapes. Output to a pipe without a reader, or to a stream
    that was closed before the start, is discarded, and the command continues.
    """
    _occupy_closed()
    for name, number in _STANDARD.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, "w", errors="backslashreplace", closefd=False))
        elif type(stream) is io.TextIOWrapper and _descriptor(stream) == number:  # else it is a test's or a notebook's
            setattr(sys, name, _discarding(stream, number))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """End the process with this exit code, even if threads hang. All files must be closed before.

    A normal exit of Python would join the threads that hang, and so would the exit handlers of libraries.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            leave_unprinted(error, code)  # a normal exit would flush, and fail, again
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    if others or code == EXIT_INTERRUPTED:
        os._exit(code)
    raise SystemExit(code)


def leave_unprinted(error: OSError, code: int = 0) -> NoReturn:
    """End the process at once because standard output cannot take what is printed, as on a full disk."""
    with suppress(OSError):
        print(f"realtime-polyp: cannot write to standard output: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(code or EXIT_BAD_INPUT)


def _occupy_closed() -> None:
    """Open the null device in place of closed standard streams; else the next opened file would receive the output."""
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


def _discarding(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """Return a stream with the same settings and buffering that discards output once its reader is gone."""
    before: Any = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer
    if isinstance(before, _DiscardingFile):
        return stream
    with suppress(OSError):
        stream.flush()
    raw = _DiscardingFile(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if before is stream.buffer else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        newline=None,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _DiscardingFile(io.FileIO):
    """A file that discards everything once its reader is gone."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise PrintError(error.errno, error.strerror) from error
            nothing = os.open(os.devnull, os.O_WRONLY)  # C libraries write to the descriptor directly
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return len(data)
