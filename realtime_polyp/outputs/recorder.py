"""Outputs on a thread of their own, so that a slow disk never delays what is on the screen."""

import threading
from collections.abc import Sequence

from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.outputs.base import Output, OutputError
from realtime_polyp.packets import Result

_QUEUED = 32


class Recorder:
    """live: when the disk is too slow, drop the oldest result and count it; otherwise the source waits.

    error: the first failure; recording ends there, the session goes on, and the viewer says so.
    """

    def __init__(self, outputs: Sequence[Output], *, live: bool) -> None:
        self.dropped = 0
        self.error: OutputError | None = None
        self._outputs = outputs
        self._results: Channel[Result] = Channel(_QUEUED, live=live, on_drop=self._count)
        self._thread = threading.Thread(target=self._write_all, name="record")
        self._thread.start()

    def write(self, result: Result) -> None:
        if self.error is None:
            try:
                self._results.put(result)
            except Stopped:  # it failed while this result waited
                return

    def close(self) -> None:
        """Write what is queued, close every output. Raises the first OutputError."""
        self._results.close()
        self._thread.join()
        close_all(self._outputs)
        if self.error:
            raise self.error

    def _write_all(self) -> None:
        ended = False
        try:
            for results in self._results.batches(1):
                for output in self._outputs:
                    output.write(results[0])
            ended = True
        except OutputError as error:
            self.error = error
        except Stopped:
            ended = True
        finally:  # whatever happened, nobody may wait for this thread
            if not ended and self.error is None:
                self.error = OutputError("recording failed: the reason stands on standard error")
            self._results.stop()

    def _count(self, result: Result, reason: str) -> None:
        self.dropped += 1


def close_all(outputs: Sequence[Output]) -> None:
    """Close every output even when one fails; then raise the first failure."""
    failures = []
    for output in outputs:
        try:
            output.close()
        except OutputError as error:
            failures.append(error)
    if failures:
        raise failures[0]
