"""A folder of stills as a source of frames."""

import math
import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from realtime_polyp.image_files import ImageError, load_image
from realtime_polyp.messages import printable, shorten_path
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continuity import mark_continuity
from realtime_polyp.sources.file import check_span
from realtime_polyp.sources.paths import path_error

STILLS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
_NAMED_AT_MOST = 3  # file names in a warning
_ROUNDING = 1e-6  # of a still: a time typed in decimals means the nearest still


class ImageFolderSource:
    """The stills of a folder, without its sub-folders, in natural order: 2.png before 10.png. Sizes may differ.

    Every frame has `is_still` set, so nothing is filtered over time. `Frame.file_name` names the file, and
    `Frame.index` is its position in the folder, also with `start_s` and after unreadable stills. With `loop` it keeps
    rising.

    Arguments:
        rate_hz: stills per second; `pts_s` is the position in the folder divided by it.
        start_s, end_s, loop: as for `FileSource`.

    Unreadable stills are skipped and named in `warning`, the first ones with the reason. `size` is that of the first
    readable still. Raises SourceError if the span has no still or none can be read.
    """

    live = reads_ahead = False
    decoder: str | None = None
    duration_s: float | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        rate_hz: Fraction | float = 1,
        start_s: float = 0.0,
        end_s: float | None = None,
        loop: bool = False,
    ) -> None:
        check_span(start_s, end_s)
        if not 0 < rate_hz <= 1000:
            raise SourceError(f"Stills need a rate above 0 and up to 1000 a second, got {float(rate_hz):g}.")
        folder = Path(path)
        self.name = printable(folder.name)
        self.rate_hz: Fraction | None = Fraction(rate_hz)
        self.warning: str | None = None
        self._rate_hz, self._loop, self._stopped = self.rate_hz, loop, False
        self._unreadable: set[Path] = set()
        self._named: list[str] = []
        self._stills = _select(find_stills(folder), self._rate_hz, start_s, end_s)
        if not self._stills:
            raise SourceError(f"{folder} has no still at or after {start_s:g} s.")
        self.frames_total = None if loop else len(self._stills)
        self.size = self._first_size(folder)

    def frames(self) -> Iterator[Frame]:
        """Yield each readable still."""
        return mark_continuity(self._read_all())

    def _read_all(self) -> Iterator[Frame]:
        shift = 0  # of position, by the passes before this one
        while not self._stopped:
            for place, path in self._stills:
                try:
                    image = load_image(path)
                except ImageError as error:
                    self._note_unreadable(path, error)
                    continue
                if self._stopped:
                    return
                index = shift + place
                pts_s = float(place / self._rate_hz) + float(shift / self._rate_hz)
                yield Frame(index, pts_s, time.monotonic(), image, is_still=True, file_name=_utf8(path.name))
            if not self._loop:
                return
            shift += len(self._stills)

    def close(self) -> None:
        self._stopped = True

    def _first_size(self, folder: Path) -> tuple[int, int]:
        first: str | None = None
        for _, path in self._stills:
            try:
                image = load_image(path)
                return image.shape[1], image.shape[0]
            except ImageError as error:
                first = first or f"{path.name}: {error}"
        raise SourceError(f"None of the {len(self._stills)} stills in {shorten_path(folder)} can be read ({first}).")

    def _note_unreadable(self, path: Path, error: ImageError) -> None:
        """Set `warning`, with the first names. Called once per bad still: its time must not grow with their number."""
        bad = self._unreadable
        if path in bad:
            return
        bad.add(path)
        if len(bad) <= _NAMED_AT_MOST:
            self._named.append(f"{path.name} ({error})")
        named = ", ".join(self._named) + (f" and {len(bad) - _NAMED_AT_MOST} more" if len(bad) > _NAMED_AT_MOST else "")
        self.warning = printable(f"{len(bad)} of {len(self._stills)} stills in {self.name} cannot be read: {named}.")


def find_stills(folder: Path) -> list[Path]:
    """List the stills of a folder in natural order. Raises SourceError if there are none."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if _may_be_still(entry)]
    except NotADirectoryError:
        raise SourceError(f"{shorten_path(folder)} is not a folder.") from None
    except (OSError, ValueError) as error:
        raise path_error(folder, error) from None
    if not found:
        kinds = ", ".join(sorted(STILLS))
        raise SourceError(f"{shorten_path(folder)} is a folder without stills ({kinds}); name a video in it.")
    return sorted(found, key=_natural_order)


def _utf8(name: str) -> str:
    """Return a file's name for the results; bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _may_be_still(entry: "os.DirEntry[str]") -> bool:
    """Whether the entry is named as a still is. One that cannot be looked at counts: it is named as unreadable."""
    if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in STILLS:
        return False
    try:
        return not entry.is_dir()
    except OSError:
        return True


def _select(stills: list[Path], rate_hz: Fraction, start_s: float, end_s: float | None) -> list[tuple[int, Path]]:
    """Return the positions and paths of the stills in the span."""
    first = _position_at(start_s, rate_hz)
    last = None if end_s is None else _position_at(end_s, rate_hz)
    return list(enumerate(stills))[first:last]


def _position_at(seconds: float, rate_hz: Fraction) -> int:
    """Return the first position at or after this time."""
    return math.ceil(seconds * float(rate_hz) - _ROUNDING)


def _natural_order(path: Path) -> list[tuple[int, int | str]]:
    """Sort key: digits by value, letters without case."""
    pieces = re.split(r"(\d+)", path.name.lower())
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece]
