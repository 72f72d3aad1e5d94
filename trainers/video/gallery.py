"""Contact sheets of the video benchmark: missed polyps and long false alarms, one frame each.

A person can judge from them whether a polyp could have been recognised at all.
"""

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
    centre_on_tile,
    draw_box,
    fit_to_tile,
    write_pages,
)
from trainers.video.goals import ALARM_S
from trainers.video.synthetic.replay import CachedFrame

_RAW: Colour = (214, 102, 255)
_LEGEND = {"true polyp": TRUE, "shown": FOUND, "detector's own": _RAW}
_MAX_TILES = 24  # per sheet
_MISSED, _FALSE = "missed", "false_alarms"  # the two sheets' files
_TITLES = {
    _MISSED: f"Polyps not shown for {FOR_S:g} s within {WITHIN_S:g} s",
    _FALSE: f"False alarms of {ALARM_S:g} s or more",
}


@dataclass(frozen=True)
class GalleryVideo:
    """One video of the benchmark and what was shown in it.

    Attributes:
        truth: its ground truth.
        shown: what was on screen in each frame.
        record: the events of what was shown.
        frames: iterates over all frames with images and model outputs.
    """

    truth: VideoTruth
    shown: Sequence[ShownFrame]
    record: VideoRecord
    frames: Callable[[], Iterator[CachedFrame]]


@dataclass(frozen=True)
class Tile:
    """One frame of a sheet.

    Attributes:
        sheet: the sheet's file name, without extension.
        index: the frame's index.
        caption: up to two lines.
        marked: (4,) xyxy source px, the box that the tile is about.
        lasted_s: how long the event lasted, s.
    """

    sheet: str
    index: int
    caption: str
    marked: Boxes
    lasted_s: float


def write_video_gallery(videos: Sequence[GalleryVideo], folder: Path) -> list[Path]:
    """Write up to two sheets of at most `_MAX_TILES` tiles, the longest events first; an empty sheet is left out."""
    tiles = [(video, tile) for video in videos for tile in (*missed_polyps(video), *long_false_alarms(video))]
    tiles.sort(key=lambda one: -one[1].lasted_s)
    chosen = [one for sheet in _TITLES for one in [one for one in tiles if one[1].sheet == sheet][:_MAX_TILES]]
    drawn = [one for video in videos for one in _draw_tiles(video, [tile for of, tile in chosen if of is video])]
    drawn.sort(key=lambda one: -one[0].lasted_s)
    return write_pages([_page(sheet, drawn) for sheet in _TITLES], folder)


def _page(sheet: str, drawn: Sequence[tuple[Tile, Image]]) -> Page:
    own = [(picture, tile.caption) for tile, picture in drawn if tile.sheet == sheet]
    return Page(sheet, _TITLES[sheet], own, {"missed" if sheet == _MISSED else "false alarm": MARKED, **_LEGEND})


def missed_polyps(video: GalleryVideo) -> list[Tile]:
    """One tile per polyp that was not found."""
    return [_missed(video.truth, polyp) for polyp in video.record.polyps if not polyp.found()]


def _missed(truth: VideoTruth, polyp: PolypRecord) -> Tile:
    """The frame in which the polyp is largest, among those in which it must be found."""
    boxes = {index: frame.polyps[polyp.id] for index, frame in enumerate(truth.frames) if polyp.id in frame.polyps}
    index = max(boxes, key=lambda one: _area(boxes[one]))
    share = _area(boxes[index]) / (truth.size[0] * truth.size[1])
    first = "never shown" if polyp.first_shown_s is None else f"first shown after {polyp.first_shown_s:.1f} s"
    caption = f"{_place(truth, index)}: in view for {polyp.in_view_s:.1f} s\n{first}, box {share:.1%} of the picture"
    return Tile(_MISSED, index, caption, boxes[index], polyp.in_view_s)


def _area(box: Boxes) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def long_false_alarms(video: GalleryVideo) -> list[Tile]:
    """One tile per false alarm that lasts `ALARM_S` or longer."""
    screen = on_screen(video.truth, video.shown).frames
    return [_alarm(video.truth, screen, run) for run in video.record.false_alarms if run.lasts(ALARM_S)]


def _alarm(truth: VideoTruth, screen: Sequence[ShownFrame], run: Run) -> Tile:
    """The frame in the middle of the alarm, with the highest-scoring false box marked."""
    index = int(np.argmin([abs(frame.pts_s - run.start_s - run.duration_s / 2) for frame in screen]))
    frame, true = screen[index], truth.frames[index]
    false = false_boxes(frame.boxes, stacked([*true.polyps.values(), *true.difficult.values()]))
    best = int(np.argmax(np.where(false, frame.scores, -np.inf)))
    caption = f"{_place(truth, index)}: for {run.duration_s:.1f} s\nscore {frame.scores[best]:.2f}"
    return Tile(_FALSE, index, caption, frame.boxes[best], run.duration_s)


def _place(truth: VideoTruth, index: int) -> str:
    """The clip's name without its checksum, and the time."""
    return f"{truth.name.rpartition('-')[0] or truth.name} at {truth.pts_s(index):.1f} s"


def _draw_tiles(video: GalleryVideo, tiles: Sequence[Tile]) -> Iterator[tuple[Tile, Image]]:
    """Draw the tiles in one pass over the video. For a dropped frame the next one is drawn."""
    waiting = sorted(tiles, key=lambda tile: tile.index)
    boxes = {frame.index: frame.boxes for frame in video.shown}
    for frame in video.frames() if waiting else ():
        index = frame.plain.frame.index
        while waiting and index >= waiting[0].index:
            tile = waiting.pop(0)
            yield tile, _draw_frame(frame, boxes[index], tile.marked)
        if not waiting:
            return


def _draw_frame(frame: CachedFrame, shown: Boxes, marked: Boxes) -> Image:
    canvas, scale = fit_to_tile(frame.plain.frame.image)
    detections = frame.plain.detections
    for box, score in zip(detections.boxes, detections.scores, strict=True):
        if score >= WEAK_THRESHOLD:
            draw_box(canvas, box, scale, _RAW, f"{score:.2f}")
    for box in frame.truth.polyps.values():
        draw_box(canvas, box, scale, TRUE)
    for box in shown:
        draw_box(canvas, box, scale, FOUND)
    draw_box(canvas, marked, scale, MARKED)
    return centre_on_tile(canvas)
