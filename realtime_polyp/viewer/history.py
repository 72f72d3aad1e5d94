"""What was shown before, to step back to: overlays without their pictures, and the newest pictures. Bounded."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Frame, Result
from realtime_polyp.viewer.displayed import DisplayedFrame

_OVERLAY_BYTES, _PICTURE_BYTES = 96 << 20, 64 << 20
_PLAIN_BYTES = 4096  # of an overlay without masks, roughly


class History:
    """Remembers shown frames by their index. The oldest are forgotten first.

    overlay_bytes, picture_bytes: the memory for overlays and for pictures.
    """

    def __init__(self, overlay_bytes: int = _OVERLAY_BYTES, picture_bytes: int = _PICTURE_BYTES) -> None:
        self._shown: OrderedDict[int, DisplayedFrame] = OrderedDict()
        self._pictures: OrderedDict[int, Image] = OrderedDict()
        self._free_overlay_bytes, self._free_picture_bytes = overlay_bytes, picture_bytes

    def add(self, frame: Frame, result: Result | None) -> None:
        """Remember what is shown now, and for a while its picture."""
        index, shown = frame.index, DisplayedFrame(_without_picture(frame), _light(result), again=True)
        self._forget(index)
        self._shown[index], self._pictures[index] = shown, frame.image
        self._free_overlay_bytes -= _bytes_of(shown)
        self._free_picture_bytes -= frame.image.nbytes
        while self._free_overlay_bytes < 0 and len(self._shown) > 1:
            self._free_overlay_bytes += _bytes_of(self._shown.popitem(last=False)[1])
        while self._free_picture_bytes < 0 and len(self._pictures) > 1:
            self._free_picture_bytes += self._pictures.popitem(last=False)[1].nbytes

    def find(self, index: int) -> DisplayedFrame | None:
        """What was shown of a frame, on a black picture that takes no memory; None where it was not shown."""
        return self._shown.get(index)

    def picture(self, index: int) -> Image | None:
        """The picture of a frame, if it was shown a moment ago."""
        return self._pictures.get(index)

    def _forget(self, index: int) -> None:
        if index in self._shown:
            self._free_overlay_bytes += _bytes_of(self._shown.pop(index))
        if index in self._pictures:
            self._free_picture_bytes += self._pictures.pop(index).nbytes


def with_picture(shown: DisplayedFrame, image: Image) -> DisplayedFrame:
    """Give a remembered frame its picture (H, W, 3) back."""
    frame, result = replace(shown.frame, image=image), shown.result
    if result is not None and result.frame.index == frame.index:
        raw = replace(result.raw, frame=frame) if result.raw else None
        result = replace(result, frame=frame, raw=raw)
    return replace(shown, frame=frame, result=result)


def _without_picture(frame: Frame) -> Frame:
    return replace(frame, image=np.broadcast_to(np.uint8(0), frame.image.shape), planes=None)


def _light(result: Result | None) -> Result | None:
    """The same result without everything that only the pipeline needs."""
    if result is None:
        return None
    frame = _without_picture(result.frame)
    raw = replace(result.raw, frame=frame) if result.raw else None
    return replace(result, frame=frame, raw=raw, cues=None)


def _bytes_of(shown: DisplayedFrame) -> int:
    result = shown.result
    masks = [result.mask, result.raw.mask if result.raw else None] if result else []
    return _PLAIN_BYTES + sum(mask.probability.nbytes for mask in masks if mask is not None)
