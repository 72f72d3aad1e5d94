"""Writes results as JSON Lines, one line per frame."""

import json
from pathlib import Path

from realtime_polyp.messages import printable
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.outputs.output_file import OutputFile
from realtime_polyp.packets import Result

_MOST_JUMPS = 100  # between two lines; of more, the last ones are written


class ResultsWriter:
    """Writes one JSON line per result at once, so that a crash or a full disk loses at most the last line.

    The first line after a jump has the key `jumps`.
    """

    on_disk = True

    def __init__(self, path: Path) -> None:
        self.name = f"results to {printable(path)}"
        self._jumps: list[Jump] = []
        try:
            self._file = OutputFile(path)
        except OSError as error:
            raise self._output_error(error) from error

    def jump(self, jump: Jump) -> None:
        self._jumps = [*self._jumps, jump][-_MOST_JUMPS:]

    def write(self, result: Result) -> None:
        jumps, self._jumps = self._jumps, []
        line = result.to_dict() | ({"jumps": [jump.to_dict() for jump in jumps]} if jumps else {})
        try:
            self._file.write_line(json.dumps(line, separators=(",", ":")))
        except OSError as error:
            raise self._output_error(error) from error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # the file is gone, or a network's disk says now what it could not take
            raise self._output_error(error) from error

    def _output_error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.name}: {reason_of(error)}")
