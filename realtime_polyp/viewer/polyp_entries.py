"""What the polyp list shows, whatever is on the screen: a live picture, a file or a recorded session. Without Qt."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.geometry import shrink
from realtime_polyp.packets import Boxes, Result
from realtime_polyp.review.actions import Box, Judgement, polyp_name
from realtime_polyp.review.alarms import SessionAlarm
from realtime_polyp.review.polyps import Polyp, list_polyps
from realtime_polyp.review.recorded import FrameTable
from realtime_polyp.temporal.alarms import SAME_ALARM_S
from realtime_polyp.viewer.shown_alarms import Span, merge_spans

PICTURE_PX = (96, 72)
"""Width and height of the small picture of a polyp."""

_AROUND = 1.8  # of the box's sides: what the small picture shows
_BETTER = 0.03  # a new small picture is made where the score is higher by so much, ...
_LEAST_S = 0.5  # ... and this long after the one before
_MOST_DECODED = 64  # small pictures; more than a list shows at a time


@dataclass(frozen=True)
class PolypEntry:
    """One polyp of the list.

    Attributes:
        polyp: its number; negative for one that a person marked.
        spans: the times at which it was shown, in order, s.
        peak: highest score, 0..1; None: no model found it.
        verdict: a person accepted it (True) or rejected it (False); None: nobody has judged it.
        at_s: the moment of its small picture, and where a click goes, s.
        box: its box at that moment, xyxy source px.
    """

    polyp: int
    spans: tuple[Span, ...]
    peak: float | None
    verdict: bool | None
    at_s: float
    box: Box

    @property
    def name(self) -> str:
        return polyp_name(self.polyp)


@dataclass(frozen=True)
class MarkEntry:
    """A moment that a person marked. action: number of the row in the session; None: it is only in memory."""

    at_s: float
    text: str = "look at this later"
    action: int | None = None


Entry = PolypEntry | MarkEntry


def in_order(polyps: Iterable[PolypEntry], marks: Iterable[MarkEntry]) -> tuple[Entry, ...]:
    """Polyps and marks by the time at which they begin."""
    found: list[Entry] = [*polyps, *marks]
    return tuple(sorted(found, key=lambda one: one.at_s if isinstance(one, MarkEntry) else one.spans[0][0]))


class ShownPolyps:
    """Collects the polyps that were on the screen so far, with small pictures of them."""

    def __init__(self) -> None:
        self.entries: dict[int, PolypEntry] = {}
        self._pictures: dict[int, bytes] = {}  # compressed: a long procedure has hundreds
        self._decoded: dict[int, Image] = {}  # those that were asked for lately
        self._made_of: dict[int, tuple[float, float]] = {}  # time, s, and score of the small picture

    def update(self, result: Result | None, min_score: float) -> None:
        """Take the result on the screen. Cheap: a small picture is made twice per second at most."""
        if result is None or result.signal != "ok":
            return
        now_s = result.frame.pts_s
        for track in result.tracks:
            if track.visible and track.score >= min_score:
                self._add(track.id, track.score, track.box, result, now_s)

    def _add(self, polyp: int, score: float, box: Boxes, result: Result, now_s: float) -> None:
        before = self.entries.get(polyp)
        where = _box_of(box)
        entry = before or PolypEntry(polyp, ((now_s, now_s),), score, None, now_s, where)
        made_s, made_score = self._made_of.get(polyp, (now_s, score))
        better = before is None or (score > made_score + _BETTER and abs(now_s - made_s) >= _LEAST_S)
        if better:
            self._pictures[polyp] = _compress(crop(result.frame.image, where))
            self._decoded.pop(polyp, None)
            self._made_of[polyp] = (now_s, score)
            entry = replace(entry, at_s=now_s, box=where)
        peak = max(score, entry.peak or 0.0)
        self.entries[polyp] = replace(entry, spans=_grown(entry.spans, now_s), peak=peak)

    def picture(self, polyp: int) -> Image | None:
        """The small picture (72, 96, 3) of a polyp, the same object as long as it is the same; None where it was never
        shown."""
        stored = self._pictures.get(polyp)
        if stored is None or polyp in self._decoded:
            return self._decoded.get(polyp)
        decoded = np.asarray(cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        while len(self._decoded) >= _MOST_DECODED:
            del self._decoded[next(iter(self._decoded))]
        self._decoded[polyp] = np.ascontiguousarray(decoded[..., ::-1])
        return self._decoded[polyp]

    def listed(self, marks: Iterable[MarkEntry]) -> tuple[Entry, ...]:
        return in_order(self.entries.values(), marks)


def _grown(spans: tuple[Span, ...], now_s: float) -> tuple[Span, ...]:
    """Add a moment: it continues the span that ends shortly before it, or begins one."""
    for place, (start_s, end_s) in enumerate(spans):
        if start_s <= now_s <= end_s + SAME_ALARM_S:
            grown = (*spans[:place], (start_s, max(end_s, now_s)), *spans[place + 1 :])
            return merge_spans(grown) if now_s > end_s else spans
    return merge_spans((*spans, (now_s, now_s)))


def review_entries(
    alarms: Sequence[SessionAlarm], judgement: Judgement, frames: FrameTable, rulings: Mapping[int, bool | None]
) -> tuple[Entry, ...]:
    """The polyps of a recorded session with what persons said about them, and the marks.

    rulings: {number of an alarm: its verdict}.
    """
    polyps = [_entry_of(one, frames, rulings) for one in list_polyps(frames, alarms, judgement)]
    marks = [MarkEntry(mark.session_s, action=action) for action, mark in judgement.marks]
    marks += [MarkEntry(note.session_s, note.text, action) for action, note in judgement.notes if note.polyp is None]
    return in_order(polyps, marks)


def _entry_of(polyp: Polyp, frames: FrameTable, rulings: Mapping[int, bool | None]) -> PolypEntry:
    said = [ruling for one in polyp.alarms if (ruling := rulings.get(one.number)) is not None]
    verdict = any(said) if said else polyp.verdict
    best_s = _time_of(frames, polyp.best)
    return PolypEntry(polyp.number, merge_spans(polyp.spans), polyp.peak_score, verdict, best_s, polyp.box)


def _time_of(frames: FrameTable, number: int) -> float:
    return float(frames.session_s[min(max(1, number), len(frames)) - 1])


def crop(image: Image, box: Box) -> Image:
    """The surroundings of a box in an image (H, W, 3), as a small picture (72, 96, 3)."""
    height, width = image.shape[:2]
    wide, high = PICTURE_PX
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_height = max(_AROUND * (box[3] - box[1]) / 2, _AROUND * (box[2] - box[0]) / 2 * high / wide, 8.0)
    half_height = min(half_height, height / 2, width / 2 * high / wide)
    half_width = half_height * wide / high
    left = round(min(max(0.0, x - half_width), width - 2 * half_width))
    top = round(min(max(0.0, y - half_height), height - 2 * half_height))
    part = image[top : top + max(2, round(2 * half_height)), left : left + max(2, round(2 * half_width))]
    return np.ascontiguousarray(shrink(part, (high, wide)))


def _compress(image: Image) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 92))[1].tobytes()


def _box_of(box: Boxes) -> Box:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2
