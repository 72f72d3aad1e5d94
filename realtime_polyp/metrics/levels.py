"""Event metrics at other thresholds: FROC over the score of a box, withholding curve over its age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.events import DURATIONS_S, SeenFrame, VideoRecord, continues, records_by_level
from realtime_polyp.metrics.overlaps import pairs

SCORES = tuple(round(0.05 * step, 2) for step in range(20))
CONFIRM_TIMES_S = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
_ROUNDING = 1e-6
Records = tuple[VideoRecord, ...]  # one per video, always in the same order
Levels = Mapping[float, Records]  # threshold -> the records at it


def by_score(frames: Sequence[SeenFrame], scores: Sequence[NDArray[np.float32]], *, period_s: float) -> Levels:
    """Return the events of one video at each score threshold of SCORES, the points of a FROC curve.

    scores: (n,) of the shown boxes, for each frame.
    """
    values = [one.astype(np.float64) + _ROUNDING for one in scores]
    return {level: (one,) for level, one in records_by_level(frames, values, SCORES, period_s=period_s).items()}


def by_age(frames: Sequence[SeenFrame], *, period_s: float) -> Levels:
    """Return the events of one video if boxes are withheld until they have existed for each of CONFIRM_TIMES_S."""
    values = [one + _ROUNDING for one in ages(frames)]
    return {
        level: (one,) for level, one in records_by_level(frames, values, CONFIRM_TIMES_S, period_s=period_s).items()
    }


def ages(frames: Sequence[SeenFrame]) -> list[NDArray[np.float64]]:
    """Return the age of each shown box (n,), s.

    Boxes continue those of the frame before, matched one to one at IoU >= 0.2. A box without a match has age 0, as has
    every box after a cut or a seek.
    """
    result: list[NDArray[np.float64]] = []
    for index, frame in enumerate(frames):
        ages_s = np.zeros(len(frame.shown))
        before = frames[index - 1] if index else None
        if before is not None and continues(before, frame):
            for old, new in pairs(before.shown, frame.shown):
                ages_s[new] = result[-1][old] + frame.pts_s - before.pts_s
        result.append(ages_s)
    return result


@dataclass(frozen=True)
class Price:
    """Benefit and cost of showing less.

    Attributes:
        removed: {minimum duration, s: share of the false alarms that is removed} for each class of DURATIONS_S; None
            if there was no alarm.
        delay_s: median delay of the first-detection time over polyps shown in both, s; None if there is none.
        lost: number of polyps that are no longer shown.
    """

    removed: Mapping[float, float | None]
    delay_s: float | None
    lost: int


def price(before: Sequence[VideoRecord], after: Sequence[VideoRecord]) -> Price:
    """Compare two records of the same videos. Raises ValueError if their polyps differ."""
    sides = [[polyp for video in videos for polyp in video.polyps] for videos in (before, after)]
    if [polyp.id for polyp in sides[0]] != [polyp.id for polyp in sides[1]]:
        raise ValueError("both records must be of the same videos; their polyps differ")
    firsts = [(old.first_shown_s, new.first_shown_s) for old, new in zip(*sides, strict=True)]
    delays = [new - old for old, new in firsts if old is not None and new is not None]
    return Price(
        {least_s: _share_removed(before, after, least_s) for least_s in DURATIONS_S},
        float(np.median(delays)) if delays else None,
        sum(old is not None and new is None for old, new in firsts),
    )


def _share_removed(before: Sequence[VideoRecord], after: Sequence[VideoRecord], least_s: float) -> float | None:
    """Return the share of false alarms of at least this duration that is removed; None without such an alarm."""
    old, new = (sum(run.lasts(least_s) for video in videos for run in video.false_alarms) for videos in (before, after))
    return 1 - new / old if old else None


def pool_levels(parts: Sequence[Levels]) -> Levels:
    """Join the records of several videos at the same levels."""
    return {level: tuple(one for part in parts for one in part[level]) for level in parts[0]}
