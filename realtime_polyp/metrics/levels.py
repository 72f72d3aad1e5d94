"""What would have been shown with more demanded of a box: FROC over its score, the withholding curve over its age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.events import DURATIONS_S, SeenFrame, VideoRecord, continues, records_by_level
from realtime_polyp.metrics.overlaps import pairs

SCORES = tuple(round(0.05 * step, 2) for step in range(20))
CONFIRM_TIMES_S = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
_ROUNDING = 1e-6
Records = tuple[VideoRecord, ...]  # of one video or more, always in the same order
Levels = Mapping[float, Records]


def by_score(frames: Sequence[SeenFrame], scores: Sequence[NDArray[np.float32]], *, period_s: float) -> Levels:
    """One video with only the boxes of each of SCORES or more: what a FROC is drawn of. scores: of each shown box."""
    values = [one.astype(np.float64) + _ROUNDING for one in scores]
    return {level: (one,) for level, one in records_by_level(frames, values, SCORES, period_s=period_s).items()}


def by_age(frames: Sequence[SeenFrame], *, period_s: float) -> Levels:
    """One video with boxes withheld until they have been there for each of CONFIRM_TIMES_S without a break."""
    values = [one + _ROUNDING for one in ages(frames)]
    return {
        level: (one,) for level, one in records_by_level(frames, values, CONFIRM_TIMES_S, period_s=period_s).items()
    }


def ages(frames: Sequence[SeenFrame]) -> list[NDArray[np.float64]]:
    """For how long each shown box (n,) has been there, s: it continues the one of the frame before that it overlaps
    most (IoU >= 0.2, each once), and is new after a frame without, a cut or a seek."""
    found: list[NDArray[np.float64]] = []
    for place, frame in enumerate(frames):
        one = np.zeros(len(frame.shown))
        before = frames[place - 1] if place else None
        if before is not None and continues(before, frame):
            for old, new in pairs(before.shown, frame.shown):
                one[new] = found[-1][old] + frame.pts_s - before.pts_s
        found.append(one)
    return found


@dataclass(frozen=True)
class Price:
    """What showing less brings, and what it costs. None where there is nothing to tell it from.

    removed: share of the false alarms that is gone, of each class of DURATIONS_S. delay_s: how much later polyps are
    first shown, median over those shown both times. lost: polyps not shown at all any more.
    """

    removed: Mapping[float, float | None]
    delay_s: float | None
    lost: int


def price(before: Sequence[VideoRecord], after: Sequence[VideoRecord]) -> Price:
    """The same videos, shown twice. Raises ValueError where they hold other polyps."""
    sides = [[polyp for video in videos for polyp in video.polyps] for videos in (before, after)]
    if [polyp.id for polyp in sides[0]] != [polyp.id for polyp in sides[1]]:
        raise ValueError("a price is told of the same videos twice, and these hold other polyps")
    firsts = [(old.first_shown_s, new.first_shown_s) for old, new in zip(*sides, strict=True)]
    delays = [new - old for old, new in firsts if old is not None and new is not None]
    return Price(
        {least_s: _removed(_alarms(before, least_s), _alarms(after, least_s)) for least_s in DURATIONS_S},
        float(np.median(delays)) if delays else None,
        sum(old is not None and new is None for old, new in firsts),
    )


def _alarms(videos: Sequence[VideoRecord], least_s: float) -> int:
    return sum(run.lasts(least_s) for video in videos for run in video.false_alarms)


def _removed(before: int, after: int) -> float | None:
    return 1 - after / before if before else None


def pooled_levels(parts: Sequence[Levels]) -> Levels:
    """The same levels over all videos together."""
    return {level: tuple(one for part in parts for one in part[level]) for level in parts[0]}
