"""Outputs that fail one by one, and a thread of their own so that a slow disk never delays the screen."""

import threading
from collections.abc import Sequence
from contextlib import suppress

from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.outputs.base import Output, OutputError
from realtime_polyp.packets import Result

_QUEUED = 32


class OutputGroup:
    """Several outputs of which each may fail alone: the others go on to the end.

    errors: one for each output that failed, in order. Once nothing is left that writes to disk, `write` raises the
        first.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.errors: list[OutputError] = []
        self._outputs = list(outputs)

    def write(self, result: Result) -> None:
        for output in tuple(self._outputs):
            try:
                output.write(result)
            except OutputError as error:
                self.errors.append(error)
                self._outputs.remove(output)
                with suppress(OutputError):  # the same failure again
                    output.close()
        if self.errors and not any(output.on_disk for output in self._outputs):
            raise self.errors[0]

    def close(self) -> None:
        """Close every output even when one fails; then raise the first error of the whole run."""
        while self._outputs:
            try:
                self._outputs.pop(0).close()
            except OutputError as error:
                self.errors.append(error)
        if self.errors:
            raise self.errors[0]


class Recorder:
    """Writes on a thread of its own.

    live: when the disk is too slow, drop the oldest result and count it in `dropped`; otherwise the source waits.
    error: the first failure; that output ends, the others and the session go on, and the viewer says so.
    """

    def __init__(self, outputs: Sequence[Output], *, live: bool) -> None:
        self.dropped = 0
        self._group = OutputGroup(outputs)
        self._crash: OutputError | None = None
        self._results: Channel[Result] = Channel(_QUEUED, live=live, on_drop=self._count)
        self._thread = threading.Thread(target=self._write_all, name="record")
        self._thread.start()

    @property
    def error(self) -> OutputError | None:
        return next(iter(self._group.errors), self._crash)

    def write(self, result: Result) -> None:
        try:
            self._results.put(result)
        except Stopped:  # every output has failed
            return

    def close(self) -> None:
        """Write what is queued and close every output. Raises the first OutputError."""
        self._results.close()
        self._thread.join()
        self._group.close()
        if self._crash:
            raise self._crash

    def _write_all(self) -> None:
        ended = False
        try:
            for results in self._results.batches(1):
                self._group.write(results[0])
            ended = True
        except (OutputError, Stopped):
            ended = True
        finally:  # whatever happened, nothing may wait for this thread
            if not ended:
                self._crash = OutputError("recording failed: see the reason on standard error")
            self._results.stop()

    def _count(self, result: Result, reason: str) -> None:
        self.dropped += 1
