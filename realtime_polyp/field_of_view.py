"""The endoscopic field of view: the rectangle of the frame that holds the endoscope's picture.

Around it are banners, text and small pictures. Models see only this rectangle; results are in px of the whole frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.picture_content import (
    Region,
    framed_mucosa,
    has_shape_of_picture,
    mucosa_score,
    mucosa_share,
    split_at_seams,
    surround_of,
)

Image = NDArray[np.uint8]

LEAST_SIDE_PX = 32
"""Of a field of view that a person names."""

_SEARCH_WIDTH_PX = 240
_LIT_LEVEL = 32  # of 255, brightest channel; recorders paint the surround up to about 20
_MIN_AREA = 0.08  # of the frame; anything smaller is not the picture
_CLEARLY_MUCOSA = 0.75  # share of mucosa of what is certainly the endoscope's picture
_ALL_MUCOSA = 0.85  # and of a region that holds nothing else
_CLEARLY_BETTER = 0.25  # difference of scores by which a smaller picture is taken for the endoscope's
_LEAST_RIVAL_PX = 64  # of a side: a smaller one is no picture that a person would look at
_RIVAL_AREA = 0.4  # of the chosen picture's: a smaller one is no rival
_MORE_THAN_A_RIM = 0.95  # of a region: a picture that is framed in it is smaller
_MIN_COVERED = 0.08  # of the tallest column (row): thinner spurs of the lit region are text or a touching inset


@dataclass(frozen=True)
class FieldOfView:
    """A rectangle of the frame, source px, right and bottom exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    @property
    def box(self) -> list[int]:
        return [self.x1, self.y1, self.x2, self.y2]

    def __str__(self) -> str:
        """As `parse_field` reads it."""
        return f"{self.x1},{self.y1},{self.x2},{self.y2}"

    def crop(self, image: Image) -> Image:
        """Crop an image (H, W, 3) to the field of view, without copying."""
        return image[self.y1 : self.y2, self.x1 : self.x2]

    def overlap_px(self, other: "FieldOfView") -> int:
        """Area of the part that both share, px."""
        wide = min(self.x2, other.x2) - max(self.x1, other.x1)
        high = min(self.y2, other.y2) - max(self.y1, other.y1)
        return max(0, wide) * max(0, high)

    def inside(self, width: int, height: int) -> "FieldOfView | None":
        """Cut it to a picture of this size; None where nothing is left."""
        x1, y1, x2, y2 = min(self.x1, width), min(self.y1, height), min(self.x2, width), min(self.y2, height)
        return FieldOfView(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None

    def intersection(self, other: "FieldOfView") -> "FieldOfView | None":
        """The part that both share; None where there is none."""
        x1, y1, x2, y2 = max(self.x1, other.x1), max(self.y1, other.y1), min(self.x2, other.x2), min(self.y2, other.y2)
        return FieldOfView(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None

    def union(self, other: "FieldOfView") -> "FieldOfView":
        return FieldOfView(
            min(self.x1, other.x1), min(self.y1, other.y1), max(self.x2, other.x2), max(self.y2, other.y2)
        )

    def contains(self, other: "FieldOfView", *, slack_px: int = 0) -> bool:
        return (
            other.x1 >= self.x1 - slack_px
            and other.y1 >= self.y1 - slack_px
            and other.x2 <= self.x2 + slack_px
            and other.y2 <= self.y2 + slack_px
        )


def parse_field(text: str) -> FieldOfView:
    """Read "x1,y1,x2,y2", px. Raises ValueError with one sentence for anything else, or a side under 32 px."""
    try:
        x1, y1, x2, y2 = (int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is no field of view: give x1,y1,x2,y2 in px, such as 100,0,740,576") from None
    if x1 < 0 or y1 < 0 or x2 - x1 < LEAST_SIDE_PX or y2 - y1 < LEAST_SIDE_PX:
        raise ValueError(
            f"{text!r} is no field of view: its corners must not be negative, x2 and y2 at least {LEAST_SIDE_PX} px "
            "behind x1 and y1"
        )
    return FieldOfView(x1, y1, x2, y2)


def whole(image: Image) -> FieldOfView:
    """Return the field of view that covers the whole image."""
    height, width = image.shape[:2]
    return FieldOfView(0, 0, width, height)


@dataclass(frozen=True)
class FieldSearch:
    """The field of view that was found in a frame.

    Attributes:
        field: the rectangle.
        rival: that of another picture in the frame, which may as well be the endoscope's; None: there is none.
    """

    field: FieldOfView
    rival: FieldOfView | None = None


def find_field(image: Image) -> FieldOfView | None:
    """Find the rectangle of an image (H, W, 3) RGB that holds the endoscope's picture; None if all of it is dark."""
    found = search_field(image)
    return found.field if found else None


def search_field(image: Image) -> FieldSearch | None:
    """Find the endoscope's picture in an image (H, W, 3) RGB; None if all of it is dark.

    It is the largest lit region, without a bright surround. Where several are large, or the largest has little of the
    colours of mucosa, colours and shape decide (`picture_content`).
    """
    step = max(1, image.shape[1] // _SEARCH_WIDTH_PX)
    small = np.ascontiguousarray(image[::step, ::step])
    lit = np.maximum(np.maximum(small[..., 0], small[..., 1]), small[..., 2]) > _LIT_LEVEL
    surround = surround_of(small, _LIT_LEVEL)
    regions = _large_regions(lit & ~surround) if surround is not None else []
    regions = regions or _large_regions(lit)
    if not regions:
        return None
    region, rival = _choose(small, regions)
    field, other = (None if one is None else _rectangle(one, step, image.shape) for one in (region, rival))
    assert field is not None
    return FieldSearch(field, other if other and min(other.width, other.height) >= _LEAST_RIVAL_PX else None)


def _rectangle(region: Region, step: int, shape: tuple[int, ...]) -> FieldOfView:
    """The bounding rectangle of a region of the subsampled image. shape: of the image (H, W, 3)."""
    left, right = _covered_span(region.sum(axis=0))
    top, bottom = _covered_span(region.sum(axis=1))
    height, width = shape[:2]
    # One search cell of margin: the threshold cuts off the region's rim.
    return FieldOfView(
        max(0, (left - 1) * step),
        max(0, (top - 1) * step),
        min(width, (right + 1) * step),
        min(height, (bottom + 1) * step),
    )


def _choose(small: Image, regions: list[Region]) -> tuple[Region, Region | None]:
    """Choose the endoscope's picture among regions, the largest first, and the one that may be it as well."""
    if len(regions) == 1:
        return _cut_off_others(small, regions[0]), None
    regions = [region for place, region in enumerate(regions) if place == 0 or has_shape_of_picture(region)]
    scores = [mucosa_score(small, region) for region in regions]
    best = max(range(len(regions)), key=lambda place: scores[place])
    chosen = best if scores[best] - scores[0] > _CLEARLY_BETTER else 0
    rivals = [
        place
        for place in range(len(regions))
        if place != chosen
        and abs(scores[place] - scores[chosen]) <= _CLEARLY_BETTER
        and regions[place].sum() >= _RIVAL_AREA * regions[chosen].sum()
    ]
    return _cut_off_others(small, regions[chosen]), regions[rivals[0]] if rivals else None


def _cut_off_others(small: Image, region: Region) -> Region:
    """Cut off what touches the endoscope's picture along a straight edge, where one part is clearly that picture."""
    if mucosa_share(small, region) >= _ALL_MUCOSA:
        return region
    parts = [part for part in split_at_seams(small, region) if part.sum() >= _MIN_AREA * part.size]
    if len(parts) < 2:
        return _frame_mucosa(small, region)
    ranked = sorted(((mucosa_score(small, part), place) for place, part in enumerate(parts)), reverse=True)
    best = parts[ranked[0][1]]
    is_clear = ranked[0][0] - ranked[1][0] > _CLEARLY_BETTER and mucosa_share(small, best) >= _CLEARLY_MUCOSA
    return best if is_clear and has_shape_of_picture(best) else _frame_mucosa(small, region)


def _frame_mucosa(small: Image, region: Region) -> Region:
    """Cut off panels around the picture, such as a map of the endoscope that touches it; nothing that is only a rim."""
    framed = framed_mucosa(small, region)
    if framed is None or not has_shape_of_picture(framed):
        return region
    return framed if _MIN_AREA * framed.size <= framed.sum() < _MORE_THAN_A_RIM * region.sum() else region


def _large_regions(lit: Region) -> list[Region]:
    """Return the connected lit regions that are large enough for the picture, the largest first."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [place for place in np.argsort(-areas, kind="stable") if areas[place] >= _MIN_AREA * lit.size]
    return [np.asarray(labels == 1 + place) for place in large]


def _covered_span(counts: NDArray[np.int64]) -> tuple[int, int]:
    covered = np.flatnonzero(counts >= max(1, _MIN_COVERED * counts.max()))
    return int(covered[0]), int(covered[-1]) + 1
