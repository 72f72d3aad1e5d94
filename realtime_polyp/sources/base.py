"""What every source of frames offers, and the errors it reports."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from realtime_polyp.packets import Frame


class SourceError(ValueError):
    """The source cannot be opened or read; the message is one sentence for the person who chose it."""


class Source(Protocol):
    """Opened by its constructor, which raises SourceError; `frames` yields until the end and always closes.

    Plain attributes serve as these properties.

    live: it cannot be paced, so the newest frame wins. rate_hz, frames_total: as far as known.
    size: (width, height) px as displayed. warning: one sentence set while reading when the end came early
    (a truncated file), else None.
    """

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def rate_hz(self) -> Fraction | None: ...

    @property
    def frames_total(self) -> int | None: ...

    @property
    def warning(self) -> str | None: ...

    def frames(self) -> Iterator[Frame]:
        """Each frame once, index rising by 1 from 0; SourceError when a live source fails or falls silent."""
        ...

    def close(self) -> None:
        """Wake a blocked read as far as the device allows and free everything; may be called from any thread."""
        ...
