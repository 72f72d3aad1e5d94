"""A folder of stills, shown one after the other."""

import math
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.file import check_span

STILLS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
_NAMED_AT_MOST = 3
_SAME_PLACE = 1e-6  # stills; a time typed in decimals means the still that it is nearest to


class ImageFolderSource:
    """The stills of a folder (not of folders in it), in natural order: 2.png before 10.png; sizes may differ.
    Each stands alone: nothing is steadied from one to the next.

    rate_hz: stills per second of pts_s, which is the place in the folder over the rate. start_s, end_s, loop: as for a
    file. Unreadable stills are left out and named in warning. size: of the first readable still.
    """

    live = False

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
        self.name = folder.name
        self.rate_hz: Fraction | None = Fraction(rate_hz)
        self.warning: str | None = None
        self._rate_hz, self._loop, self._stopped = self.rate_hz, loop, False
        self._unreadable: list[str] = []
        self._stills = _part(find_stills(folder), self._rate_hz, start_s, end_s)
        if not self._stills:
            raise SourceError(f"{folder} has no still at or after {start_s:g} s.")
        self.frames_total = None if loop else len(self._stills)
        self.size = self._first_size(folder)

    def frames(self) -> Iterator[Frame]:
        index, round_s = 0, 0.0
        while not self._stopped:
            for place, path in self._stills:
                image = read_still(path)
                if self._stopped:
                    return
                if image is None:
                    self._note_unreadable(path)
                    continue
                yield Frame(index, float(place / self._rate_hz) + round_s, time.monotonic(), image, is_still=True)
                index += 1
            if not self._loop:
                return
            round_s += float(len(self._stills) / self._rate_hz)

    def close(self) -> None:
        self._stopped = True

    def _first_size(self, folder: Path) -> tuple[int, int]:
        for _, path in self._stills:
            image = read_still(path)
            if image is not None:
                return image.shape[1], image.shape[0]
        raise SourceError(f"None of the {len(self._stills)} stills in {folder} can be read.")

    def _note_unreadable(self, path: Path) -> None:
        if path.name not in self._unreadable:
            self._unreadable.append(path.name)
        bad = self._unreadable
        named = ", ".join(bad[:_NAMED_AT_MOST]) + (", ..." if len(bad) > _NAMED_AT_MOST else "")
        self.warning = f"{len(bad)} of {len(self._stills)} stills in {self.name} cannot be read: {named}."


def find_stills(folder: Path) -> list[Path]:
    """The stills of a folder in natural order; SourceError when there are none."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder.")
    visible = (p for p in folder.iterdir() if not p.name.startswith("."))
    stills = sorted((p for p in visible if p.suffix.lower() in STILLS and p.is_file()), key=_natural)
    if not stills:
        raise SourceError(f"{folder} is a folder without stills ({', '.join(sorted(STILLS))}); name a video in it.")
    return stills


def read_still(path: Path) -> Image | None:
    """The picture (H, W, 3) uint8 RGB, turned as its EXIF says; None when it cannot be read."""
    try:
        found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)  # imread fails on odd paths on Windows
    except (OSError, cv2.error):
        return None
    return None if found is None else np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


def _part(stills: list[Path], rate_hz: Fraction, start_s: float, end_s: float | None) -> list[tuple[int, Path]]:
    """Places and paths of the stills whose time lies in the span."""
    first = _place_at(start_s, rate_hz)
    last = None if end_s is None else _place_at(end_s, rate_hz)
    return list(enumerate(stills))[first:last]


def _place_at(seconds: float, rate_hz: Fraction) -> int:
    """The first place whose time is not before this one."""
    return math.ceil(seconds * float(rate_hz) - _SAME_PLACE)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Digits by value, letters without case."""
    pieces = re.split(r"(\d+)", path.name.lower())
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece]
