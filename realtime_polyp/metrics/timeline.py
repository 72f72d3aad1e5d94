"""One video from end to end: when each polyp was there, when it was shown, and when something else was."""

from collections.abc import Sequence
from dataclasses import dataclass

from realtime_polyp.metrics.events import Run, SeenFrame, durations, runs
from realtime_polyp.metrics.overlaps import false_boxes, matches, stacked
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen, seen_frames


@dataclass(frozen=True)
class PolypLine:
    """One polyp's runs on the video's clock."""

    id: int
    in_view: tuple[Run, ...]
    faint: tuple[Run, ...]
    shown: tuple[Run, ...]


@dataclass(frozen=True)
class Timeline:
    name: str
    duration_s: float
    polyps: tuple[PolypLine, ...]
    false_alarms: tuple[Run, ...]
    cuts_s: tuple[float, ...]


def timeline(truth: VideoTruth, shown: Sequence[ShownFrame]) -> Timeline:
    """Raises ValueError as `on_screen` does."""
    frames = seen_frames(truth, [frame.boxes for frame in on_screen(truth, shown).frames])
    lasting = durations(frames, truth.period_s)
    false = [_shows_falsely(frame) for frame in frames]
    return Timeline(
        truth.name,
        sum(lasting),
        tuple(_line(one, frames, lasting) for one in sorted({one for frame in frames for one in frame.polyps})),
        tuple(runs(false, frames, lasting)),
        tuple(frame.pts_s for frame in frames[1:] if frame.cut),
    )


def _line(identity: int, frames: Sequence[SeenFrame], lasting: Sequence[float]) -> PolypLine:
    marks = (
        [identity in frame.polyps for frame in frames],
        [identity in frame.faint for frame in frames],
        [_shows(identity, frame) for frame in frames],
    )
    return PolypLine(identity, *(tuple(runs(marked, frames, lasting)) for marked in marks))


def _shows(identity: int, frame: SeenFrame) -> bool:
    box = frame.polyps.get(identity, frame.faint.get(identity))
    return box is not None and bool(matches(frame.shown, box[None]).any())


def _shows_falsely(frame: SeenFrame) -> bool:
    return bool(false_boxes(frame.shown, stacked([*frame.polyps.values(), *frame.faint.values()])).any())
