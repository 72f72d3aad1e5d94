"""What every output of a session offers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.packets import Frame, Result


class OutputError(ValueError):
    """An output cannot be written; the message names the file and the reason. What was written stays readable."""


def reason_of(error: Exception) -> str:
    """Return the reason of an error without the path: the system's message, else the error's class and message."""
    if said := getattr(error, "strerror", None):
        return str(said)
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass(frozen=True)
class OutputSpec:
    """What a session leaves behind; None: not that.

    Attributes:
        results: one JSON line per frame.
        save: the video with its overlay.
        events: one JSON line per alarm.
        pictures: a folder for the best frame of each alarm.
        count_alarms: follow alarms even where they are not written.
        blank_outside: leave everything outside the field of view out of the video and the pictures; None: out of the
            pictures only.
        style: how results are drawn in the video.
    """

    results: Path | None = None
    save: Path | None = None
    events: Path | None = None
    pictures: Path | None = None
    count_alarms: bool = False
    blank_outside: bool | None = None
    style: OverlayStyle = OverlayStyle()


class Output(Protocol):
    """Takes every result in order. `write` raises OutputError; `close` may be called at any time, more than once.

    name: what is written and where, such as "results to out.jsonl".
    on_disk: it leaves something on disk; a counter does not.
    """

    @property
    def name(self) -> str: ...

    @property
    def on_disk(self) -> bool: ...

    def write(self, result: Result) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class PictureOutput(Protocol):
    """An output that also takes pictures without a result of their own. It gets `write_picture` instead of `write`."""

    def write_picture(self, frame: Frame, overlay: Result | None) -> None:
        """Take each picture once, in order, with its own result or the newest usable one; None: no overlay.

        Raises OutputError.
        """
        ...


@runtime_checkable
class JumpOutput(Protocol):
    """An output that must know where the session left the course of its source."""

    def jump(self, jump: Jump) -> None:
        """What comes next lies elsewhere. Raises OutputError."""
        ...


@runtime_checkable
class NoticeOutput(Protocol):
    """An output that may end by itself, before the session does."""

    @property
    def notice(self) -> str | None:
        """Why it has ended, in one sentence for the user; None while it goes on."""
        ...
