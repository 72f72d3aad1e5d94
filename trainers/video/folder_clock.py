"""The clock of a video that is stored as a folder of frames, for its truth."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from realtime_polyp.image_files import ImageError, load_image
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.images import FolderListing, list_folder
from realtime_polyp.sources.numbered import USUAL_RATE_HZ
from trainers.video.label_names import number_in_name
from trainers.video.labels import Clock, Labelling

_FINEST = 1001  # denominator of a rate, as in 30000/1001 Hz


def read_folder_clock(folder: Path, rate_hz: float | None) -> Clock:
    """Return the clock of a folder of frames; `first` is the number in the first file's name.

    rate_hz: frames per second; None: that of `run_live` without --rate. Raises ValueError for a folder without a
    readable picture.
    """
    listing = _list(folder)
    for _, path in listing.stills:
        try:
            height, width = load_image(path).shape[:2]
        except ImageError:
            continue
        rate = Fraction(rate_hz or USUAL_RATE_HZ).limit_denominator(_FINEST)
        names, first = {path.stem: place for place, path in listing.stills}, listing.first_number
        counts = first is not None and all(number_in_name(stem) == first + place for stem, place in names.items())
        return Clock(
            (width, height),
            rate,
            listing.places,
            first=first,
            names=names,
            numbered_from=first if counts else None,
        )
    raise ValueError(f"{folder} holds no picture that can be read")


def leave_out_missing(found: Labelling, folder: Path) -> Labelling:
    """Count only frames as labelled whose file is there. Raises ValueError for a label of a frame that is not."""
    present = frozenset(place for place, _ in _list(folder).stills)
    lost = sorted(frame for frame in found.labels if frame not in present)
    if lost:
        raise ValueError(f"frame {lost[0]} is labelled, and {folder} has no picture of it")
    if found.labelled is None and len(present) == max(present) + 1:
        return found
    return replace(found, labelled=present if found.labelled is None else found.labelled & present)


def _list(folder: Path) -> FolderListing:
    try:
        return list_folder(folder, video=True)
    except SourceError as error:
        raise ValueError(str(error)) from error
