"""What is known of a reader that is tried."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        read: reads the file; what it returns is not used.
        errors: the classes that it may raise, and no subclass of them.
        text: the file is text, so that values are changed rather than bytes.
        seeds: returns further seed files by name; those of `tests/corpus/NAME` are always used.
        file_name: of the file in its folder; None: of the seed's suffix.
    """

    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (ValueError,)
    text: bool = True
    seeds: Callable[[], dict[str, bytes]] = dict
    file_name: str | None = None
