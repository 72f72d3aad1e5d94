"""What was on the screen in each frame of a video, from live results or from a results file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.json_files import Count, Finite, Share, read_json_lines
from realtime_polyp.metrics.events import SeenFrame
from realtime_polyp.metrics.overlaps import stacked
from realtime_polyp.metrics.run_lengths import (
    MOST_CORNERS,
    RunLengths,
    checked,
    decode,
    encode,
    encode_outlines,
    fill_polygons,
)
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.packets import NO_DETECTIONS, Boxes, Detections, Result, Signal, TrackStatus
from realtime_polyp.postprocess.polyp_shape import Outline

HELD_S = 0.2  # the viewer hides an overlay older than this
_ROUNDING_S = 1e-6
_NEAR_BOX = 0.25  # of a box's size: earlier versions drew no connected component this far outside every shown box
_WHAT = "a result of run_live"
_Px = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_NO_BOXES = np.zeros((0, 4), np.float32)
_NO_IDS = np.zeros(0, np.int64)
_NO_SCORES = np.zeros(0, np.float32)


@dataclass(frozen=True)
class ShownFrame:
    """The result of one frame as it was drawn.

    Attributes:
        index: of the frame.
        pts_s: time, s.
        boxes: (n, 4) xyxy source px, as drawn for the visible tracks.
        ids: (n,), track ids.
        scores: (n,).
        detections: detections of this frame alone, without temporal filtering.
        mask: what the drawn outlines enclose, at source size, or the whole mask in a run without a detector. None
            without a segmenter, or for a black or frozen picture. Files of earlier versions have no outlines: it is
            then the connected components of the mask at a shown box.
        outline_boxes: (n, 4) xyxy source px, the bounding boxes of the outlines; NaN for a box without an outline. None
            where the outlines are not known.
        size: (width, height) px of the picture; None in files that do not say.
        reach: right and lower end of the field of view, px; (0, 0) if not known. It tells where `size` does not.
    """

    index: int
    pts_s: float
    boxes: Boxes = field(default_factory=lambda: _NO_BOXES)
    ids: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)
    scores: NDArray[np.float32] = field(default_factory=lambda: _NO_SCORES)
    detections: Detections = NO_DETECTIONS
    mask: RunLengths | None = None
    outline_boxes: Boxes | None = None
    size: tuple[int, int] | None = None
    reach: tuple[int, int] = (0, 0)


def shown_of(result: Result, *, mask: bool = True) -> ShownFrame:
    """Convert a result. Nothing is drawn over a black or frozen picture.

    mask: False leaves out the mask, whose encoding takes most of the time.
    """
    height, width = result.frame.image.shape[:2]
    empty = ShownFrame(result.frame.index, result.frame.pts_s, size=(width, height))
    if result.signal != "ok":
        return empty
    tracks, outlines = result.visible, [shape.outline for shape in result.shapes]
    return replace(
        empty,
        boxes=stacked([shape.box for shape in result.shapes]),
        ids=np.array([track.id for track in tracks], np.int64),
        scores=np.array([track.score for track in tracks], np.float32),
        detections=result.detections,
        mask=_drawn_mask(result, outlines) if mask else None,
        outline_boxes=None if result.mask is None else _boxes_around(outlines),
    )


def _drawn_mask(result: Result, outlines: Sequence[Outline | None]) -> RunLengths | None:
    if result.mask is None:
        return None
    height, width = result.frame.image.shape[:2]
    if not result.has_detector:
        return encode(result.mask.to_source(height, width))
    return encode_outlines([line for line in outlines if line is not None], (width, height))


def _boxes_around(outlines: Sequence[Outline | None]) -> Boxes:
    """Return the bounding boxes (n, 4) of outlines; NaN where there is none."""
    nowhere = np.full(4, np.nan, np.float32)
    return stacked([nowhere if line is None else np.concatenate([line.min(0), line.max(0)]) for line in outlines])


def read_results(path: Path) -> list[ShownFrame]:
    """Read a file that `run_live --results` wrote, in format 1 or 2 (docs/results_format.md).

    An incomplete last line, as a crash leaves it, is ignored. Lines without `has_detector` count as a detector's.
    Raises FileNotFoundError, or ValueError with the line's number for any other file or an empty one.
    """
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no such results file: {path}")
    frames = [_shown_line(line, number, path) for number, line in read_json_lines(path, _Line, what=_WHAT)]
    if not frames:
        raise ValueError(f"{path} holds no whole line of results")
    return frames


class _Detection(msgspec.Struct, frozen=True):
    box: tuple[_Px, _Px, _Px, _Px]
    score: Share


class _Track(msgspec.Struct, frozen=True):
    id: Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
    box: tuple[_Px, _Px, _Px, _Px]
    score: Share
    state: TrackStatus
    drawn_box: tuple[_Px, _Px, _Px, _Px] | None = None
    outline: Annotated[tuple[_Px, ...], msgspec.Meta(min_length=6, max_length=2 * MOST_CORNERS)] | None = None


class _Line(msgspec.Struct, frozen=True):
    """The keys of a line that are drawn. Format 1 had no number, and called `has_detector` `detecting`."""

    index: Count
    pts_s: Finite
    signal: Signal
    tracks: tuple[_Track, ...]
    detections: tuple[_Detection, ...]
    mask: dict[str, Any] | None
    format: Literal[1, 2] = 1
    detecting: bool = True
    has_detector: bool | None = None
    frame_size: tuple[Count, Count] | None = None
    field: tuple[Count, Count, Count, Count] = (0, 0, 0, 0)
    field_of_view: tuple[Count, Count, Count, Count] | None = None


def _shown_line(line: _Line, number: int, path: Path) -> ShownFrame:
    empty = ShownFrame(line.index, line.pts_s, size=line.frame_size, reach=(line.field_of_view or line.field)[2:])
    if line.signal != "ok":
        return empty
    tracks = [track for track in line.tracks if track.state != "tentative"]
    boxes = np.array([one.drawn_box or one.box for one in tracks], np.float32).reshape(-1, 4)
    try:
        mask, outline_boxes = _read_mask(line, tracks, boxes)
    except ValueError as error:
        raise ValueError(f"line {number} of {path} is not {_WHAT}: {error}") from error
    return replace(
        empty,
        boxes=boxes,
        ids=np.array([track.id for track in tracks], np.int64),
        scores=_scores(tracks),
        detections=Detections(_boxes(line.detections), _scores(line.detections)),
        mask=mask,
        outline_boxes=outline_boxes,
    )


def _read_mask(line: _Line, tracks: Sequence[_Track], boxes: Boxes) -> tuple[RunLengths | None, Boxes | None]:
    """Return the drawn mask of a line and the boxes around its outlines. Raises ValueError for a wrong mask."""
    if line.mask is None:
        return None, None
    mask = checked(line.mask)
    if not (line.detecting if line.has_detector is None else line.has_detector):
        return mask, None
    if any(one.drawn_box is None for one in tracks):
        return encode(drawn_part(decode(mask) > 0, boxes)), None
    height, width = mask["size"]
    polygons = [list(one.outline) for one in tracks if one.outline is not None]
    filled = fill_polygons(polygons, (width, height)) if polygons else np.zeros((height, width), np.bool_)
    outlines = [None if one.outline is None else np.array(one.outline, np.float32).reshape(-1, 2) for one in tracks]
    return encode(filled), _boxes_around(outlines)


def is_at_box(low: NDArray[np.floating], high: NDArray[np.floating], boxes: Boxes) -> bool:
    """Whether a component from low (x, y) to high (x, y) lies at one of the boxes (n, 4) xyxy, all source px."""
    margin = _NEAR_BOX * (boxes[:, 2:] - boxes[:, :2])
    apart = (high < boxes[:, :2] - margin) | (low > boxes[:, 2:] + margin)
    return bool((~apart.any(axis=1)).any())


def drawn_part(mask: NDArray[np.bool_], boxes: Boxes) -> NDArray[np.bool_]:
    """What earlier versions drew of a mask (H, W): the connected components at one of the shown boxes (n, 4) xyxy."""
    if not len(boxes) or not mask.any():
        return np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    corners = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    sizes = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    drawn = np.array([is_at_box(low, low + size, boxes) for low, size in zip(corners, sizes, strict=True)])
    drawn[0] = False  # the background
    return np.asarray(drawn[labels])


def _boxes(listed: Sequence[_Detection]) -> Boxes:
    return np.array([one.box for one in listed], np.float32).reshape(-1, 4)


def _scores(listed: Sequence[_Detection | _Track]) -> NDArray[np.float32]:
    return np.array([one.score for one in listed], np.float32)


@dataclass(frozen=True)
class Screen:
    """What was on the screen in each frame of the truth.

    Attributes:
        frames: one per frame of the truth.
        unanswered: number of frames without a result.
    """

    frames: Sequence[ShownFrame]
    unanswered: int


def on_screen(truth: VideoTruth, shown: Sequence[ShownFrame]) -> Screen:
    """Return what was on the screen in each frame of the truth.

    A frame without a result, such as one that a live source dropped, shows the result before it for HELD_S, as the
    viewer does, and then nothing. A cut removes it at once. Raises ValueError for results of another video, or of one
    with a seek or a second pass.
    """
    check_results(truth, shown)
    answers = {one.index: one for one in shown}
    frames: list[ShownFrame] = []
    last: ShownFrame | None = None
    for index, true in enumerate(truth.frames):
        pts_s = truth.pts_s(index)
        last = answers.get(index, None if true.cut else last)
        lasting = last is not None and pts_s - truth.pts_s(last.index) <= HELD_S + _ROUNDING_S
        frames.append(replace(last, index=index, pts_s=pts_s) if last and lasting else ShownFrame(index, pts_s))
    return Screen(frames, len(truth.frames) - len(answers))


def check_results(truth: VideoTruth, shown: Sequence[ShownFrame]) -> None:
    """Raise ValueError unless the results are of this video, in order and at most one per frame."""
    for before, after in zip(shown, shown[1:], strict=False):
        if after.index <= before.index:
            raise ValueError(
                f"results of frame {after.index} come after those of frame {before.index}: {truth.name} needs the "
                "video once from start to end, without a seek"
            )
    for one in shown:
        truth.check_time(one.index, one.pts_s)
        _check_size(truth, one)


def _check_size(truth: VideoTruth, one: ShownFrame) -> None:
    """Raise ValueError for a result of a picture of another size."""
    if one.size is None and (one.reach[0] > truth.size[0] or one.reach[1] > truth.size[1]):
        raise ValueError(
            f"{truth.name} is of pictures of {truth.size} px, the field of view in frame {one.index} of the results "
            f"reaches to {one.reach} px: another video, or a truth in pixels as stored"
        )
    sizes = [one.size, None if one.mask is None else (one.mask["size"][1], one.mask["size"][0])]
    if wrong := next((size for size in sizes if size not in (None, truth.size)), None):
        raise ValueError(
            f"{truth.name} is of pictures of {truth.size} px, the result of frame {one.index} is of {wrong} px: "
            "another video, or a truth in pixels as stored, which trainers.video_truth turns into those as shown"
        )


def seen_frames(truth: VideoTruth, boxes: Sequence[Boxes]) -> list[SeenFrame]:
    """Return the input of the event metrics: the labelled frames. boxes: the shown boxes (n, 4) of each frame of the
    truth, labelled or not."""
    return [
        SeenFrame(truth.pts_s(index), true.polyps, true.difficult, boxes[index], true.cut)
        for index, true in truth.labelled_frames()
    ]
