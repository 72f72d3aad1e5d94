"""Where each number was shown, so that a polyp keeps its number when the same part of a recording is watched again."""

from collections import OrderedDict
from collections.abc import Iterable, Set

import numpy as np

from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.packets import Boxes, Track

_BINS_PER_S = 10
_MOST_BINS = 36_000  # an hour with a polyp in view, about 15 MB; the oldest are forgotten
_FARTHEST_BINS = 6  # as long as the tracker goes on with a track by its place, `TemporalConfig.release_s`
_SAME_IOU = 0.3  # at the same time in the same video, what overlaps this much is the same polyp

_Bins = OrderedDict[int, dict[int, Boxes]]


class NumberMemory:
    """Remembers in tenths of a second of video time which number was where. Until the first seek, nothing is found."""

    def __init__(self) -> None:
        self._earlier: _Bins = OrderedDict()
        self._now: _Bins = OrderedDict()

    def add(self, pts_s: float, tracks: Iterable[Track]) -> None:
        """Remember the visible tracks of a frame."""
        for track in tracks:
            if track.visible:
                self._now.setdefault(_bin(pts_s), {})[track.id] = track.box
        while len(self._now) > _MOST_BINS:
            self._now.popitem(last=False)

    def seek(self) -> None:
        """What was shown up to now can be found from now on. Where a part was watched twice, the first time counts."""
        for key, places in self._now.items():
            self._earlier[key] = places | self._earlier.get(key, {})
        self._now = OrderedDict()
        while len(self._earlier) > _MOST_BINS:
            self._earlier.popitem(last=False)

    def find(self, pts_s: float, box: Boxes, taken: Set[int]) -> int | None:
        """Return the number that was shown at this time and place before a seek; None without one.

        Where nothing was shown at this time, such as where pace was kept, the next moments count, as for the tracker.
        box: (4,) xyxy, source px. taken: numbers that other tracks have now.
        """
        if not self._earlier:
            return None
        now = _bin(pts_s)
        for distances in ((0, -1, 1), *((-far, far) for far in range(2, _FARTHEST_BINS + 1))):
            best_iou, best = _SAME_IOU, None
            for distance in distances:
                for number, place in self._earlier.get(now + distance, {}).items():
                    iou = 0.0 if number in taken else float(pairwise_iou(box[None], place[None])[0, 0])
                    if iou >= best_iou:
                        best_iou, best = iou, number
            if best is not None:
                return best
        return None


def _bin(pts_s: float) -> int:
    return int(np.floor(pts_s * _BINS_PER_S))
