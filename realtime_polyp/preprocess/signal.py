"""Detects a black or frozen picture."""

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Signal

_FROZEN_AFTER_S = 1.0
_SAMPLE_STEP = 16
_STILL_LEVEL = 1.0  # of 255, mean change of a frozen picture through encoding
_BLACK_LEVEL = 24


class SignalMonitor:
    """Tells black and frozen pictures from live ones, by the field of view alone: a clock beside it keeps changing."""

    def __init__(self) -> None:
        self._reference: NDArray[np.int16] | None = None
        self._changed_s = 0.0

    def update(self, field: Image, pts_s: float) -> Signal:
        """Return the signal's state. field: the frame's field of view (h, w, 3)."""
        sample = field[::_SAMPLE_STEP, ::_SAMPLE_STEP].astype(np.int16)
        if self._has_changed(sample) or pts_s < self._changed_s:
            self._reference, self._changed_s = sample, pts_s
        if sample.max(initial=0) < _BLACK_LEVEL:
            return "black"
        return "frozen" if pts_s - self._changed_s >= _FROZEN_AFTER_S else "ok"

    def _has_changed(self, sample: NDArray[np.int16]) -> bool:
        """Compare with the picture at the last change, so slow movement adds up while encoding noise does not."""
        reference = self._reference
        if reference is None or reference.shape != sample.shape:
            return True
        return float(np.abs(sample - reference).mean()) > _STILL_LEVEL
