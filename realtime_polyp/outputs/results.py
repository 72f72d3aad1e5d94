"""Writes results as JSON Lines, one line per frame."""

import json
from pathlib import Path

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.packets import Result


class ResultsWriter:
    """Writes one JSON line per result and flushes it, so that a crash or a full disk loses at most the last line."""

    on_disk = True

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._output_error(error) from error

    def write(self, result: Result) -> None:
        try:
            self._file.write(json.dumps(result.to_dict(), separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._output_error(error) from error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # writing the rest of the buffer failed, such as on a full disk
            raise self._output_error(error) from error

    def _output_error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write results to {self._path}: {error.strerror}")
