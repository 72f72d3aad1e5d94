"""A source around another source: what every wrapper passes on unchanged."""

from collections.abc import Iterator
from fractions import Fraction

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source


class SourceWrapper:
    """Passes every member of another source on. A wrapper overrides what it changes, usually `frames`.

    source: the other one.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def live(self) -> bool:
        return self.source.live

    @property
    def reads_ahead(self) -> bool:
        return self.source.reads_ahead

    @property
    def size(self) -> tuple[int, int]:
        return self.source.size

    @property
    def decoder(self) -> str | None:
        return self.source.decoder

    @property
    def rate_hz(self) -> Fraction | None:
        return self.source.rate_hz

    @property
    def frames_total(self) -> int | None:
        return self.source.frames_total

    @property
    def duration_s(self) -> float | None:
        return self.source.duration_s

    @property
    def warning(self) -> str | None:
        return self.source.warning

    def frames(self) -> Iterator[Frame]:
        return self.source.frames()

    def close(self) -> None:
        self.source.close()
