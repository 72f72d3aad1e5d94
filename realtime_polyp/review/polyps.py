"""The distinct polyps of a session: one list for the window, the report and the export."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.review.actions import Judgement, Stretch, polyp_name
from realtime_polyp.review.alarms import SessionAlarm
from realtime_polyp.review.recorded import FrameTable
from realtime_polyp.review.tracks import TrackTable
from realtime_polyp.temporal.alarms import Box

_SAME_IOU = 0.3
NOTHING_SAID = Judgement()
NO_RULINGS: Mapping[int, bool | None] = {}


@dataclass(frozen=True)
class Polyp:
    """One distinct polyp.

    Attributes:
        number: id of its track in the recording, or that of the polyp that a person called the same; negative where a
            person marked it.
        name: on the screen, "3" or "M1".
        spans: (start, end) of its alarms and marked stretches, s on the session's clock, in order.
        shown_s: time on the screen, s.
        peak_score: highest score of its tracks; None where only a person saw it.
        best: number of the frame that shows it best. box: where it is there, xyxy source px.
        alarms: in order.
        verdict: accepted or rejected by a person; None: not judged.
        fields: what a person entered: site, size and others.
    """

    number: int
    name: str
    spans: tuple[tuple[float, float], ...]
    shown_s: float
    peak_score: float | None
    best: int
    box: Box
    alarms: tuple[SessionAlarm, ...] = ()
    verdict: bool | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_s(self) -> float:
        return self.spans[0][0]

    @property
    def last_s(self) -> float:
        return max(end_s for _, end_s in self.spans)  # a marked stretch may lie within an alarm


def list_polyps(
    frames: FrameTable,
    alarms: Sequence[SessionAlarm],
    judgement: Judgement = NOTHING_SAID,
    known_as: Mapping[int, int] | None = None,
    rulings: Mapping[int, bool | None] = NO_RULINGS,
) -> tuple[Polyp, ...]:
    """Return the polyps of a session in order of their first appearance.

    alarms: recorded ones, or of the filter that ran again. judgement: what persons said. known_as: {id of a track:
    number in the recording}, where the filter ran again (`match_numbers`); None: they are the same. rulings: {number
    of an alarm: its verdict} (`alarm_verdicts`); without it a verdict is found by number alone, not by place.
    """
    shown: dict[int, list[SessionAlarm]] = {}
    marked: dict[int, list[Stretch]] = {}
    for alarm in alarms:
        number = alarm.track if known_as is None else known_as.get(alarm.track, alarm.track)
        shown.setdefault(judgement.number_of(number), []).append(alarm)
    for number, stretches in judgement.stretches.items():
        known = [one for one in stretches if one.boxes and one.last <= len(frames)]  # others may have read more frames
        marked.setdefault(judgement.number_of(number), []).extend(known)
    found = [
        _polyp(number, shown.get(number, []), marked.get(number, []), frames, judgement, rulings)
        for number in {**shown, **marked}
        if shown.get(number) or marked.get(number)
    ]
    return tuple(sorted(found, key=lambda one: (one.first_s, one.number)))


def match_numbers(found: TrackTable, recorded: TrackTable, *, above: int = 0) -> dict[int, int]:
    """Return {id of a visible track: number of the recorded visible track that it overlaps in most frames}.

    Several tracks may get the same number, unless they are in the same frame. A track that overlaps none gets a number
    above all recorded ones, and above `above`.
    """
    following = max(above, int(recorded.id.max(initial=0)))
    found, recorded = found.take(found.visible), recorded.take(recorded.visible)
    mine, theirs = same_frame_pairs(found, recorded)
    same = iou_of_pairs(found.box[mine], recorded.box[theirs]) >= _SAME_IOU
    pairs, counts = np.unique(found.id[mine[same]] << 32 | recorded.id[theirs[same]], return_counts=True)
    by_id = np.argsort(found.id, kind="stable")
    ids, begins = np.unique(found.id[by_id], return_index=True)
    frames = dict(zip(ids.tolist(), np.split(found.number[by_id], begins[1:]), strict=False))
    numbers: dict[int, int] = {}
    frames_of: dict[int, set[int]] = {}  # of each number that was given
    for place in np.argsort(-counts, kind="stable"):
        identity, number = int(pairs[place] >> 32), int(pairs[place] & 0xFFFFFFFF)
        own, given = frames[identity].tolist(), frames_of.setdefault(number, set())
        if identity not in numbers and given.isdisjoint(own):
            numbers[identity] = number
            given.update(own)
    for identity in ids.tolist():
        if identity not in numbers:
            following += 1
            numbers[identity] = following
    return numbers


def renumber(tracks: TrackTable, numbers: Mapping[int, int]) -> TrackTable:
    """Give tracks other ids; those that are not named keep theirs. The rows of a frame are sorted by id again."""
    known, places = np.unique(tracks.id, return_inverse=True)
    ids = np.array([numbers.get(int(one), int(one)) for one in known], np.int64)[places]
    order = np.lexsort((ids, tracks.number))
    return replace(tracks, id=ids).take(order)


def same_frame_pairs(a: TrackTable, b: TrackTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of rows of two tables that belong to the same frame: (k,) rows of a, (k,) rows of b."""
    first, last = np.searchsorted(b.number, a.number, "left"), np.searchsorted(b.number, a.number, "right")
    counts = last - first
    mine = np.repeat(np.arange(len(a)), counts)
    offsets = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts)
    return mine, np.repeat(first, counts) + offsets


def iou_of_pairs(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU (k,) of boxes (k, 4) and (k, 4), xyxy, pair by pair."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inner = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(inner / np.maximum(areas - inner, 1e-9), np.float32)


def _polyp(
    number: int,
    alarms: list[SessionAlarm],
    stretches: list[Stretch],
    frames: FrameTable,
    judgement: Judgement,
    rulings: Mapping[int, bool | None],
) -> Polyp:
    said = [ruling for one in alarms if (ruling := rulings.get(one.number)) is not None]
    spans = [(alarm.start_s, alarm.end_s) for alarm in alarms]
    spans += [(_time_s(frames, one.first), _time_s(frames, one.last)) for one in stretches]
    best = max(alarms, key=lambda alarm: alarm.peak_score, default=None)
    if best is None:
        frame, box = stretches[0].boxes[len(stretches[0].boxes) // 2]
    else:
        frame, box = best.best, best.box
    return Polyp(
        number=number,
        name=polyp_name(number),
        spans=tuple(sorted(spans)),
        shown_s=sum(alarm.shown_s for alarm in alarms) or sum(end_s - start_s for start_s, end_s in spans),
        peak_score=best.peak_score if best else None,
        best=frame,
        box=box,
        alarms=tuple(alarms),
        verdict=any(said) if said else judgement.verdict(number),
        fields=judgement.fields.get(number, {}),
    )


def _time_s(frames: FrameTable, number: int) -> float:
    return float(frames.session_s[number - 1])
