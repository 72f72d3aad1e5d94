"""What a timeline shows of a recording: curves and bands by frame, alarms as bars, marks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.review.alarms import SessionAlarm
from realtime_polyp.review.recorded import FrameTable

AlarmSpan = tuple[float, float, int]
"""Start and end, s, and the number of the polyp, which is the id of its track."""


@dataclass(frozen=True, eq=False)  # arrays have no equality: the same object, as long as nothing changes
class TimelineData:
    """One entry per frame in the first four, each (n,); times are those of the timeline, s from 0.

    Attributes:
        times_s: of the frames, rising.
        best_score: highest score of a frame's detections, whatever the threshold; 0: none, or not analysed.
        quality: `FrameQuality` of the frames.
        signal: ok, black or frozen.
        alarms: in order of their start.
        marks: (time, text) of what a person marked, in order.
        other_alarms: of a second analysis (`--reanalyse`); drawn as a second row where there are any.
    """

    times_s: NDArray[np.float64]
    best_score: NDArray[np.float32]
    quality: NDArray[np.str_]
    signal: NDArray[np.str_]
    alarms: tuple[AlarmSpan, ...] = ()
    marks: tuple[tuple[float, str], ...] = ()
    other_alarms: tuple[AlarmSpan, ...] = ()


def timeline_of(
    frames: FrameTable,
    alarms: Sequence[SessionAlarm] = (),
    marks: Sequence[tuple[float, str]] = (),
    other_alarms: Sequence[SessionAlarm] = (),
) -> TimelineData:
    """Return the timeline of a session's frames, on the session's clock, with these alarms and marks."""
    return TimelineData(
        frames.session_s,
        frames.best_score,
        frames.quality,
        frames.signal,
        alarm_spans(alarms),
        tuple(sorted(marks)),
        alarm_spans(other_alarms),
    )


def alarm_spans(alarms: Sequence[SessionAlarm]) -> tuple[AlarmSpan, ...]:
    return tuple((alarm.start_s, alarm.end_s, alarm.track) for alarm in alarms)
