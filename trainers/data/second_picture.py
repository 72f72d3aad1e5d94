"""A processor's small second picture, pasted into an image: what it shows is no finding."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainers.data.compose import Image, Item

_SHARE = (1 / 5, 1 / 3)  # sides, as fractions of the image's
_SAME = 0.3  # probability that it shows the image itself, as it was before augmentation
_IN_CORNER = 0.7  # probability of a corner; else it lies anywhere along an edge
_MOST_MARGIN = 0.04  # distance from the image's edges, as a fraction of its sides
_WITH_TEXT = 0.5  # probability of lines of text beside it
_STREAM = 2  # beside an item's seed: the workers' other draws are fewer than the device's
_CHARACTERS = tuple("ABCDEFGHIKLMNOPRSTUVXYZ0123456789:/.- ")


@dataclass(frozen=True)
class SecondPicture:
    """Where a second picture goes, and what is drawn around it.

    Attributes:
        donor: index of the still that it shows.
        inner: rows and columns of the picture.
        outer: the same with its frame; there is no polyp there afterwards.
        ink: (h, w) grey level of the frame and of the text; 0 where the image shows through.
    """

    donor: int
    inner: tuple[slice, slice]
    outer: tuple[slice, slice]
    ink: NDArray[np.uint8]


def draw_second_picture(
    index: int, count: int, size: tuple[int, int], *, probability: float, seed: int
) -> SecondPicture | None:
    """Draw whether still `index` of `count`, an image of `size` (h, w), gets a second picture, and which."""
    rng = np.random.default_rng([seed, _STREAM])
    if rng.random() >= probability:
        return None
    donor = index if rng.random() < _SAME else int(rng.integers(count))
    share, frame = float(rng.uniform(*_SHARE)), int(rng.integers(1, 4))
    sides = tuple(round(share * length) for length in size)
    top, left = _place(sides, frame, size, rng)
    inner = (slice(top, top + sides[0]), slice(left, left + sides[1]))
    outer = (slice(top - frame, inner[0].stop + frame), slice(left - frame, inner[1].stop + frame))
    ink = np.zeros(size, np.uint8)
    if rng.random() < _WITH_TEXT:
        _write(ink, outer, rng)
    ink[outer] = rng.integers(1, 30) if rng.random() < 0.5 else rng.integers(80, 200)
    return SecondPicture(donor, inner, outer, ink)


def _place(sides: tuple[int, ...], frame: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Return the row and column of the top left corner, in a corner of the image or along an edge."""
    most = [length - side - 2 * frame for length, side in zip(size, sides, strict=True)]
    margins = [int(rng.uniform(0, _MOST_MARGIN) * length) for length in size]
    place = [min(m, room) if rng.random() < 0.5 else max(0, room - m) for m, room in zip(margins, most, strict=True)]
    if rng.random() >= _IN_CORNER:
        free = int(rng.integers(2))
        place[free] = int(rng.integers(most[free] + 1))
    return place[0] + frame, place[1] + frame


def _write(ink: NDArray[np.uint8], outer: tuple[slice, slice], rng: np.random.Generator) -> None:
    """Write lines of random characters beside the picture, on the side that has more room."""
    rows, columns = outer
    height, width = ink.shape
    scale = float(rng.uniform(0.8, 1.3)) * height / 1000
    line = max(6, int(36 * scale))
    level = int(rng.integers(190, 256))
    for number in range(int(rng.integers(1, 6))):
        text = "".join(rng.choice(_CHARACTERS, int(rng.integers(4, 14))))
        (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        column = columns.stop + 4 if columns.start + columns.stop < width else columns.start - 4 - length
        place = (column, rows.start + (number + 1) * line)
        cv2.putText(ink, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, level, 1)


def paste_second_picture(item: Item, donor: Image, drawn: SecondPicture) -> Item:
    """Return the image and its labels with the donor (h, w, 3) shrunk into it. No polyp is left under the picture."""
    image, labels = item
    ink = drawn.ink[..., None]
    image, labels = np.where(ink > 0, ink, image), labels.copy()
    rows, columns = drawn.inner
    size = (columns.stop - columns.start, rows.stop - rows.start)
    image[drawn.inner] = cv2.resize(donor, size, interpolation=cv2.INTER_AREA)
    labels[drawn.outer] = 0
    return image, labels
