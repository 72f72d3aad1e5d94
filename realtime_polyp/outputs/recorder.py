"""Outputs that fail one by one, and a thread of their own so that a slow disk never delays the screen."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.outputs.base import Output, OutputError, reason_of
from realtime_polyp.packets import Result
from realtime_polyp.watchdog import Progress, Stall, StalledError

_QUEUED = 32
_POLL_S = 0.2


class OutputGroup:
    """Several outputs of which each may fail alone: the others go on to the end.

    errors: one for each output that failed, in order. Once nothing is left that writes to disk, `write` raises the
        first.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.errors: list[OutputError] = []
        self._outputs = list(outputs)
        self._progress = Progress()
        self._writing: Output | None = None
        self._last_index = 0

    def write(self, result: Result) -> None:
        self._last_index = result.frame.index
        with self._progress.working("output", result.frame.index):
            self._write_each(result)

    def stalled(self, limit_s: float) -> Stall | None:
        """Return the write or close that has taken `limit_s` or longer, as a `Stall`; else None."""
        return next(iter(self._progress.stalled(limit_s)), None)

    def _write_each(self, result: Result) -> None:
        for output in tuple(self._outputs):
            if output not in self._outputs:  # it was closed because another output hung
                continue
            self._writing = output
            with self._failing_alone(output):
                output.write(result)
            self._writing = None
        if self.errors and not any(output.on_disk for output in self._outputs):
            raise self.errors[0]

    def close(self) -> None:
        """Close every output even when one fails; then raise the first error of the whole run.

        An output that hangs in a write on another thread is not closed.
        """
        with self._progress.working("output", self._last_index):
            self._close_each()
        if self.errors:
            raise self.errors[0]

    def _close_each(self) -> None:
        while self._outputs:
            output = self._outputs.pop(0)
            if output is not self._writing:
                with self._failing_alone(output):
                    output.close()

    @contextmanager
    def _failing_alone(self, output: Output) -> Iterator[None]:
        """Whatever is wrong with one output must not end the others: note its error, and close and leave it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self._note(output, error)
            if output in self._outputs:
                self._outputs.remove(output)
                with suppress(Exception):  # the same failure again
                    output.close()

    def _note(self, output: Output, error: Exception) -> None:
        if isinstance(error, OutputError):
            self.errors.append(error)
            return
        failure = OutputError(f"cannot write {output.name}: {reason_of(error)}")
        failure.__cause__ = error
        self.errors.append(failure)


class Recorder:
    """Writes on a thread of its own.

    live: when the disk is too slow, drop the oldest result and count it in `dropped`; otherwise the source waits.
    error: the first failure; that output ends, the others and the session go on, and the viewer says so.
    """

    def __init__(self, outputs: Sequence[Output], *, live: bool) -> None:
        self.dropped = 0
        self._group = OutputGroup(outputs)
        self._results: Channel[Result] = Channel(_QUEUED, live=live, on_drop=self._count)
        # A daemon thread: a disk that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._write_all, name="record", daemon=True)
        self._thread.start()

    @property
    def error(self) -> OutputError | None:
        return next(iter(self._group.errors), None)

    def write(self, result: Result) -> None:
        try:
            self._results.put(result)
        except Stopped:  # every output has failed
            return

    def stalled(self, limit_s: float) -> Stall | None:
        """As `OutputGroup.stalled`."""
        return self._group.stalled(limit_s)

    def close(self, within_s: float | None = None) -> None:
        """Write what is queued and close every output. Raises the first OutputError.

        within_s: limit for one result, s; when it is exceeded, the outputs that do not hang are closed and
            StalledError is raised. None: no limit.
        """
        self._results.close()
        while self._thread.is_alive():
            self._thread.join(within_s and min(within_s, _POLL_S))
            if within_s is not None and (stall := self.stalled(within_s)):
                others = threading.Thread(target=self._close_outputs, name="close", daemon=True)
                others.start()
                others.join(within_s)
                raise StalledError(stall)
        if self._group.errors:
            raise self._group.errors[0]

    def _write_all(self) -> None:
        try:
            for results in self._results.batches(1):
                self._group.write(results[0])
        except (OutputError, Stopped):
            return
        finally:  # whatever happened, nothing may wait for this thread
            self._results.stop()
            self._close_outputs()

    def _close_outputs(self) -> None:
        with suppress(OutputError):  # it stays in `errors`
            self._group.close()

    def _count(self, result: Result, reason: str) -> None:
        self.dropped += 1
