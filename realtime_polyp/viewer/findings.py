"""Collects what is known of a recording: from what was watched, and from the analysis ahead."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from realtime_polyp.review.look_ahead import Report, Span, join
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.temporal.alarms import SAME_ALARM_S
from realtime_polyp.viewer.timeline_content import NO_DATA

_PIECE_S = 10.0
_SAMPLES_SHARE = 0.2  # of the whole work, in what is shown as progress


@dataclass(frozen=True)
class AheadState:
    """What is known so far.

    Attributes:
        data: curve, bands and alarms; their numbers are 0.
        analysed: the parts of which every frame was analysed, s.
        sampled: the parts of which some frames were, s.
        progress: share of the work that is done, 0..1.
        is_over: nothing more will come.
        failed: the parts that could not be analysed, s, each with the reason, in the order in which they were tried.
    """

    data: TimelineData = NO_DATA
    analysed: tuple[Span, ...] = ()
    sampled: tuple[Span, ...] = ()
    progress: float = 0.0
    is_over: bool = False
    failed: tuple[tuple[Span, str], ...] = ()


class Findings:
    """Takes what was watched and gives states on the viewer's thread, and takes reports on another.

    job_s: length of what is analysed, s. usual_threshold: lowest score of a shown box, with which alarms were found.
    """

    def __init__(self, job_s: float, usual_threshold: float) -> None:
        self._job_s, self._usual_threshold = max(job_s, 1e-9), usual_threshold
        self._lock = threading.Lock()
        self._pieces: dict[int, TimelineData] = {}  # by time, so that a report costs little in a long recording
        self._finished: list[Report] = []  # the last report of each part that was analysed whole
        self._sampled: list[Span] = []
        self._watched: list[Span] = []
        self._failed: list[tuple[Span, str]] = []
        self._changes = 0
        self._state, self._made_of = AheadState(), (0, usual_threshold)
        self.is_over = False

    def add(self, report: Report) -> None:
        """Take what became known."""
        with self._lock:
            self._add_frames(report)
            if report.problem:
                self._failed.append((report.span, report.problem))
            elif not report.complete:
                self._sampled = join([*self._sampled, report.span])
            elif self._finished and self._finished[-1].span[0] == report.span[0]:
                self._finished[-1] = report
            else:
                self._finished.append(report)

    def add_watched(self, report: Report) -> None:
        """Take what the player has shown; its alarms are counted elsewhere."""
        with self._lock:
            self._add_frames(report)
            if report.complete:
                self._watched = join([*self._watched, report.span])
            elif report.span[0] < report.span[1]:  # the player did not go back in between
                self._sampled = join([*self._sampled, report.span])

    def _add_frames(self, report: Report) -> None:
        key = int(report.times_s[0] // _PIECE_S) if report.times_s else 0
        self._pieces[key] = _with_frames(self._pieces.get(key, NO_DATA), report)
        self._changes += 1

    def end(self) -> None:
        """Nothing more will come."""
        with self._lock:
            self.is_over = True
            self._changes += 1

    def state(self, threshold: float) -> AheadState:
        """What is known now, at this threshold; the same object as long as nothing changes."""
        with self._lock:
            if self._made_of != (self._changes, threshold):
                self._made_of = (self._changes, threshold)
                self._state = self._make(threshold)
            return self._state

    def _make(self, threshold: float) -> AheadState:
        """At another threshold than the usual one, no alarms are known, only scores."""
        finished = join([report.span for report in self._finished], 1e-3)
        analysed = join([*finished, *self._watched], 1e-3)
        sure = [alarm for report in self._finished for alarm in report.alarms]
        data = _joined(self._pieces)
        likely = above(data, threshold)
        if threshold == self._usual_threshold:
            likely = sure + [span for span in likely if not _is_inside(span, finished)]
        alarms = tuple((start_s, end_s, 0) for start_s, end_s in join(likely, SAME_ALARM_S))
        done = join([*analysed, *(span for span, _ in self._failed)])  # nothing more is to come of these
        some_s, all_s = _length(join([*self._sampled, *done])), _length(done)
        done_s = _SAMPLES_SHARE * some_s + (1 - _SAMPLES_SHARE) * all_s
        progress = min(1.0, done_s / self._job_s)
        sampled, failed = tuple(self._sampled), tuple(self._failed)
        return AheadState(replace(data, alarms=alarms), tuple(analysed), sampled, progress, self.is_over, failed)


def _with_frames(data: TimelineData, report: Report) -> TimelineData:
    """Add a report's frames in order of time; where a frame is known already, the new one counts."""
    if not report.times_s:
        return data
    kept = ~np.isin(np.round(data.times_s, 4), np.round(np.array(report.times_s), 4))
    columns = [
        np.concatenate([old[kept], np.array(new)])
        for old, new in (
            (data.times_s, report.times_s), (data.best_score, report.best_scores), (data.quality, report.qualities),
            (data.signal, report.signals),
        )
    ]  # fmt: skip
    order = np.argsort(columns[0], kind="stable")
    times_s, scores, qualities, signals = (column[order] for column in columns)
    return TimelineData(times_s, scores.astype(np.float32), qualities, signals)


def _joined(pieces: dict[int, TimelineData]) -> TimelineData:
    """All pieces in order of time. A report that began in one piece and ended in the next may overlap it a little."""
    if not pieces:
        return NO_DATA
    ordered = [pieces[key] for key in sorted(pieces)]
    columns = [
        np.concatenate([getattr(piece, name) for piece in ordered])
        for name in ("times_s", "best_score", "quality", "signal")
    ]
    times_s = columns[0]
    if np.any(times_s[1:] < times_s[:-1]):  # rare; sorting an hour's labels takes some ms
        order = np.argsort(times_s, kind="stable")
        columns = [column[order] for column in columns]
    times_s, scores, qualities, signals = columns
    return TimelineData(times_s, scores, qualities, signals)


def above(data: TimelineData, threshold: float) -> list[Span]:
    """The times around frames with a score of at least the threshold, s; neighbours are joined."""
    times_s = data.times_s
    if not len(times_s):
        return []
    edges_s = np.concatenate([times_s[:1], (times_s[1:] + times_s[:-1]) / 2, times_s[-1:]])
    found = np.concatenate([[False], data.best_score >= threshold, [False]])
    starts, stops = np.flatnonzero(found[1:] & ~found[:-1]), np.flatnonzero(found[:-1] & ~found[1:])
    return list(zip(edges_s[starts].tolist(), edges_s[stops].tolist(), strict=True))


def _is_inside(span: Span, spans: Sequence[Span]) -> bool:
    return any(start_s <= (span[0] + span[1]) / 2 <= end_s for start_s, end_s in spans)


def _length(spans: Sequence[Span]) -> float:
    return sum(end_s - start_s for start_s, end_s in spans)
