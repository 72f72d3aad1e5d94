"""The alarms of a session, from its tracks: by the rules of `temporal.alarms.AlarmKeeper`, for all frames at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import LONGEST_STEP_S
from realtime_polyp.review.recorded import FrameTable
from realtime_polyp.review.tracks import TrackTable
from realtime_polyp.temporal.alarms import SAME_ALARM_S, Box

_ROUNDING_S = 1e-6
_LIKELY_PERIOD_S = 1 / 30


@dataclass(frozen=True)
class SessionAlarm:
    """One polyp's time on the screen.

    Attributes:
        number: 1, 2, ... in order of start_s.
        track: id of its track.
        start_s, end_s: session's clock, s.
        shown_s: time on the screen, without the gaps, s.
        peak_score: highest score of the track.
        first, last: numbers of the frames.
        best: number of the frame with the highest score, a clear one if there is one.
        box: the track's box in that frame, xyxy source px.
    """

    number: int
    track: int
    start_s: float
    end_s: float
    shown_s: float
    peak_score: float
    first: int
    last: int
    best: int
    box: Box


def find_alarms(frames: FrameTable, tracks: TrackTable) -> tuple[SessionAlarm, ...]:
    """Return the alarms of all tracks, in order of their start.

    Nothing is shown over a black or frozen picture. A cut ends all alarms, also one at a frame that was skipped.
    """
    rows = np.searchsorted(frames.number, tracks.number)
    drawn = np.flatnonzero(tracks.visible & (frames.signal[rows] == "ok"))
    if not len(drawn):
        return ()
    scenes, ends_s, pts_ends_s = _frame_ends(frames)
    drawn = drawn[np.argsort(tracks.id[drawn], kind="stable")]
    rows, ids = rows[drawn], tracks.id[drawn]
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (np.diff(ids) != 0) | (np.diff(scenes[rows]) != 0)
    begins[1:] |= frames.pts_s[rows[1:]] - pts_ends_s[rows[:-1]] > SAME_ALARM_S + _ROUNDING_S
    starts = np.flatnonzero(begins)
    stops = np.append(starts[1:], len(rows))
    shown_s = np.add.reduceat(ends_s[rows] - frames.session_s[rows], starts)
    scores = tracks.score[drawn]
    is_good = (tracks.state[drawn] == 1) & (frames.quality[rows] == "clear")
    order = np.lexsort((drawn[starts], rows[starts]))
    found = []
    for count, alarm in enumerate(order, 1):
        part = slice(starts[alarm], stops[alarm])
        best = starts[alarm] + int(np.argmax(scores[part] + 2.0 * is_good[part]))
        first, last = rows[starts[alarm]], rows[stops[alarm] - 1]
        found.append(
            SessionAlarm(
                count, int(ids[starts[alarm]]), float(frames.session_s[first]), float(ends_s[last]),
                float(shown_s[alarm]), float(scores[part].max()), int(frames.number[first]),
                int(frames.number[last]), int(frames.number[rows[best]]), _box(tracks.box[drawn[best]]),
            )
        )  # fmt: skip
    return tuple(found)


def frame_period_s(frames: FrameTable) -> float:
    """Return the usual time from frame to frame, s."""
    steps = np.diff(frames.session_s)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else _LIKELY_PERIOD_S


def scenes_of(frames: FrameTable) -> NDArray[np.int64]:
    """Return for each frame the number of cuts up to it: a mark, or a step of the clock backwards or above 1 s."""
    steps = np.diff(frames.pts_s, prepend=frames.pts_s[:1])
    return np.asarray(np.cumsum(~frames.continues | (steps < 0) | (steps > LONGEST_STEP_S)))


def _frame_ends(frames: FrameTable) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return for each frame its scene, and when it ends: on the session's clock and on the source's, s.

    It lasts until the next analysed frame of its scene; the last one of a scene lasts for one period.
    """
    scenes, period_s = scenes_of(frames), frame_period_s(frames)
    analysed = np.flatnonzero(frames.analysed)
    ends_s, pts_ends_s = frames.session_s + period_s, frames.pts_s + period_s
    same = np.diff(scenes[analysed]) == 0
    before, after = analysed[:-1][same], analysed[1:][same]
    ends_s[before], pts_ends_s[before] = frames.session_s[after], frames.pts_s[after]
    return scenes, ends_s, pts_ends_s


def _box(box: NDArray[np.float32]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2
