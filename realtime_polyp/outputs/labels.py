"""Where the labels of boxes go: outside every polyp, over no other label, and at the same side from frame to frame."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Rect = tuple[float, float, float, float]
"""x1, y1, x2, y2, px of the surface that is drawn on."""

_SIDES = 8  # above, below, right and left of the box, each at its start and its end
_RINGS = 3  # candidates at the box, then one and two label heights away from it
_AWAY = -1  # slot of a label with no room at its box
_CALM = 1.5  # of a label's size: room that a better place needs before a label moves there
_PATIENCE = 12  # pictures for which a better place must have room
_WORTH_MOVING = 0.8  # where everything is covered: a place must cover this much less than the present one


@dataclass(frozen=True)
class Label:
    """A label to place.

    Attributes:
        number: of the polyp; the same polyp keeps its place.
        box: of the polyp.
        width, height: of the label, px.
    """

    number: int
    box: Rect
    width: float
    height: float


@dataclass(frozen=True)
class Place:
    """Where a label goes.

    Attributes:
        rect: its area.
        slot: 0 to 7 touch the box, later ones are further away; -1: anywhere in the picture.
        waited: for how many pictures a nearer slot has had ample room.
    """

    rect: Rect
    slot: int
    waited: int = 0

    @property
    def touches(self) -> bool:
        """Whether it lies at its box; others need a line to it."""
        return 0 <= self.slot < _SIDES


class LabelPlacer:
    """Places the labels of consecutive pictures: a label stays at its side of the box as long as it has room there."""

    def __init__(self) -> None:
        self._before: dict[int, Place] = {}

    def place(
        self, labels: Sequence[Label], area: Rect, *, polyps: Sequence[Rect], taken: Sequence[Rect] = ()
    ) -> dict[int, Place]:
        """Places by number; see `place_labels`."""
        self._before = place_labels(labels, area, polyps=polyps, taken=taken, before=self._before)
        return self._before


def place_labels(
    labels: Sequence[Label],
    area: Rect,
    *,
    polyps: Sequence[Rect],
    taken: Sequence[Rect] = (),
    before: Mapping[int, Place] | None = None,
) -> dict[int, Place]:
    """Place each label within `area`; the result depends on nothing but the arguments.

    polyps: no label covers them; where one fills the picture, its label covers as little of it as possible.
    taken: areas of badges, which no label covers. before: the places in the previous picture.
    """
    places: dict[int, Place] = {}
    for label in sorted(labels, key=lambda one: one.number):
        obstacles = [*polyps, *taken, *(place.rect for place in places.values())]
        previous = (before or {}).get(label.number)
        place = _at_box(label, area, obstacles, previous) or _anywhere(label, area, obstacles, previous)
        places[label.number] = place or _least_covering(label, area, polyps, obstacles[len(polyps) :], previous)
    return places


def _at_box(label: Label, area: Rect, obstacles: Sequence[Rect], previous: Place | None) -> Place | None:
    """The first slot with room; the previous place is kept, unless a nearer slot has had ample room for a while."""
    slots = range(_SIDES * _RINGS)
    if previous is not None and _is_free(kept := _moved(previous, label, area), area, obstacles):
        ample = replace(label, width=_CALM * label.width, height=_CALM * label.height)
        for slot in slots[: _SIDES * _ring(previous)]:
            rect = _rect_at(slot, label, area)
            if _is_free(rect, area, obstacles) and _is_free(_rect_at(slot, ample, area), area, obstacles):
                waited = previous.waited + 1
                return Place(rect, slot) if waited >= _PATIENCE else Place(kept, previous.slot, waited)
        return Place(kept, previous.slot)
    for slot in slots:
        if _is_free(rect := _rect_at(slot, label, area), area, obstacles):
            return Place(rect, slot)
    return None


def _ring(place: Place) -> int:
    return _RINGS if place.slot == _AWAY else place.slot // _SIDES


def _moved(previous: Place, label: Label, area: Rect) -> Rect:
    """The previous place, which moves with its box, or stands still where it is away from it."""
    return _resized(previous.rect, label, area) if previous.slot == _AWAY else _rect_at(previous.slot, label, area)


def _resized(rect: Rect, label: Label, area: Rect) -> Rect:
    """The same place for a label of another size, and within a picture of another size."""
    x = max(area[0], min(rect[0], area[2] - label.width))
    y = max(area[1], min(rect[1], area[3] - label.height))
    return x, y, x + label.width, y + label.height


def _rect_at(slot: int, label: Label, area: Rect) -> Rect:
    """A slot's area: above, below, right or left of the box, at its start or end, moved along it into the picture."""
    x1, y1, x2, y2 = label.box
    width, height = label.width, label.height
    gap = 0.15 * height + (slot // _SIDES) * 1.2 * height
    side, at_end = divmod(slot % _SIDES, 2)
    if side < 2:
        x = min(max(x2 - width if at_end else x1, area[0]), area[2] - width)
        y = y1 - gap - height if side == 0 else y2 + gap
    else:
        x = x2 + gap if side == 2 else x1 - gap - width
        y = min(max(y2 - height if at_end else y1, area[1]), area[3] - height)
    return x, y, x + width, y + height


def _anywhere(label: Label, area: Rect, obstacles: Sequence[Rect], previous: Place | None) -> Place | None:
    """The free place nearest to the box, on a grid; None where there is none."""
    rects = _grid(label, area)
    free = ~_overlaps(rects, obstacles).any(axis=1)
    if not free.any():
        return None
    centre = np.array([(label.box[0] + label.box[2]) / 2, (label.box[1] + label.box[3]) / 2])
    distance = np.abs((rects[:, :2] + rects[:, 2:]) / 2 - centre).sum(axis=1)
    return Place(_as_rect(rects[np.where(free, distance, np.inf).argmin()]), _AWAY)


def _least_covering(
    label: Label, area: Rect, polyps: Sequence[Rect], taken: Sequence[Rect], previous: Place | None
) -> Place:
    """The place that covers least of other labels and badges, then of the polyps, taken as ellipses in their boxes."""
    rects = _grid(label, area)
    if previous is not None:
        rects = np.concatenate([[_resized(previous.rect, label, area)], rects])
    cost = _covered(rects, taken) * 1e3 + _in_ellipses(rects, polyps)
    best = int(cost.argmin())
    stays = previous is not None and cost[best] >= _WORTH_MOVING * cost[0]
    return Place(_as_rect(rects[0 if stays else best]), _AWAY)


def _grid(label: Label, area: Rect) -> NDArray[np.float64]:
    """Areas (n, 4) of a label all over the picture, its corners included."""
    x = np.linspace(area[0], max(area[0], area[2] - label.width), 17)
    y = np.linspace(area[1], max(area[1], area[3] - label.height), 25)
    left, top = (grid.ravel() for grid in np.meshgrid(x, y))
    return np.stack([left, top, left + label.width, top + label.height], axis=1)


def _overlaps(rects: NDArray[np.float64], obstacles: Sequence[Rect]) -> NDArray[np.bool_]:
    """Whether each of (n, 4) covers a part of each of (m, 4): (n, m)."""
    others = np.array(obstacles, np.float64).reshape(-1, 4)
    apart = (rects[:, None, 2:] <= others[None, :, :2]) | (rects[:, None, :2] >= others[None, :, 2:])
    return np.asarray(~apart.any(axis=2))


def _covered(rects: NDArray[np.float64], obstacles: Sequence[Rect]) -> NDArray[np.float64]:
    """The area in px² that each of (n, 4) has in common with the obstacles."""
    others = np.array(obstacles, np.float64).reshape(-1, 4)
    low, high = np.maximum(rects[:, None, :2], others[None, :, :2]), np.minimum(rects[:, None, 2:], others[None, :, 2:])
    return np.asarray((high - low).clip(0).prod(axis=2).sum(axis=1))


def _in_ellipses(rects: NDArray[np.float64], polyps: Sequence[Rect]) -> NDArray[np.float64]:
    """How deep each of (n, 4) lies in the ellipses within the polyps' boxes; 0: outside all of them."""
    boxes = np.array(polyps, np.float64).reshape(-1, 4)
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) / 2).clip(1e-6)
    nearest = np.clip(centres[None], rects[:, None, :2], rects[:, None, 2:])
    distance = np.sqrt((((nearest - centres[None]) / halves[None]) ** 2).sum(axis=2))
    return np.asarray((1 - distance).clip(0).sum(axis=1))


def _is_free(rect: Rect, area: Rect | None, obstacles: Iterable[Rect]) -> bool:
    """Whether a label fits within the area without covering an obstacle."""
    if area and not (area[0] <= rect[0] and area[1] <= rect[1] and rect[2] <= area[2] and rect[3] <= area[3]):
        return False
    return not any(
        rect[0] < other[2] and other[0] < rect[2] and rect[1] < other[3] and other[1] < rect[3] for other in obstacles
    )


def _as_rect(values: NDArray[np.float64]) -> Rect:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
