"""Timeline of one video: when each polyp was in view, when it was shown, and when a false box was."""

from collections.abc import Sequence
from dataclasses import dataclass

from realtime_polyp.metrics.events import Run, SeenFrame, frame_durations, runs
from realtime_polyp.metrics.overlaps import false_boxes, matches, stacked
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen, seen_frames


@dataclass(frozen=True)
class PolypLine:
    """The runs of one polyp on the video's clock.

    Attributes:
        id: of the polyp in the truth.
        in_view: it must be found.
        difficult: it is hardly visible and need not be found.
        shown: a shown box is on it.
    """

    id: int
    in_view: tuple[Run, ...]
    difficult: tuple[Run, ...]
    shown: tuple[Run, ...]


@dataclass(frozen=True)
class Timeline:
    """All runs of one video.

    Attributes:
        name: of the truth file.
        duration_s: of all frames together, s.
        polyps: in order of id.
        false_alarms: runs of frames with a false box.
        cuts_s: times of the cuts, s.
    """

    name: str
    duration_s: float
    polyps: tuple[PolypLine, ...]
    false_alarms: tuple[Run, ...]
    cuts_s: tuple[float, ...]


def timeline(truth: VideoTruth, shown: Sequence[ShownFrame]) -> Timeline:
    """Return the timeline of a video from its results. Raises ValueError if they are not of this video."""
    frames = seen_frames(truth, [frame.boxes for frame in on_screen(truth, shown).frames])
    durations_s = frame_durations(frames, truth.labelled_period_s)
    polyps = sorted({identity for frame in frames for identity in frame.polyps})
    false = [
        bool(false_boxes(frame.shown, stacked([*frame.polyps.values(), *frame.difficult.values()])).any())
        for frame in frames
    ]
    return Timeline(
        truth.name,
        sum(durations_s),
        tuple(_polyp_line(one, frames, durations_s) for one in polyps),
        tuple(runs(false, frames, durations_s)),
        tuple(frame.pts_s for frame in frames[1:] if frame.cut),
    )


def _polyp_line(identity: int, frames: Sequence[SeenFrame], durations_s: Sequence[float]) -> PolypLine:
    marks = (
        [identity in frame.polyps for frame in frames],
        [identity in frame.difficult for frame in frames],
        [_is_shown(identity, frame) for frame in frames],
    )
    return PolypLine(identity, *(tuple(runs(marked, frames, durations_s)) for marked in marks))


def _is_shown(identity: int, frame: SeenFrame) -> bool:
    box = frame.polyps.get(identity, frame.difficult.get(identity))
    return box is not None and bool(matches(frame.shown, box[None]).any())
