"""Who reads the results on a bad day: a file of results that may be slow, or on a disk that is full."""

import errno
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.outputs.results import ResultsWriter
from realtime_polyp.packets import Result

_SLOW_S = 0.25  # for one result: a quarter of a second's results arrive meanwhile


class _HarmedWriter(ResultsWriter):
    """Writes results to a file. is_slow: each takes its time. is_full: the disk takes nothing more."""

    is_slow = is_full = False
    written = refused = 0

    def write(self, result: Result) -> None:
        if self.is_slow:
            time.sleep(_SLOW_S)
        try:
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(result)
        except OSError as error:
            self.refused += 1
            raise self._output_error(error) from error
        self.written += 1


class _File:
    """A file of results with its own account."""

    def __init__(self, path: Path) -> None:
        self.path, self.writer, self.taken = path, _HarmedWriter(path), 0
        self.recorder = Recorder([self.writer], live=True)

    def close(self) -> list[str]:
        """Write what waits; returns what is wrong with the account."""
        with suppress(OutputError):
            self.recorder.close()
        writer, lines = self.writer, self.path.read_bytes().count(b"\n")
        if lines == writer.written and self.taken == writer.written + writer.refused + self.recorder.dropped:
            return []
        counts = f"{writer.written} written, {writer.refused} refused, {self.recorder.dropped} dropped"
        return [f"results: of {self.taken}, {counts}, and {lines} lines are there"]


class ResultsReader:
    """Takes the results of a live session as `--results` does.

    Attributes:
        problems: what is wrong with the account of the files that were closed.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._folder = tempfile.TemporaryDirectory()
        self._lock = threading.Lock()
        self._count = 0
        self._file = self._open()

    def take(self, result: Result) -> None:
        """Take a result, on the deliver thread. Never waits."""
        with self._lock:
            self._file.taken += 1
            self._file.recorder.write(result)

    def slow_down(self) -> None:
        self._file.writer.is_slow = True

    def fill_disk(self) -> None:
        self._file.writer.is_full = True

    def failure(self) -> str:
        """Why nothing is written any more, one sentence; "" while all is well."""
        return str(self._file.recorder.error or "")

    def recover(self) -> None:
        """The reader is fast again. After a disk was full a new file is begun."""
        before = self._file
        before.writer.is_slow = False
        if before.writer.is_full:
            with self._lock:
                self._file = self._open()
            self.problems += before.close()

    def close(self) -> None:
        """Write what waits, and check the account."""
        self.problems += self._file.close()
        self._folder.cleanup()

    def _open(self) -> _File:
        self._count += 1
        return _File(Path(self._folder.name, f"results {self._count}.jsonl"))
