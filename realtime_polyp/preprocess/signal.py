"""Whether the picture is alive, black or frozen."""

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Signal

_FROZEN_AFTER_S = 1.0
_SAMPLE_STEP = 16
_STILL_LEVEL = 1.0  # of 255, mean change of a picture that is frozen and encoded again
_BLACK_LEVEL = 24


class SignalMonitor:
    """Tells a black and a frozen picture from a living one, by the field alone: a clock in the banner goes on."""

    def __init__(self) -> None:
        self._reference: NDArray[np.int16] | None = None
        self._changed_s = 0.0

    def update(self, field: Image, pts_s: float) -> Signal:
        """The signal's state at this frame; field: the view of it that shows the endoscope's picture (h, w, 3)."""
        sample = field[::_SAMPLE_STEP, ::_SAMPLE_STEP].astype(np.int16)
        if self._moved(sample) or pts_s < self._changed_s:
            self._reference, self._changed_s = sample, pts_s
        if sample.max(initial=0) < _BLACK_LEVEL:
            return "black"
        return "frozen" if pts_s - self._changed_s >= _FROZEN_AFTER_S else "ok"

    def _moved(self, sample: NDArray[np.int16]) -> bool:
        """Against the picture at the last change, so that slow movement adds up; encoding alone stays below."""
        reference = self._reference
        if reference is None or reference.shape != sample.shape:
            return True
        return float(np.abs(sample - reference).mean()) > _STILL_LEVEL
