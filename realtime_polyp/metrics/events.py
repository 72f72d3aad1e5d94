"""What a clinic feels of a video: which polyps were announced, how soon, and how often it cried wolf (METRICS 4).

All times are seconds of the video's own clock: a frame lasts until the next one, the last one before a cut, a seek or
the end for the video's exact period. Nothing here knows how the boxes were found or smoothed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

LEAST_IOU = 0.2  # of a shown box with a true one, to count as showing it
DURATIONS_S = (0.0, 0.5, 1.0, 2.0)  # classes of false alarms: as long as this or longer; 0 is any
WITHIN_S, FOR_S = 3.0, 0.5  # σ and τ of per-polyp sensitivity
LONGEST_STEP_S = 1.0  # a longer step of the clock, or none, or one backwards, is a cut or a seek
_ROUNDING_S = 1e-6
_NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class SeenFrame:
    """One frame: what is true and what was shown; boxes xyxy px of one grid.

    polyps: {id: box (4,)} to be found. faint: {id: box (4,)} of those hardly to be seen, neither demanded nor counted
    as false. shown: (n, 4), tentative tracks left out. cut: this frame continues nothing.
    """

    pts_s: float
    polyps: Mapping[int, Boxes] = field(default_factory=dict)
    faint: Mapping[int, Boxes] = field(default_factory=dict)
    shown: Boxes = field(default_factory=lambda: _NO_BOXES)
    cut: bool = False


@dataclass(frozen=True)
class Run:
    """Neighbouring frames of one kind: when the first begins and how long they last together."""

    start_s: float
    duration_s: float

    def lasts(self, least_s: float) -> bool:
        return self.duration_s >= least_s - _ROUNDING_S


@dataclass(frozen=True)
class PolypRecord:
    """How one polyp was announced. in_view_s: how long it was there to be found.

    shown: runs without interruption, their start in seconds of the polyp's own view: time passes while it is there to
    be found, and stands still while it is faint or gone.
    """

    id: int
    in_view_s: float
    shown: tuple[Run, ...]

    @property
    def first_shown_s(self) -> float | None:
        """First-detection time: how long it had been in view when first shown; None when missed."""
        return self.shown[0].start_s if self.shown else None

    def found(self, *, within_s: float = WITHIN_S, for_s: float = FOR_S) -> bool:
        """Shown for `for_s` (τ) without interruption, from within its first `within_s` (σ) in view."""
        return any(run.start_s <= within_s + _ROUNDING_S and run.lasts(for_s) for run in self.shown)


@dataclass(frozen=True)
class VideoRecord:
    """One video's events. duration_s: of all its frames together."""

    duration_s: float
    polyps: tuple[PolypRecord, ...]
    false_alarms: tuple[Run, ...]


@dataclass(frozen=True)
class EventFigures:
    """Over one or more videos; None where there is nothing to tell it from.

    sensitivity: share of polyps found (σ = WITHIN_S, τ = FOR_S). first_shown_s: median over the polyps that were shown
    at all. minutes: of video. false_alarms_per_minute: of each class of DURATIONS_S.
    """

    minutes: float
    polyps: int
    missed: int
    sensitivity: float | None
    first_shown_s: float | None
    false_alarms_per_minute: Mapping[float, float]


def video_record(frames: Sequence[SeenFrame], *, period_s: float) -> VideoRecord:
    """frames: in order of the video. period_s: one over its exact rate. Raises ValueError for a period of 0 or less."""
    if not period_s > 0:
        raise ValueError(f"a frame's period must be above 0 s, not {period_s}")
    lasting = _durations(frames, period_s)
    identities = sorted({identity for frame in frames for identity in frame.polyps})
    return VideoRecord(
        sum(lasting),
        tuple(_polyp_record(identity, frames, lasting) for identity in identities),
        tuple(_runs((_shows_falsely(frame) for frame in frames), frames, lasting)),
    )


def event_figures(videos: Sequence[VideoRecord]) -> EventFigures:
    """Polyps, false alarms and minutes of all videos together."""
    polyps = [polyp for video in videos for polyp in video.polyps]
    firsts = [polyp.first_shown_s for polyp in polyps if polyp.first_shown_s is not None]
    minutes = sum(video.duration_s for video in videos) / 60
    alarms = [run for video in videos for run in video.false_alarms]
    return EventFigures(
        minutes,
        len(polyps),
        len(polyps) - len(firsts),
        sum(polyp.found() for polyp in polyps) / len(polyps) if polyps else None,
        float(np.median(firsts)) if firsts else None,
        {least_s: sum(run.lasts(least_s) for run in alarms) / minutes for least_s in DURATIONS_S} if minutes else {},
    )


def matches(boxes: Boxes, true: Boxes, *, least_iou: float = LEAST_IOU) -> NDArray[np.bool_]:
    """Which of boxes (n, 4) reaches which of true boxes (m, 4): (n, m)."""
    low, high = np.maximum(boxes[:, None, :2], true[None, :, :2]), np.minimum(boxes[:, None, 2:], true[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas, true_areas = (np.clip(one[:, 2:] - one[:, :2], 0, None).prod(-1) for one in (boxes, true))
    union = areas[:, None] + true_areas[None] - shared
    return np.asarray((shared > 0) & (shared >= least_iou * union))


def false_boxes(shown: Boxes, true: Boxes) -> NDArray[np.bool_]:
    """Which of shown boxes (n, 4) reaches no true box (m, 4), also beside one that does: (n,)."""
    return np.asarray(~matches(shown, true).any(axis=1))


def _shows_falsely(frame: SeenFrame) -> bool:
    if not len(frame.shown):
        return False
    return bool(false_boxes(frame.shown, _stacked([*frame.polyps.values(), *frame.faint.values()])).any())


def _durations(frames: Sequence[SeenFrame], period_s: float) -> list[float]:
    """How long each frame stays."""
    lasting = [
        period_s if _continues_not(frame, after) else after.pts_s - frame.pts_s for frame, after in pairwise(frames)
    ]
    return [*lasting, *([period_s] if frames else [])]


def _continues_not(frame: SeenFrame, after: SeenFrame) -> bool:
    return after.cut or not 0 < after.pts_s - frame.pts_s <= LONGEST_STEP_S


def _runs(marked: Iterable[bool], frames: Sequence[SeenFrame], lasting: Sequence[float]) -> Iterator[Run]:
    """The runs of marked frames, which end at a cut too."""
    start_s, duration_s = 0.0, 0.0
    before: SeenFrame | None = None
    for mark, frame, frame_s in zip(marked, frames, lasting, strict=True):
        cut = before is not None and _continues_not(before, frame)
        if duration_s and (cut or not mark):
            yield Run(start_s, duration_s)
            duration_s = 0.0
        if mark:
            start_s = start_s if duration_s else frame.pts_s
            duration_s += frame_s
        before = frame
    if duration_s:
        yield Run(start_s, duration_s)


def _polyp_record(identity: int, frames: Sequence[SeenFrame], lasting: Sequence[float]) -> PolypRecord:
    view_s = 0.0
    shown: list[Run] = []
    going = False
    before: SeenFrame | None = None
    for frame, frame_s in zip(frames, lasting, strict=True):
        going = going and before is not None and not _continues_not(before, frame)
        hit = _shows(identity, frame)
        if hit and going:
            shown[-1] = Run(shown[-1].start_s, shown[-1].duration_s + frame_s)
        elif hit:
            shown.append(Run(view_s, frame_s))
        # Faint and not shown: not demanded, and so no interruption.
        going = hit or (going and identity in frame.faint)
        view_s += frame_s if identity in frame.polyps else 0.0
        before = frame
    return PolypRecord(identity, view_s, tuple(shown))


def _shows(identity: int, frame: SeenFrame) -> bool:
    box = frame.polyps.get(identity, frame.faint.get(identity))
    return box is not None and bool(len(frame.shown)) and bool(matches(frame.shown, box[None]).any())


def _stacked(boxes: Sequence[Boxes]) -> Boxes:
    return np.stack(boxes) if boxes else _NO_BOXES
