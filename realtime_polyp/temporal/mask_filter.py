"""The mask steadied over time: its past carried along with the polyp, blended in probability, its edge kept still.

Only where a polyp is followed. Elsewhere the present alone counts, so that nothing stays behind when a polyp has left.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Boxes, Mask
from realtime_polyp.temporal.camera_motion import Motion

Map = NDArray[np.float32]

_MARGIN = 0.15  # of a box's size: the region round a track in which the mask has a past
_HYSTERESIS = 0.05  # how far a cell's probability must pass 0.5 to change sides
_RISES = 2.0  # what comes is believed so much sooner than what goes: a polyp grows as the scope comes near
_EDGE = 25.0  # slope with which a past probability counts as inside or outside; above 1 / _HYSTERESIS, or it forgets


@dataclass(frozen=True)
class Moved:
    """A track's box (4,) xyxy source px, in the frame before and now. drift: (2,) px, how far it was going by itself,
    beyond the camera's movement. unseen: no box was found for it now."""

    before: Boxes
    now: Boxes
    drift: NDArray[np.float64]
    unseen: bool = False


class MaskMemory:
    """The averaged mask of the frame before, and what was given out of it."""

    def __init__(self, mask_s: float) -> None:
        self._mask_s = mask_s
        self._past: tuple[Mask, Map] | None = None

    def forget(self) -> None:
        self._past = None

    def update(self, mask: Mask | None, moves: list[Moved], motion: Motion, step_s: float) -> Mask | None:
        """The steadied mask; the one given where there is no past to compare it with."""
        past, self._past = self._past, None
        if mask is None:
            return None
        blended = shown = mask.probability
        if past is not None and self._mask_s > 0 and step_s > 0 and _comparable(past[0], mask):
            blended, shown = blended.copy(), shown.copy()
            weight = 1.0 - float(np.exp(-step_s / self._mask_s))
            for moved in moves:
                _steady(blended, shown, mask, past, moved, motion, weight)
        self._past = replace(mask, probability=blended), shown
        return replace(mask, probability=shown)


def _comparable(past: Mask, mask: Mask) -> bool:
    return past.field_of_view == mask.field_of_view and past.probability.shape == mask.probability.shape


def _steady(
    blended: Map, shown: Map, mask: Mask, past: tuple[Mask, Map], moved: Moved, motion: Motion, weight: float
) -> None:
    """Within the track's box and a little margin, write the average of the past, carried along, and the present."""
    rows, columns = _region(mask, moved.now)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    matrix = _in_cells(_carriage(moved, motion), mask)
    average, was = (_carried(one, matrix, rows, columns) for one in (past[0].probability, past[1]))
    present = mask.probability[rows, columns]
    news = present - average
    fades = weight * (0.5 if moved.unseen else 1.0)
    average += np.where(news > 0, min(1.0, _RISES * fades), fades) * news
    blended[rows, columns] = average
    # What was inside is pushed further inside: an edge stays until the probability has passed 0.5 by the hysteresis.
    shown[rows, columns] = np.clip(average + _HYSTERESIS * np.clip(_EDGE * (was - 0.5), -1, 1), 0, 1)


def _region(mask: Mask, box: Boxes) -> tuple[slice, slice]:
    """Rows and columns of the map that a box (4,) xyxy source px covers with its margin."""
    height, width = mask.probability.shape
    margin = _MARGIN * np.tile(box[2:] - box[:2], 2) * np.array([-1, -1, 1, 1])
    scale = np.tile([width / mask.field_of_view.width, height / mask.field_of_view.height], 2)
    cells = (box + margin - np.tile([mask.field_of_view.x1, mask.field_of_view.y1], 2)) * scale
    x1, y1 = (max(0, int(np.floor(value))) for value in cells[:2])
    x2, y2 = (min(high, int(np.ceil(value))) for value, high in zip(cells[2:], (width, height), strict=True))
    return slice(y1, y2), slice(x1, x2)


def _carriage(moved: Moved, motion: Motion) -> NDArray[np.float64]:
    """Where points of the frame before are now (3, 3), source px.

    With the camera and the track's own velocity; only where the camera's movement is not known, from box to box: boxes
    tremble more than outlines do.
    """
    matrix = np.vstack([motion.matrix, [0, 0, 1]]).astype(np.float64)
    if motion.known:
        matrix[:2, 2] += moved.drift
    else:
        before, now = (one.reshape(2, 2).mean(0).astype(np.float64) for one in (moved.before, moved.now))
        matrix[:2, 2] += now - before
    return matrix


def _in_cells(matrix: NDArray[np.float64], mask: Mask) -> NDArray[np.float64]:
    """The same of the map's cells, whose centres lie half a cell in."""
    height, width = mask.probability.shape
    across, down = mask.field_of_view.width / width, mask.field_of_view.height / height
    to_source = np.array(
        [[across, 0, mask.field_of_view.x1 + across / 2], [0, down, mask.field_of_view.y1 + down / 2], [0, 0, 1]],
        np.float64,
    )
    return np.asarray(np.linalg.inv(to_source) @ matrix @ to_source)


def _carried(past: Map, matrix: NDArray[np.float64], rows: slice, columns: slice) -> Map:
    """The part of a past map (h, w) that is now at rows and columns."""
    back = np.linalg.inv(matrix) @ np.array([[1, 0, columns.start], [0, 1, rows.start], [0, 0, 1]], np.float64)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(past, back[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]
