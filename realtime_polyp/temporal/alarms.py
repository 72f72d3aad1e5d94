"""Alarms: one polyp's time on the screen, from the frame that first shows it until it is gone.

Frames are what the tracker works with; an alarm is what a person remembers: when it came, how long it stayed, and its
best picture. All times are seconds of the video's own clock, and a frame lasts until the next one, as in
`metrics.events`; the last one before a cut or the end lasts for the video's period.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Boxes, Frame, Result, Track

SAME_ALARM_S = 1.0
"""A polyp that is away for no longer than this goes on with its alarm: to whoever watches it has blinked, not left.
After that they have looked elsewhere, and must be told anew, though the tracker may know the polyp again and give it
its old number. It is longer than the usual release_s, within which a track simply goes on."""

Ending = Literal["gone", "cut", "end"]
Measure = Callable[[Result, Track], float]
Box = tuple[float, float, float, float]

_LONGEST_STEP_S = 1.0  # a longer step of the clock, or one backwards, is a cut or a seek
_ROUNDING_S = 1e-6
_SHARPNESS_PX = 96


@dataclass(frozen=True)
class Best:
    """The frame that shows the polyp best. score: the track's in that frame; box: xyxy source px."""

    index: int
    pts_s: float
    box: Box
    score: float
    result: Result = field(compare=False, repr=False)


@dataclass(frozen=True)
class Alarm:
    """number: 1, 2, ... in the order of beginning. track: the polyp's id, of two alarms when it came back late.

    end_s: when it left the screen; of an alarm that is still going, so far. shown_s: without the gaps it bridged.
    ended: None while it goes on; gone from the picture, cut off by a cut or a seek, or by the end of the video.
    """

    number: int
    track: int
    start_s: float
    end_s: float
    shown_s: float
    peak_score: float
    best: Best
    ended: Ending | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class _Going:
    """An alarm that may go on. merit: of its best frame. visible: in the frame before."""

    alarm: Alarm
    merit: tuple[bool, float]
    visible: bool = True


def sharpness(image: Image, box: Boxes) -> float:
    """How sharp a box of an image (H, W, 3) RGB is: the mean absolute Laplacian, in grey levels.

    Always of 96 x 96 px, so that a near polyp, of which more is to be seen, does not pass for a blurred one.
    """
    (x1, y1), (x2, y2) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    cut = image[max(0, y1) : y2, max(0, x1) : x2]
    if not cut.size:
        return 0.0
    small = cv2.resize(cut, (_SHARPNESS_PX, _SHARPNESS_PX), interpolation=cv2.INTER_AREA)
    edges = cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(np.abs(edges).mean())


def score_and_sharpness(result: Result, track: Track) -> float:
    return track.score * sharpness(result.frame.image, track.box)


class AlarmKeeper:
    """Results in, in order; out come alarms as they begin and end: the same for the same results.

    period_s: one over the video's exact rate. measure: what makes one frame better than another of the same alarm;
    frames in which the polyp is held or the view is not clear come after all others.
    """

    def __init__(self, *, period_s: float = 1 / 30, measure: Measure = score_and_sharpness) -> None:
        self._period_s, self._measure = period_s, measure
        self._going: dict[int, _Going] = {}
        self._last: Frame | None = None
        self._begun = 0

    @property
    def going(self) -> tuple[Alarm, ...]:
        """Those that may go on: on the screen, or gone for no longer than SAME_ALARM_S."""
        return tuple(one.alarm for one in self._going.values())

    def update(self, result: Result) -> tuple[Alarm, ...]:
        """The alarms that have ended, then those that begin with this frame."""
        cut = self._end_all("cut") if self._is_cut(result.frame) else ()
        now_s = result.frame.pts_s
        self._last = result.frame
        # As the overlay: nothing is shown over a picture that is black or frozen.
        visible = {track.id: track for track in result.tracks if track.visible} if result.signal == "ok" else {}
        self._going = {key: _lasting(one, now_s) for key, one in self._going.items()}
        gone = self._drop(visible, now_s)
        for key, one in self._going.items():
            self._going[key] = self._seen(one, result, visible[key]) if key in visible else replace(one, visible=False)
        begun = [self._begin(result, track) for key, track in visible.items() if key not in self._going]
        self._going |= {one.alarm.track: one for one in begun}
        return cut + gone + tuple(one.alarm for one in begun)

    def close(self) -> tuple[Alarm, ...]:
        """The video is over: the alarms that end with it."""
        return self._end_all("end")

    def _is_cut(self, frame: Frame) -> bool:
        return self._last is not None and (frame.is_still or not 0 <= frame.pts_s - self._last.pts_s <= _LONGEST_STEP_S)

    def _end_all(self, how: Ending) -> tuple[Alarm, ...]:
        ending, self._going = self._going, {}
        until_s = self._last.pts_s + self._period_s if self._last else 0.0
        return tuple(
            replace(_lasting(one, until_s).alarm, ended=how if one.visible else "gone") for one in ending.values()
        )

    def _drop(self, visible: dict[int, Track], now_s: float) -> tuple[Alarm, ...]:
        """Those that were away for too long, or whose number another polyp has now."""
        gone = [
            key
            for key, one in self._going.items()
            if now_s - one.alarm.end_s > SAME_ALARM_S + _ROUNDING_S
            or (key in visible and _is_another(visible[key], one.alarm, now_s))
        ]
        return tuple(replace(self._going.pop(key).alarm, ended="gone") for key in gone)

    def _begin(self, result: Result, track: Track) -> _Going:
        self._begun += 1
        now_s = result.frame.pts_s
        best = _best(result, track)
        alarm = Alarm(self._begun, track.id, now_s, now_s, 0.0, track.score, best)
        return _Going(alarm, self._merit(result, track))

    def _seen(self, one: _Going, result: Result, track: Track) -> _Going:
        merit = self._merit(result, track)
        better = merit > one.merit
        best = _best(result, track) if better else one.alarm.best
        now_s, peak_score = result.frame.pts_s, max(one.alarm.peak_score, track.score)
        alarm = replace(one.alarm, end_s=now_s, peak_score=peak_score, best=best)
        return _Going(alarm, merit if better else one.merit)

    def _merit(self, result: Result, track: Track) -> tuple[bool, float]:
        return track.state == "shown" and result.frame_quality == "clear", self._measure(result, track)


def _lasting(one: _Going, until_s: float) -> _Going:
    """What was visible in the last frame was so until the next one."""
    if not one.visible:
        return one
    shown_s = one.alarm.shown_s + until_s - one.alarm.end_s
    return replace(one, alarm=replace(one.alarm, end_s=until_s, shown_s=shown_s))


def _is_another(track: Track, alarm: Alarm, now_s: float) -> bool:
    """A polyp first seen after the alarm began: the count has begun again, as after a short seek in the viewer."""
    return now_s - track.age_s > alarm.start_s + _ROUNDING_S


def _best(result: Result, track: Track) -> Best:
    x1, y1, x2, y2 = (float(value) for value in track.box)
    return Best(result.frame.index, result.frame.pts_s, (x1, y1, x2, y2), track.score, result)
