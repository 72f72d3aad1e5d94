"""A folder of pictures as a source of frames: a collection of stills, or a video that is stored as its frames."""

import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from realtime_polyp.image_files import ImageError, image_size, load_image
from realtime_polyp.messages import printable, shorten_path
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continuity import mark_continuity
from realtime_polyp.sources.file import check_span
from realtime_polyp.sources.numbered import USUAL_RATE_HZ, frame_numbers
from realtime_polyp.sources.paths import path_error

STILLS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_NAMED_AT_MOST = 3  # file names in a warning
_ROUNDING = 1e-6  # of a still: a time typed in decimals means the nearest still


class ImageFolderSource:
    """The pictures of a folder, without its sub-folders, in natural order: 2.png before 10.png. Sizes may differ.

    They are the frames of a video, filtered over time, if `video` says so or their names are numbered and their sizes
    equal (`sources.numbered`); `is_video` tells. Else each has `is_still` set, and nothing is filtered over time.

    `Frame.file_name` names the file. `Frame.index` is the picture's position in the folder, also with `start_s` and
    after unreadable stills; of numbered frames it is the number less the first one, so that missing ones leave a gap.
    With `loop` it keeps rising.

    Arguments:
        rate_hz: pictures per second; None: 25 of a video, 1 of stills. `pts_s` is the index divided by it.
        video: whether they are frames of a video; None: their names tell.
        start_s, end_s, loop: as for `FileSource`.

    Unreadable stills are skipped and named in `warning`, the first ones with the reason. `size` is that of the first
    readable still. Raises SourceError if the span has no still or none can be read.
    """

    live = reads_ahead = False
    decoder: str | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        rate_hz: Fraction | float | None = None,
        video: bool | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        loop: bool = False,
    ) -> None:
        check_span(start_s, end_s)
        if rate_hz is not None and not 0 < rate_hz <= 1000:
            raise SourceError(f"Stills need a rate above 0 and up to 1000 a second, got {float(rate_hz):g}.")
        folder = Path(path)
        listing = list_folder(folder, video=video)
        rate_hz = rate_hz or (USUAL_RATE_HZ if listing.is_video else 1)
        self.name = printable(folder.name or folder.resolve().name)
        self.is_video = listing.is_video
        self.rate_hz: Fraction | None = Fraction(rate_hz).limit_denominator(1001) or Fraction(rate_hz)
        self.warning: str | None = None
        self._rate_hz, self._loop, self._stopped = self.rate_hz, loop, False
        self._unreadable: set[Path] = set()
        self._named: list[str] = []
        self._places = listing.places
        self.duration_s: float | None = float(self._places / self._rate_hz) if self.is_video else None
        self._stills = _select(listing.stills, self._rate_hz, start_s, end_s)
        if not self._stills:
            raise SourceError(f"{shorten_path(folder)} has no still at or after {start_s:g} s.")
        self.frames_total = None if loop else len(self._stills)
        self.size = self._first_size(folder)

    @property
    def explanation(self) -> str:
        """How the folder is read where nobody said it, and how to say it, in one sentence."""
        return (
            f"numbered pictures are read as a video of {float(self._rate_hz):g} frames per second; "
            "--rate HZ gives another rate, --rate 0 makes them stills."
        )

    def frames(self) -> Iterator[Frame]:
        """Yield each readable still."""
        return mark_continuity(self._read_all())

    def _read_all(self) -> Iterator[Frame]:
        shift = 0  # of position, by the passes before this one
        while not self._stopped:
            has_begun = False  # the first picture of a pass continues nothing
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
                named, is_still = _utf8(path.name), not self.is_video
                when = pts_s, time.monotonic()
                yield Frame(index, *when, image, is_still=is_still, continues=has_begun, file_name=named)
                has_begun = True
            if not self._loop or not has_begun:  # none of them can be read any more
                return
            shift += self._stills[-1][0] - self._stills[0][0] + 1

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


@dataclass(frozen=True)
class FolderListing:
    """The pictures of a folder.

    Attributes:
        stills: place and path of each, in natural order. Places of numbered frames may have gaps.
        is_video: they are the frames of a video.
        first_number: that the name of the first frame has; None if the frames are not numbered.
    """

    stills: list[tuple[int, Path]]
    is_video: bool
    first_number: int | None = None

    @property
    def places(self) -> int:
        """Number of places, those without a picture among them."""
        return self.stills[-1][0] + 1


def list_folder(folder: Path, *, video: bool | None = None) -> FolderListing:
    """List the pictures of a folder; see `ImageFolderSource`. Raises SourceError if there are none."""
    paths = find_stills(folder)
    numbers = frame_numbers([path.name for path in paths]) if video is not False else None
    if numbers is None or not (video or _have_one_size(paths)):
        return FolderListing(list(enumerate(paths)), bool(video))
    places = [number - numbers[0] for number in numbers]
    return FolderListing(list(zip(places, paths, strict=True)), True, numbers[0])


def _have_one_size(paths: Sequence[Path]) -> bool:
    """Whether the first picture, the last and some between have the same size. Unreadable ones do not count."""
    sizes = set()
    for path in (*paths[:: max(1, len(paths) // 4)], paths[-1]):
        try:
            sizes.add(image_size(path))
        except ImageError:
            continue
    return len(sizes) == 1


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


def _select(
    stills: list[tuple[int, Path]], rate_hz: Fraction, start_s: float, end_s: float | None
) -> list[tuple[int, Path]]:
    """Return the places and paths of the stills in the span."""
    first, end = (math.inf if at_s is None else at_s * float(rate_hz) - _ROUNDING for at_s in (start_s, end_s))
    return [(place, path) for place, path in stills if first <= place < end]


def _natural_order(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: digits by value, letters without case; then the name, because 1.png and 01.png are equal so."""
    pieces = re.split(r"(\d+)", path.name.lower())
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece], path.name
