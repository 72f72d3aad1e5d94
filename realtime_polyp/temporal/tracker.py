"""Follow polyps from frame to frame, and filter the mask along with them.

All times are seconds of video time, because a live source drops frames. `track` advances one track, `association`
matches boxes, `camera_motion` measures the camera, `appearance` re-identifies a polyp, `mask_filter` filters the mask.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.packets import LONGEST_STEP_S, Boxes, Detections, Mask, Track
from realtime_polyp.temporal.appearance import PictureAppearances, similarity
from realtime_polyp.temporal.association import proximity
from realtime_polyp.temporal.camera_motion import Camera
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.kalman import displacement
from realtime_polyp.temporal.mask_filter import MaskFilter, TrackMotion
from realtime_polyp.temporal.number_memory import NumberMemory
from realtime_polyp.temporal.track import (
    TrackerInput,
    TrackState,
    associate,
    is_alive,
    mark_missed,
    new_track,
    predict,
    to_track,
    update,
    update_visibility,
)

__all__ = ["Tracker", "TrackerInput", "warm_up"]

_MIN_SIMILARITY = 0.5  # correlation of appearances from which a polyp is re-identified
_APPEARANCE_EVERY_S = 0.25  # how often a track's appearance is refreshed
_SEARCH_SCALE = 2.0  # a polyp is re-identified within this many box sizes of where it should be


class Tracker:
    """Tracks polyps through a video. Call `update` once per frame, in order."""

    def __init__(self, config: TemporalConfig = TemporalConfig()) -> None:
        self.config = config
        self._keys: Iterator[int] = itertools.count(1)
        self._numbers: Iterator[int] = itertools.count(1)
        self._mask = MaskFilter(config.mask_s)
        self._memory = NumberMemory()
        self.reset()

    def reset(self) -> None:
        """Drop all tracks: after a cut, a seek, or a change of the image size. Track numbers continue."""
        self._tracks: list[TrackState] = []
        self._lost: list[TrackState] = []
        self._now_s: float | None = None
        self._mask.reset()

    def seek(self) -> None:
        """The same recording goes on at another place. A polyp that is met again at a time and place where it was shown
        before keeps its number; every other gets a new one."""
        self.reset()
        self._memory.seek()

    @property
    def idle(self) -> bool:
        """Nothing is tracked or remembered; the camera motion then makes no difference."""
        return not self._tracks and not self._lost

    def update(self, frame: TrackerInput) -> tuple[tuple[Track, ...], Mask | None]:
        """Return the tracks and the filtered mask of the frame; the mask is None where the input has none."""
        step_s = self._advance_clock(frame.pts_s, cut=frame.motion.cut)
        before = {track.key: track for track in self._tracks}
        self._tracks = self._follow(frame, step_s)
        motions = [
            TrackMotion(
                before[track.key].box,
                track.box,
                displacement(before[track.key].state, step_s),
                missed=track.seen_s < frame.pts_s,
            )
            for track in self._tracks
            if track.key in before
        ]
        filtered = self._mask.update(frame.mask, motions, frame.motion, step_s)
        tracks = tuple(to_track(track, frame.pts_s) for track in self._tracks)
        self._memory.add(frame.pts_s, tracks)
        return tracks, filtered

    def _advance_clock(self, pts_s: float, *, cut: bool) -> float:
        """Return the seconds since the previous frame; 0 when there is nothing to continue."""
        step_s = 0.0 if self._now_s is None else pts_s - self._now_s
        if step_s < 0 or step_s > LONGEST_STEP_S:
            self.reset()
            step_s = 0.0
        elif cut:
            # Another scene, or something in front of the lens: all tracks end, shown ones can be re-identified.
            self._lost += [track for track in self._tracks if track.is_confirmed]
            self._tracks = []
            self._mask.reset()
        self._now_s = pts_s
        return step_s

    def _follow(self, frame: TrackerInput, step_s: float) -> list[TrackState]:
        """Predict, associate and update all tracks, and start new ones."""
        config, pts_s = self.config, frame.pts_s
        predicted = [predict(track, frame.motion, step_s, config) for track in self._tracks]
        alive = [track for track in predicted if is_alive(track, pts_s, step_s, config)]
        lost = [predict(track, frame.motion, step_s, config) for track in self._lost]
        released = [track for track in predicted if not is_alive(track, pts_s, step_s, config)]
        self._lost = [track for track in lost if pts_s - track.seen_s <= config.reid_window_s]
        self._lost += [track for track in released if track.is_confirmed]
        pairs = associate(alive, frame, config)
        followed = [
            update(track, pairs[index], frame, step_s, config) if index in pairs else mark_missed(track, frame, step_s)
            for index, track in enumerate(alive)
        ]
        started = [
            new_track(next(self._keys), index, frame, config)
            for index, score in enumerate(frame.detections.scores)
            if index not in pairs.values() and score >= frame.start_score
        ]
        return self._assign_numbers([update_visibility(track, pts_s, config) for track in (*followed, *started)], frame)

    def _assign_numbers(self, tracks: list[TrackState], frame: TrackerInput) -> list[TrackState]:
        """Give newly visible tracks a number: that of the track they are re-identified as, or the next one."""
        hidden = [track for track in tracks if not track.drawn]
        taken: set[int] = set()
        numbered = []
        for track in tracks:
            if frame.extract is not None and track.seen_s == frame.pts_s and _needs_appearance(track, frame):
                appearance = frame.extract(track.box)
                track = replace(track, appearance=appearance, appearance_s=frame.pts_s)
            if not track.is_confirmed and track.drawn:
                known = self._reidentify(track, hidden, taken)
                first_s, number = (
                    (known.first_s, known.number) if known else (track.first_s, self._number(track, tracks))
                )
                track = replace(track, number=number, first_s=first_s)
                taken |= {known.key} if known else {one.key for one in self._lost if one.number == number}
            numbered.append(track)
        self._lost = [track for track in self._lost if track.key not in taken]
        return [track for track in numbered if track.key not in taken]

    def _number(self, track: TrackState, tracks: list[TrackState]) -> int:
        """Return the number of the polyp that was at this time and place before a seek, or else the next one."""
        taken = {one.number for one in tracks if one.number is not None}
        known = self._memory.find(track.seen_s, track.box, taken)
        return next(self._numbers) if known is None else known

    def _reidentify(self, track: TrackState, hidden: list[TrackState], taken: set[int]) -> TrackState | None:
        """Return the invisible confirmed track that is near and most similar to this one, if any."""
        candidates = [one for one in (*self._lost, *hidden) if one.is_confirmed and one.key not in taken]
        ranked = [(_reid_similarity(track, one), -one.key, one) for one in candidates]
        best = max(ranked, default=None)
        return best[2] if best and best[0] >= _MIN_SIMILARITY else None


def warm_up(image: Image, field: FieldOfView) -> None:
    """Compile the numba functions ahead of the first frame. image: (H, W, 3) RGB, any picture."""
    camera = Camera()
    tracker = Tracker(TemporalConfig(confirm_s=0.0))
    detections = Detections(np.array([[8, 8, 40, 40]], np.float32), np.ones(1, np.float32))
    for index in range(3):
        extract = PictureAppearances(image).extract
        tracker.update(TrackerInput(detections, None, index / 30, camera.update(image, field), extract))


def _needs_appearance(track: TrackState, frame: TrackerInput) -> bool:
    """Whether to extract the appearance: when the track becomes visible, then at regular intervals in clear frames."""
    if track.appearance is None:
        return track.drawn
    return frame.is_clear and frame.pts_s - track.appearance_s >= _APPEARANCE_EVERY_S


def _reid_similarity(track: TrackState, other: TrackState) -> float:
    """Return the similarity of two tracks' appearances; -1 where they are too far apart or too different in size."""
    near = proximity(_enlarge(track.box)[None], _enlarge(other.box)[None])[0, 0] > 0
    if not near or track.appearance is None or other.appearance is None:
        return -1.0
    return similarity(track.appearance, other.appearance)


def _enlarge(box: Boxes) -> Boxes:
    """Scale a box (4,) xyxy about its centre by _SEARCH_SCALE."""
    half = (box[2:] - box[:2]) * (_SEARCH_SCALE - 1) / 2
    return np.concatenate([box[:2] - half, box[2:] + half])
