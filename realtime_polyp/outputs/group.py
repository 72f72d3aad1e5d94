"""Outputs that fail one by one: the others go on to the end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from realtime_polyp.outputs.base import JumpOutput, NoticeOutput, Output, OutputError, PictureOutput, reason_of
from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.packets import Frame, Result
from realtime_polyp.watchdog import Progress, Stall


class OutputGroup:
    """Several outputs of which each may fail alone: the others go on to the end.

    errors: one for each output that failed, in order. Once nothing is left that writes to disk, `write` raises the
        first.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.errors: list[OutputError] = []
        self._all, self._outputs = tuple(outputs), list(outputs)
        self._progress = Progress()
        self._writing: Output | None = None
        self._last_index = 0

    @property
    def on_disk(self) -> tuple[str, ...]:
        """What is being written, such as "video to out.mp4"; what has failed or ended by itself is not."""
        return tuple(output.name for output in tuple(self._outputs) if output.on_disk and _notice(output) is None)

    @property
    def notices(self) -> tuple[str, ...]:
        """Why outputs have ended by themselves, one sentence each."""
        return tuple(notice for output in self._all if (notice := _notice(output)))

    @property
    def takes_pictures(self) -> bool:
        """Whether an output takes pictures without a result of their own."""
        return any(isinstance(output, PictureOutput) for output in self._outputs)

    def write(self, result: Result) -> None:
        """Write a result to every output."""
        self._write_each(result.frame, lambda output: output.write(result))

    def write_result(self, result: Result) -> None:
        """Write a result to the outputs that take no pictures."""
        self._write_each(
            result.frame, lambda output: None if isinstance(output, PictureOutput) else output.write(result)
        )

    def write_picture(self, frame: Frame, overlay: Result | None) -> None:
        """Write a picture to the outputs that take pictures."""
        self._write_each(
            frame, lambda output: output.write_picture(frame, overlay) if isinstance(output, PictureOutput) else None
        )

    def jump(self, jump: Jump) -> None:
        """Tell the outputs that the session goes on elsewhere."""
        self._each(lambda output: output.jump(jump) if isinstance(output, JumpOutput) else None)

    def stalled(self, limit_s: float) -> Stall | None:
        """Return the write or close that has taken `limit_s` or longer, as a `Stall`; else None."""
        return next(iter(self._progress.stalled(limit_s)), None)

    def _write_each(self, frame: Frame, write: Callable[[Output], None]) -> None:
        self._last_index = frame.index
        with self._progress.working("output", frame.index):
            self._each(write)

    def _each(self, write: Callable[[Output], None]) -> None:
        for output in tuple(self._outputs):
            if output not in self._outputs:  # it was closed because another output hung
                continue
            self._writing = output
            with self._failing_alone(output):
                write(output)
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


def _notice(output: Output) -> str | None:
    return output.notice if isinstance(output, NoticeOutput) else None
