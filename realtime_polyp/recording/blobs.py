"""How arrays are stored in a session file. Every function here has its inverse beside it.

Boxes, scores and camera motion are stored as they are, float32. Probability maps are stored in 8 bits: 255 times the
probability, rounded.
"""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Boxes, Detections, Mask

_MASK_HEAD = struct.Struct("<4i2H")
_FIELD = struct.Struct("<4i")
_PATCH_PX = 12
_PATCH_BYTES = 4 * 4 + _PATCH_PX * _PATCH_PX * 3 * 4


def encode_detections(detections: Detections) -> bytes:
    """n rows of x1, y1, x2, y2, score: float32."""
    return np.column_stack([detections.boxes, detections.scores]).astype("<f4").tobytes()


def decode_detections(blob: bytes) -> Detections:
    rows = np.frombuffer(blob, "<f4").reshape(-1, 5).astype(np.float32)
    return Detections(rows[:, :4], rows[:, 4])


def encode_mask(mask: Mask | None) -> bytes | None:
    """Field of view and size, then the map in 8 bits, compressed (zlib)."""
    if mask is None:
        return None
    height, width = mask.probability.shape
    head = _MASK_HEAD.pack(*mask.field_of_view.box, height, width)
    return head + zlib.compress(to_8_bits(mask.probability).tobytes(), 1)


def decode_mask(blob: bytes | None) -> Mask | None:
    if blob is None:
        return None
    *field, height, width = _MASK_HEAD.unpack_from(blob)
    levels = np.frombuffer(zlib.decompress(blob[_MASK_HEAD.size :]), np.uint8).reshape(height, width)
    return Mask(levels.astype(np.float32) / np.float32(255), FieldOfView(*field))


def to_8_bits(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """255 times the probability, rounded: (h, w) uint8."""
    return np.rint(probability * 255).astype(np.uint8)


def encode_field(field: FieldOfView) -> bytes:
    return _FIELD.pack(*field.box)


def decode_field(blob: bytes) -> FieldOfView:
    return FieldOfView(*_FIELD.unpack(blob))


def encode_camera(camera: NDArray[np.float32] | None) -> bytes | None:
    """(2, 3) float32."""
    return None if camera is None else camera.astype("<f4").tobytes()


def decode_camera(blob: bytes | None) -> NDArray[np.float32] | None:
    return None if blob is None else np.frombuffer(blob, "<f4").reshape(2, 3).astype(np.float32)


def encode_appearances(appearances: Sequence[tuple[Boxes, NDArray[np.float32]]]) -> bytes | None:
    """For each: a box (4,) and a patch (12, 12, 3), float32. None for none."""
    parts = [np.concatenate([box.ravel(), patch.ravel()]).astype("<f4").tobytes() for box, patch in appearances]
    return b"".join(parts) or None


def decode_appearances(blob: bytes | None) -> tuple[tuple[Boxes, NDArray[np.float32]], ...]:
    rows = np.frombuffer(blob or b"", "<f4").reshape(-1, _PATCH_BYTES // 4).astype(np.float32)
    return tuple((row[:4], row[4:].reshape(_PATCH_PX, _PATCH_PX, 3)) for row in rows)
