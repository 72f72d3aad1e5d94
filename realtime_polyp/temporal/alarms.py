"""Alarms: the time for which one polyp is on the screen, from the frame that first shows it until it is gone.

An alarm has a start, a duration and a best frame. All times are seconds of video time. A frame lasts until the next
one, as in `metrics.events`; the last one before a cut or the end lasts for one frame period.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Boxes, Frame, Result, Track

SAME_ALARM_S = 1.0
"""A polyp that disappears for no longer than this continues its alarm: for the viewer it blinked. After a longer gap a
new alarm starts, because the viewer's attention has moved on, even if the tracker re-identifies the polyp. It is longer
than the default release_s, within which a track continues."""

EndReason = Literal["gone", "cut", "seek", "end"]
Measure = Callable[[Result, Track], float]
Box = tuple[float, float, float, float]

_ROUNDING_S = 1e-6
_SHARPNESS_PX = 96


@dataclass(frozen=True)
class Best:
    """The frame that shows the polyp best.

    Attributes:
        index: of the frame.
        pts_s: time of the frame, video seconds.
        box: the track's box in that frame, xyxy source px.
        score: the track's score in that frame.
        result: the result of that frame.
    """

    index: int
    pts_s: float
    box: Box
    score: float
    result: Result = field(compare=False, repr=False)


@dataclass(frozen=True)
class Alarm:
    """One polyp's time on the screen.

    Attributes:
        number: 1, 2, ... in order of start_s.
        track: id of the track; two alarms share it when the polyp returns after SAME_ALARM_S.
        start_s: time of the first frame that shows it, video seconds.
        end_s: when it left the screen, video seconds; until now for an open alarm.
        shown_s: time on the screen, without the gaps.
        peak_score: highest score of the track.
        best: the frame that shows the polyp best.
        ended: None while it is open; else "gone" from the picture, a "cut", a "seek", or the "end" of the video.
    """

    number: int
    track: int
    start_s: float
    end_s: float
    shown_s: float
    peak_score: float
    best: Best
    ended: EndReason | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class _OpenAlarm:
    """An alarm that may continue. merit: of its best frame; visible: on the screen in the previous frame."""

    alarm: Alarm
    merit: tuple[bool, float]
    visible: bool = True


def sharpness(image: Image, box: Boxes) -> float:
    """Return the sharpness of a box (4,) xyxy px in an image (H, W, 3): the mean absolute Laplacian, in grey levels.

    The box is resized to 96 x 96 px first; otherwise near polyps would count as blurred.
    """
    (x1, y1), (x2, y2) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    cut = image[max(0, y1) : y2, max(0, x1) : x2]
    if not cut.size:
        return 0.0
    small = cv2.resize(cut, (_SHARPNESS_PX, _SHARPNESS_PX), interpolation=cv2.INTER_AREA)
    edges = cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(np.abs(edges).mean())


def score_and_sharpness(result: Result, track: Track) -> float:
    """Return the default measure of how well a frame shows a track."""
    return track.score * sharpness(result.frame.image, track.box)


class AlarmKeeper:
    """Turns results into alarms. Call `update` once per result, in order; the alarms depend on the results only.

    period_s: the frame period of the video. measure: ranks the frames of an alarm; frames in which the polyp is held or
    the view is not clear rank below all others.
    """

    def __init__(self, *, period_s: float = 1 / 30, measure: Measure = score_and_sharpness) -> None:
        self._period_s, self._measure = period_s, measure
        self._open: dict[int, _OpenAlarm] = {}
        self._last: Frame | None = None
        self._count = 0

    @property
    def open_alarms(self) -> tuple[Alarm, ...]:
        """The alarms that may continue: on the screen, or gone for no longer than SAME_ALARM_S."""
        return tuple(one.alarm for one in self._open.values())

    def update(self, result: Result) -> tuple[Alarm, ...]:
        """Return the alarms that have ended, then those that start with this frame."""
        cut = self._end_all("cut") if self._is_cut(result.frame) else ()
        now_s = result.frame.pts_s
        self._last = result.frame
        # Like the overlay: nothing is shown over a black or frozen picture.
        visible = {track.id: track for track in result.tracks if track.visible} if result.signal == "ok" else {}
        self._open = {key: _extend(one, now_s) for key, one in self._open.items()}
        gone = self._end_gone(now_s)
        for key, one in self._open.items():
            seen = key in visible
            self._open[key] = self._continue(one, result, visible[key]) if seen else replace(one, visible=False)
        started = [self._start(result, track) for key, track in visible.items() if key not in self._open]
        self._open |= {one.alarm.track: one for one in started}
        return cut + gone + tuple(one.alarm for one in started)

    def seek(self) -> tuple[Alarm, ...]:
        """The video goes on elsewhere; return the alarms that end with that."""
        ended, self._last = self._end_all("seek"), None
        return ended

    def close(self) -> tuple[Alarm, ...]:
        """End the video and return the alarms that end with it."""
        return self._end_all("end")

    def _is_cut(self, frame: Frame) -> bool:
        return self._last is not None and not frame.follows(self._last)

    def _end_all(self, reason: EndReason) -> tuple[Alarm, ...]:
        ended, self._open = self._open, {}
        until_s = self._last.pts_s + self._period_s if self._last else 0.0
        return tuple(
            replace(_extend(one, until_s).alarm, ended=reason if one.visible else "gone") for one in ended.values()
        )

    def _end_gone(self, now_s: float) -> tuple[Alarm, ...]:
        """End the alarms that were away for too long."""
        gone = [key for key, one in self._open.items() if now_s - one.alarm.end_s > SAME_ALARM_S + _ROUNDING_S]
        return tuple(replace(self._open.pop(key).alarm, ended="gone") for key in gone)

    def _start(self, result: Result, track: Track) -> _OpenAlarm:
        self._count += 1
        now_s = result.frame.pts_s
        best = _best_of(result, track)
        alarm = Alarm(self._count, track.id, now_s, now_s, 0.0, track.score, best)
        return _OpenAlarm(alarm, self._merit(result, track))

    def _continue(self, one: _OpenAlarm, result: Result, track: Track) -> _OpenAlarm:
        merit = self._merit(result, track)
        better = merit > one.merit
        best = _best_of(result, track) if better else one.alarm.best
        now_s, peak_score = result.frame.pts_s, max(one.alarm.peak_score, track.score)
        alarm = replace(one.alarm, end_s=now_s, peak_score=peak_score, best=best)
        return _OpenAlarm(alarm, merit if better else one.merit)

    def _merit(self, result: Result, track: Track) -> tuple[bool, float]:
        return track.state == "shown" and result.frame_quality == "clear", self._measure(result, track)


def _extend(one: _OpenAlarm, until_s: float) -> _OpenAlarm:
    """Extend a visible alarm until the current frame."""
    if not one.visible:
        return one
    shown_s = one.alarm.shown_s + until_s - one.alarm.end_s
    return replace(one, alarm=replace(one.alarm, end_s=until_s, shown_s=shown_s))


def _best_of(result: Result, track: Track) -> Best:
    x1, y1, x2, y2 = (float(value) for value in track.box)
    return Best(result.frame.index, result.frame.pts_s, (x1, y1, x2, y2), track.score, result)
