"""Filter the mask over time: a running average, warped along with the polyp, with hysteresis at its edge.

The filter applies only inside tracked boxes. Elsewhere the current mask is used: nothing remains when a polyp leaves.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Boxes, Mask
from realtime_polyp.temporal.camera_motion import Motion

Map = NDArray[np.float32]

_MARGIN = 0.15  # of the box size: the region around a track that is filtered
_HYSTERESIS = 0.05  # how far a probability must pass 0.5 to change sides
_RISE_FACTOR = 2.0  # probabilities rise faster than they fall: a polyp grows as the scope approaches
_EDGE_SLOPE = 25.0  # slope of the past output's sign at 0.5; above 1 / _HYSTERESIS, or the hysteresis fades


@dataclass(frozen=True)
class TrackMotion:
    """How a track moved since the previous frame.

    Attributes:
        before: its box in the previous frame, (4,) xyxy source px.
        now: its box in this frame, (4,) xyxy source px.
        displacement: (2,) px, its own motion beyond the camera's.
        missed: no detection matched the track in this frame.
    """

    before: Boxes
    now: Boxes
    displacement: NDArray[np.float64]
    missed: bool = False


class MaskFilter:
    """Keeps the running average of the mask and the previous output. mask_s: time constant; 0 turns it off."""

    def __init__(self, mask_s: float) -> None:
        self._mask_s = mask_s
        self._past: tuple[Mask, Map] | None = None

    def reset(self) -> None:
        """Forget the past: a cut or a seek."""
        self._past = None

    def update(self, mask: Mask | None, tracks: list[TrackMotion], motion: Motion, step_s: float) -> Mask | None:
        """Return the filtered mask. step_s: time since the previous frame; 0: nothing to continue."""
        past, self._past = self._past, None
        if mask is None:
            return None
        average = output = mask.probability
        if past is not None and self._mask_s > 0 and step_s > 0 and _is_comparable(past[0], mask):
            average, output = average.copy(), output.copy()
            weight = 1.0 - float(np.exp(-step_s / self._mask_s))
            for track in tracks:
                _filter_region(average, output, mask, past, track, motion, weight)
        self._past = replace(mask, probability=average), output
        return replace(mask, probability=output)


def _is_comparable(past: Mask, mask: Mask) -> bool:
    return past.field_of_view == mask.field_of_view and past.probability.shape == mask.probability.shape


def _filter_region(
    average: Map, output: Map, mask: Mask, past: tuple[Mask, Map], track: TrackMotion, motion: Motion, weight: float
) -> None:
    """Blend the warped past with the current mask inside the track's box and margin; write to average and output."""
    rows, columns = _region(mask, track.now)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    matrix = _to_map_px(_warp_matrix(track, motion), mask)
    blend, before = (_warp(one, matrix, rows, columns) for one in (past[0].probability, past[1]))
    change = mask.probability[rows, columns] - blend
    gain = weight * (0.5 if track.missed else 1.0)
    blend += np.where(change > 0, min(1.0, _RISE_FACTOR * gain), gain) * change
    average[rows, columns] = blend
    # Hysteresis: pixels that were inside are pushed further inside, so an edge stays until 0.5 is clearly passed.
    output[rows, columns] = np.clip(blend + _HYSTERESIS * np.clip(_EDGE_SLOPE * (before - 0.5), -1, 1), 0, 1)


def _region(mask: Mask, box: Boxes) -> tuple[slice, slice]:
    """Return the rows and columns of the map that a box (4,) xyxy source px covers with its margin."""
    height, width = mask.probability.shape
    margin = _MARGIN * np.tile(box[2:] - box[:2], 2) * np.array([-1, -1, 1, 1])
    scale = np.tile([width / mask.field_of_view.width, height / mask.field_of_view.height], 2)
    cells = (box + margin - np.tile([mask.field_of_view.x1, mask.field_of_view.y1], 2)) * scale
    x1, y1 = (max(0, int(np.floor(value))) for value in cells[:2])
    x2, y2 = (min(high, int(np.ceil(value))) for value, high in zip(cells[2:], (width, height), strict=True))
    return slice(y1, y2), slice(x1, x2)


def _warp_matrix(track: TrackMotion, motion: Motion) -> NDArray[np.float64]:
    """Return the matrix (3, 3) that maps points of the previous frame to this one, source px.

    It combines the camera motion with the track's own velocity. Boxes jitter more than outlines do, so the shift from
    box to box is used only where the camera motion is not known.
    """
    matrix = np.vstack([motion.matrix, [0, 0, 1]]).astype(np.float64)
    if motion.known:
        matrix[:2, 2] += track.displacement
    else:
        before, now = (one.reshape(2, 2).mean(0).astype(np.float64) for one in (track.before, track.now))
        matrix[:2, 2] += now - before
    return matrix


def _to_map_px(matrix: NDArray[np.float64], mask: Mask) -> NDArray[np.float64]:
    """Convert a matrix (3, 3) from source px to px of the map, whose pixel centres lie at half px."""
    height, width = mask.probability.shape
    across, down = mask.field_of_view.width / width, mask.field_of_view.height / height
    to_source = np.array(
        [[across, 0, mask.field_of_view.x1 + across / 2], [0, down, mask.field_of_view.y1 + down / 2], [0, 0, 1]],
        np.float64,
    )
    return np.asarray(np.linalg.inv(to_source) @ matrix @ to_source)


def _warp(past: Map, matrix: NDArray[np.float64], rows: slice, columns: slice) -> Map:
    """Return the part of a past map (h, w) that lies at rows and columns after the warp."""
    back = np.linalg.inv(matrix) @ np.array([[1, 0, columns.start], [0, 1, rows.start], [0, 0, 1]], np.float64)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(past, back[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]
