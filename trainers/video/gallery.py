"""Contact sheets of the bench: the polyps that were not found, and the long false alarms, each at one frame, so that a
person can judge whether it could have been told there at all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.metrics.events import FOR_S, WITHIN_S, PolypRecord, Run, VideoRecord
from realtime_polyp.metrics.overlaps import false_boxes, stacked
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen
from realtime_polyp.packets import Boxes
from realtime_polyp.postprocess.nms import WEAK_THRESHOLD
from trainers.evaluation.contact_sheets import (
    FOUND,
    MARKED,
    TRUE,
    Colour,
    Page,
    centred,
    fitted,
    rectangle,
    write_pages,
)
from trainers.video.goals import ALARM_S
from trainers.video.synthetic.prediction_cache import Remembered

_DOUBTED: Colour = (214, 102, 255)
_LEGEND = {"true polyp": TRUE, "shown": FOUND, "detector's own": _DOUBTED}
_MOST = 24  # tiles of a sheet
_MISSED, _FALSE = "missed", "false_alarms"  # the two sheets' files
_TITLES = {
    _MISSED: f"Polyps not shown for {FOR_S:g} s within {WITHIN_S:g} s",
    _FALSE: f"False alarms of {ALARM_S:g} s or more",
}


@dataclass(frozen=True)
class Seen:
    """One video of the bench as it was shown. frames: all of it once more, with pictures. record: of what was shown."""

    truth: VideoTruth
    shown: Sequence[ShownFrame]
    record: VideoRecord
    frames: Callable[[], Iterator[Remembered]]


@dataclass(frozen=True)
class Look:
    """A frame worth a look. sheet: which one it is for. marked: the box (4,) xyxy source px that it is shown for.
    lasted_s: what happened there."""

    sheet: str
    index: int
    caption: str
    marked: Boxes
    lasted_s: float


def write_video_gallery(videos: Sequence[Seen], folder: Path) -> list[Path]:
    """Two sheets, `_MOST` tiles at most each, what lasted longest first; one with nothing to show is left out."""
    looks = [(video, look) for video in videos for look in (*missed_polyps(video), *long_false_alarms(video))]
    looks.sort(key=lambda one: -one[1].lasted_s)
    chosen = [one for sheet in _TITLES for one in [one for one in looks if one[1].sheet == sheet][:_MOST]]
    tiles = [tile for video in videos for tile in _tiles(video, [look for one, look in chosen if one is video])]
    tiles.sort(key=lambda tile: -tile[0].lasted_s)
    return write_pages([_page(sheet, tiles) for sheet in _TITLES], folder)


def _page(sheet: str, tiles: Sequence[tuple[Look, Image]]) -> Page:
    own = [(picture, look.caption) for look, picture in tiles if look.sheet == sheet]
    return Page(sheet, _TITLES[sheet], own, {"missed" if sheet == _MISSED else "false alarm": MARKED, **_LEGEND})


def missed_polyps(video: Seen) -> list[Look]:
    return [_missed(video.truth, polyp) for polyp in video.record.polyps if not polyp.found()]


def _missed(truth: VideoTruth, polyp: PolypRecord) -> Look:
    """Where it is largest among the frames that demand it."""
    boxes = {index: frame.polyps[polyp.id] for index, frame in enumerate(truth.frames) if polyp.id in frame.polyps}
    index = max(boxes, key=lambda one: _area(boxes[one]))
    share = _area(boxes[index]) / (truth.size[0] * truth.size[1])
    first = "never shown" if polyp.first_shown_s is None else f"first shown after {polyp.first_shown_s:.1f} s"
    caption = f"{_place(truth, index)}: in view for {polyp.in_view_s:.1f} s\n{first}, box {share:.1%} of the picture"
    return Look(_MISSED, index, caption, boxes[index], polyp.in_view_s)


def _area(box: Boxes) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def long_false_alarms(video: Seen) -> list[Look]:
    screen = on_screen(video.truth, video.shown).frames
    return [_alarm(video.truth, screen, run) for run in video.record.false_alarms if run.lasts(ALARM_S)]


def _alarm(truth: VideoTruth, screen: Sequence[ShownFrame], run: Run) -> Look:
    """In its middle, at the false box of the highest score there."""
    index = int(np.argmin([abs(frame.pts_s - run.start_s - run.duration_s / 2) for frame in screen]))
    frame, true = screen[index], truth.frames[index]
    false = false_boxes(frame.boxes, stacked([*true.polyps.values(), *true.faint.values()]))
    best = int(np.argmax(np.where(false, frame.scores, -np.inf)))
    caption = f"{_place(truth, index)}: for {run.duration_s:.1f} s\nscore {frame.scores[best]:.2f}"
    return Look(_FALSE, index, caption, frame.boxes[best], run.duration_s)


def _place(truth: VideoTruth, index: int) -> str:
    """The clip's name without its checksum, and when."""
    return f"{truth.name.rpartition('-')[0] or truth.name} at {truth.pts_s(index):.1f} s"


def _tiles(video: Seen, looks: Sequence[Look]) -> Iterator[tuple[Look, Image]]:
    """Painted in one pass over the video; a frame that was dropped is seen in the next one."""
    waiting = sorted(looks, key=lambda look: look.index)
    boxes = {frame.index: frame.boxes for frame in video.shown}
    for one in video.frames() if waiting else ():
        while waiting and one.index >= waiting[0].index:
            look = waiting.pop(0)
            yield look, _painted(one, boxes[one.index], look.marked)
        if not waiting:
            return


def _painted(one: Remembered, shown: Boxes, marked: Boxes) -> Image:
    canvas, scale = fitted(one.image)
    for box, score in zip(one.said.detections.boxes, one.said.detections.scores, strict=True):
        if score >= WEAK_THRESHOLD:
            rectangle(canvas, box, scale, _DOUBTED, f"{score:.2f}")
    for box in one.true.polyps.values():
        rectangle(canvas, box, scale, TRUE)
    for box in shown:
        rectangle(canvas, box, scale, FOUND)
    rectangle(canvas, marked, scale, MARKED)
    return centred(canvas)
