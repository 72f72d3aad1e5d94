"""Where each number was shown, so that a polyp keeps its number when the same part of a recording is watched again."""

from collections.abc import Iterable, Iterator, Set

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.packets import Boxes, Track

_BINS_PER_S = 10
_MOST_PLACES = 50_000  # more than an hour with a polyp in view, 1.6 MB; the oldest are forgotten
_FARTHEST_BINS = 6  # as long as the tracker goes on with a track by its place, `TemporalConfig.release_s`
_SAME_IOU = 0.3  # at the same time in the same video, what overlaps this much is the same polyp
_PLACE = np.dtype([("bin", np.int64), ("number", np.int64), ("box", np.float32, 4)])

_Places = NDArray[np.void]
"""Places (n,) of `_PLACE`."""


class NumberMemory:
    """Remembers in tenths of a second of video time which number was where. Until the first seek, nothing is found."""

    def __init__(self) -> None:
        self._earlier: _Places = np.zeros(0, _PLACE)  # ordered by bin
        self._now: _Places = np.zeros(0, _PLACE)  # in the order of time; the first `_used` are
        self._used = 0
        self._bin: int | None = None
        self._latest: dict[int, Boxes] = {}  # of `_bin`

    def add(self, pts_s: float, tracks: Iterable[Track]) -> None:
        """Remember the visible tracks of a frame."""
        now = _bin(pts_s)
        if now != self._bin:
            self._store()
            self._bin = now
        for track in tracks:
            if track.visible:
                self._latest[track.id] = track.box

    def seek(self) -> None:
        """What was shown up to now can be found from now on. Where a part was watched twice, the first time counts."""
        self._store()
        places = np.concatenate([self._earlier, self._now[: self._used]])
        _, first = np.unique(places[["bin", "number"]], return_index=True)
        kept = places[np.sort(first)[-_MOST_PLACES:]]
        self._earlier = kept[np.argsort(kept["bin"], kind="stable")]
        self._now, self._used, self._bin = np.zeros(0, _PLACE), 0, None

    def find(self, pts_s: float, box: Boxes, taken: Set[int]) -> int | None:
        """Return the number that was shown at this time and place before a seek; None without one.

        Where nothing was shown at this time, such as where pace was kept, the next moments count, as for the tracker.
        box: (4,) xyxy, source px. taken: numbers that other tracks have now.
        """
        now = _bin(pts_s)
        for distances in ((0, -1, 1), *((-far, far) for far in range(2, _FARTHEST_BINS + 1))):
            best_iou, best = _SAME_IOU, None
            for distance in distances:
                for number, place in self._places_at(now + distance):
                    iou = 0.0 if number in taken else float(pairwise_iou(box[None], place[None])[0, 0])
                    if iou >= best_iou:
                        best_iou, best = iou, number
            if best is not None:
                return best
        return None

    def _store(self) -> None:
        """Append the places of the latest bin."""
        for number, box in self._latest.items():
            if self._used == _MOST_PLACES:
                self._now[: _MOST_PLACES // 2] = self._now[_MOST_PLACES // 2 :]
                self._used = _MOST_PLACES // 2
            if self._used == len(self._now):
                grown = np.zeros(min(_MOST_PLACES, max(64, 2 * len(self._now))), _PLACE)
                grown[: self._used] = self._now
                self._now = grown
            self._now[self._used] = (self._bin, number, box)
            self._used += 1
        self._latest = {}

    def _places_at(self, when: int) -> Iterator[tuple[int, Boxes]]:
        """Yield the numbers and boxes of a bin, those that were seen first last: of equals, the last is taken."""
        first, last = np.searchsorted(self._earlier["bin"], (when, when + 1))
        for place in self._earlier[first:last][::-1]:
            yield int(place["number"]), place["box"]


def _bin(pts_s: float) -> int:
    return int(np.floor(pts_s * _BINS_PER_S))
