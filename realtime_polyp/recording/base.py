"""What every output of a session offers."""

from typing import Protocol

from realtime_polyp.packets import Result


class OutputError(ValueError):
    """An output cannot be written; the message names the file and the reason. What was written stays readable."""


class Output(Protocol):
    """Takes every result in order. `write` raises OutputError; `close` may be called at any time, more than once."""

    def write(self, result: Result) -> None: ...

    def close(self) -> None: ...
