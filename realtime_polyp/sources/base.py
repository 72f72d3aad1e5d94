"""The interface of every source of frames."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from realtime_polyp.messages import printable
from realtime_polyp.packets import Frame


class SourceError(ValueError):
    """The source cannot be opened or read. The message is one sentence for the user.

    is_away: nobody answered, so that asking again soon costs nothing.
    """

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(printable(message))
        self.is_away = is_away


class Source(Protocol):
    """A source of frames. Its constructor opens it and raises SourceError; `frames` closes it at the end.

    Plain attributes may implement these properties.

    Attributes:
        name: for messages and window titles.
        live: it cannot wait, so a slow consumer misses frames.
        size: (width, height) px as displayed.
        rate_hz: nominal frames per second; None if unknown.
        frames_total: number of frames that `frames` will yield; None if unknown.
        duration_s: stored duration of a recording, s; None if unknown or live.
        decoder: codec and device, such as "h264 (cuda)"; None where it is not chosen here.
        reads_ahead: frames are decoded before they are due, so decoding may run at low priority.
        warning: set while reading, if a recording is damaged, or a stream lost something or ended; else None.
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
    def duration_s(self) -> float | None: ...

    @property
    def decoder(self) -> str | None: ...

    @property
    def reads_ahead(self) -> bool: ...

    @property
    def warning(self) -> str | None: ...

    def frames(self) -> Iterator[Frame]:
        """Yield each frame once, with rising `index` and `continues` set.

        A live source that skips pictures leaves a gap in the numbers.

        Raises SourceError if a live source fails or stops sending.
        """
        ...

    def close(self) -> None:
        """Free everything and wake a blocked read if the device allows it. May be called from any thread."""
        ...
