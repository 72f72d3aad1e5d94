"""Follow polyps from frame to frame, and filter the mask along with them.

All times are seconds of video time, because a live source drops frames. `track` advances the tracks, `association`
matches boxes, `camera_motion` measures the camera, `appearance` re-identifies a polyp, `mask_filter` filters the mask.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.packets import Boxes, Detections, Mask, Track
from realtime_polyp.temporal.appearance import Appearance, PictureAppearances, similarity
from realtime_polyp.temporal.association import proximity
from realtime_polyp.temporal.camera_motion import Camera
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.kalman import displacement
from realtime_polyp.temporal.mask_filter import MaskFilter, TrackMotion
from realtime_polyp.temporal.number_memory import NumberMemory
from realtime_polyp.temporal.track import (
    APPEARANCE_AT,
    APPEARANCE_BOX,
    APPEARANCE_S,
    DRAWN,
    FIRST_S,
    KEY,
    NO_ROWS,
    NUMBER,
    OUT_COLUMNS,
    SEARCH_SCALE,
    SEEN_S,
    Batch,
    Rows,
    Rules,
    TrackerInput,
    advance,
    box_of,
    evidence_of_one,
    keep_time,
    needs_appearance,
    needs_number,
    rules_of,
    run,
    take_appearance,
    to_track,
    write_rows,
)

__all__ = ["Tracker", "TrackerInput", "warm_up"]

_MIN_SIMILARITY = 0.5  # correlation of appearances from which a polyp is re-identified
_LEAST_ROWS = 4096

Extract = Callable[[Boxes], Appearance | None]
AppearanceAt = Callable[[int, Boxes], Appearance | None]
"""Returns the appearance of a box (4,) in a frame of a batch."""


class Tracker:
    """Tracks polyps through a video. Call `update` once per frame, in order, or `run_batch` for many."""

    def __init__(self, config: TemporalConfig = TemporalConfig()) -> None:
        self.config = config
        self._next_key, self._next_number = 1, 1
        self._mask = MaskFilter(config.mask_s)
        self._memory = NumberMemory()
        self.reset()

    def reset(self) -> None:
        """Drop all tracks: after a cut, a seek, or a change of the image size. Track numbers continue."""
        self._tracks: Rows = NO_ROWS
        self._lost: Rows = NO_ROWS
        self._appearances: dict[tuple[float, float], Appearance] = {}  # by key of the track and time
        self._before_s = self._now_s = math.nan  # times of the two frames before
        self._mask.reset()

    def seek(self) -> None:
        """The same recording goes on at another place. A polyp that is met again at a time and place where it was shown
        before keeps its number; every other gets a new one."""
        self.reset()
        self._memory.seek()

    @property
    def idle(self) -> bool:
        """Nothing is tracked or remembered; the camera motion then makes no difference."""
        return not len(self._tracks) and not len(self._lost)

    def update(self, frame: TrackerInput) -> tuple[tuple[Track, ...], Mask | None]:
        """Return the tracks and the filtered mask of the frame; the mask is None where the input has none."""
        pts_s, rules = frame.pts_s, rules_of(self.config, frame.evidence, frame.start_score)
        single_s = evidence_of_one(self._before_s, self._now_s, pts_s)
        step_s, self._tracks, self._lost = keep_time(self._tracks, self._lost, self._now_s, pts_s, frame.motion.cut)
        if frame.motion.cut or not len(self._tracks):
            self._mask.reset()
        self._before_s, self._now_s = self._now_s, pts_s
        before = self._tracks
        found, motion = frame.detections, frame.motion
        self._tracks, self._lost, self._next_key = advance(
            before, self._lost, found.boxes, found.scores, motion.matrix, motion.zoom, motion.known, frame.is_clear,
            pts_s, step_s, single_s, self._next_key, rules,
        )  # fmt: skip
        self._assign_numbers(pts_s, frame.is_clear, _Live(self._appearances, frame.extract))
        filtered = self._mask.update(frame.mask, self._motions(before, step_s), motion, step_s)
        tracks = tuple(to_track(row, pts_s) for row in self._tracks)
        self._memory.add(pts_s, tracks)
        return tracks, filtered

    def run_batch(
        self, batch: Batch, first: int, last: int, rules: Rules, floor: float, appearance_at: AppearanceAt
    ) -> NDArray[np.float64]:
        """Follow polyps through the frames `first` to `last` (excluded) of a batch, as `update` does without masks.

        floor: lowest score of a box that is used. Returns rows with the columns OUT_* of `track`. What is shown is not
        remembered for a later `seek`.
        """
        parts, entry = [], first
        out = np.empty((max(_LEAST_ROWS, 2 * (last - first)), OUT_COLUMNS))
        while entry < last:
            self._tracks, self._lost, self._next_key, self._before_s, self._now_s, entry, used, stops = run(
                self._tracks, self._lost, self._next_key, self._before_s, self._now_s, entry, last, batch, floor,
                rules, out,
            )  # fmt: skip
            if stops:
                done = entry - 1
                self._assign_numbers(
                    self._now_s,
                    bool(batch.is_clear[done]),
                    _Recorded(done, appearance_at, can_see=bool(batch.can_see[done])),
                )
                used = write_rows(self._tracks, done, self._now_s, out, used)
            parts.append(out[:used].copy())
        return np.concatenate(parts) if parts else np.empty((0, OUT_COLUMNS))

    def remember(self, pts_s: float) -> None:
        """Remember what is shown after a batch of one frame, for a later `seek`."""
        self._memory.add(pts_s, tuple(to_track(row, pts_s) for row in self._tracks))

    def _motions(self, before: Rows, step_s: float) -> list[TrackMotion]:
        """How the tracks that go on have moved since the frame before."""
        earlier = {row[KEY]: row for row in before}
        return [
            TrackMotion(
                box_of(earlier[row[KEY]]),
                box_of(row),
                displacement(earlier[row[KEY]], step_s),
                missed=bool(row[SEEN_S] < self._now_s),
            )
            for row in self._tracks
            if row[KEY] in earlier
        ]

    def _assign_numbers(self, pts_s: float, is_clear: bool, appearances: "_Live | _Recorded") -> None:
        """Take appearances, and give newly visible tracks a number: that of the track they are re-identified as, or the
        next one."""
        before, taken = self._tracks.copy(), set[float]()
        is_new = needs_number(before)
        for row in self._tracks:
            if needs_appearance(row, pts_s, is_clear):
                appearances.take(row, pts_s)
            if is_new and row[DRAWN] and not row[NUMBER]:
                known = self._reidentify(row, before, taken, appearances)
                if known is not None:
                    row[FIRST_S], row[NUMBER] = known[FIRST_S], known[NUMBER]
                    taken.add(known[KEY])
                else:
                    row[NUMBER] = self._number(row)
                    taken |= {lost[KEY] for lost in self._lost if lost[NUMBER] == row[NUMBER]}
        if taken:
            self._tracks, self._lost = (
                np.array([row for row in rows if row[KEY] not in taken]).reshape(-1, rows.shape[1])
                for rows in (self._tracks, self._lost)
            )
        appearances.forget_all_but((*self._tracks, *self._lost))

    def _number(self, row: Rows) -> int:
        """Return the number of the polyp that was at this time and place before a seek, or else the next one."""
        taken = {int(number) for number in self._tracks[:, NUMBER] if number}  # also those given in this frame
        known = self._memory.find(float(row[SEEN_S]), box_of(row), taken)
        if known is not None:
            return known
        self._next_number += 1
        return self._next_number - 1

    def _reidentify(self, row: Rows, tracks: Rows, taken: set[float], appearances: "_Live | _Recorded") -> Rows | None:
        """Return the invisible confirmed track that is near and most similar to this one, if any."""
        candidates = [*self._lost, *(one for one in tracks if not one[DRAWN])]
        ranked = [
            (_reid_similarity(row, one, appearances), -one[KEY], one)
            for one in candidates
            if one[NUMBER] and one[KEY] not in taken
        ]
        best = max(ranked, default=None, key=lambda one: one[:2])
        return best[2] if best and best[0] >= _MIN_SIMILARITY else None


class _Live:
    """Appearances that are taken from the picture of the moment.

    patches: of all tracks, by key and time. extract: takes one of a box; None: tracks are not re-identified.
    """

    def __init__(self, patches: dict[tuple[float, float], Appearance], extract: Extract | None) -> None:
        self._patches, self._extract = patches, extract

    def take(self, row: Rows, pts_s: float) -> None:
        """Take the appearance of a track (COLUMNS,) where it is now."""
        if self._extract is None:
            return
        patch = self._extract(box_of(row))
        take_appearance(row, -1 if patch is None else 0, pts_s)
        if patch is not None:
            self._patches[row[KEY], pts_s] = patch

    def of(self, row: Rows) -> Appearance | None:
        """Return the appearance of a track (COLUMNS,)."""
        return self._patches.get((row[KEY], row[APPEARANCE_S])) if row[APPEARANCE_AT] >= 0 else None

    def forget_all_but(self, rows: Iterable[Rows]) -> None:
        """Forget what belongs to no track (COLUMNS,)."""
        used = {(row[KEY], row[APPEARANCE_S]) for row in rows}
        for key in [key for key in self._patches if key not in used]:
            del self._patches[key]


class _Recorded:
    """Appearances of frames of a batch, looked up only when they are compared. entry: the frame of the moment."""

    def __init__(self, entry: int, appearance_at: AppearanceAt, *, can_see: bool) -> None:
        self._entry, self._appearance_at, self._can_see = entry, appearance_at, can_see

    def take(self, row: Rows, pts_s: float) -> None:
        take_appearance(row, self._entry if self._can_see else -1, pts_s)

    def of(self, row: Rows) -> Appearance | None:
        if row[APPEARANCE_AT] < 0:
            return None
        box = row[APPEARANCE_BOX : APPEARANCE_BOX + 4].astype(np.float32)
        return self._appearance_at(int(row[APPEARANCE_AT]), box)

    def forget_all_but(self, rows: Iterable[Rows]) -> None:
        """Nothing is kept here."""


def warm_up(image: Image, field: FieldOfView) -> None:
    """Compile the numba functions ahead of the first frame. image: (H, W, 3) RGB, any picture."""
    camera = Camera()
    tracker = Tracker(TemporalConfig(confirm_s=0.0))
    detections = Detections(np.array([[8, 8, 40, 40]], np.float32), np.ones(1, np.float32))
    for index in range(3):
        extract = PictureAppearances(image).extract
        tracker.update(TrackerInput(detections, None, index / 30, camera.update(image, field), extract))


def _reid_similarity(row: Rows, other: Rows, appearances: _Live | _Recorded) -> float:
    """Return the similarity of two tracks' appearances; -1 where they are too far apart or too different in size."""
    near = proximity(box_of(row)[None], box_of(other)[None], SEARCH_SCALE)[0, 0] > 0
    if not near:
        return -1.0
    mine, others = appearances.of(row), appearances.of(other)
    return -1.0 if mine is None or others is None else similarity(mine, others)
