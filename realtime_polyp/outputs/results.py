"""Results as one JSON line per frame, written as they come."""

import json
from pathlib import Path

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.packets import Result


class ResultsWriter:
    """Each line is complete on disk before the next frame: a crash or a full disk costs at most the last line."""

    on_disk = True

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._failure(error) from error

    def write(self, result: Result) -> None:
        try:
            self._file.write(json.dumps(result.to_dict(), separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # the rest of the buffer met the same full disk
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write results to {self._path}: {error.strerror}")
