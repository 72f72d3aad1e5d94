"""A stretch of a polyp that is being filled in between drawn boxes: until it is stored, cancelled or out of date."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace

from realtime_polyp.review.actions import Box, Stretch
from realtime_polyp.review.fill import FilledFrame
from realtime_polyp.viewer.judging import Judging, stretch_of


class Filling:
    """Runs on a thread of its own from the start; everything here is used on the window's thread.

    polyp: its number, or `NEW_POLYP`. keys: the drawn boxes, {frame: box}. clicks, seconds: what drawing them cost.
    keeps_edits: see `Stretch`.
    """

    def __init__(
        self, judging: Judging, polyp: int, keys: Mapping[int, Box], *, clicks: int, seconds: float, keeps_edits: bool
    ) -> None:
        self._judging, self.polyp, self._clicks, self._seconds = judging, polyp, clicks, seconds
        self._keeps_edits = keeps_edits
        self._drawn = self._drawn_now()
        self._future: Future[list[FilledFrame]] = judging.start_fill(keys)

    @property
    def is_done(self) -> bool:
        return self._future.done()

    @property
    def is_outdated(self) -> bool:
        """Whether a box or outline of the polyp was drawn or taken back meanwhile: the stretch would replace it."""
        return self._drawn != self._drawn_now()

    def stretch(self) -> Stretch:
        """What was filled in. Raises ValueError, OSError or sqlite3.Error where that was not possible."""
        found = stretch_of(self.polyp, self._future.result(), clicks=self._clicks, seconds=self._seconds)
        return replace(found, keeps_edits=self._keeps_edits)

    def cancel(self) -> None:
        """End it; nothing comes of it."""
        self._future.cancel()

    def _drawn_now(self) -> tuple[object, object]:
        judgement = self._judging.judgement
        return judgement.boxes.get(self.polyp), judgement.outlines.get(self.polyp)
