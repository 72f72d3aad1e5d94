"""Labels that a person drew on the frames of a video, whatever the tool, and the ground truth made of them."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.run_lengths import RunLengths, encode, fill_polygons
from realtime_polyp.metrics.truth import LAST_FRAMES, TrueFrame, VideoTruth, first_of_last
from realtime_polyp.packets import Boxes
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.packet_scan import scan_file
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.placement import Placement
from realtime_polyp.sources.reader import Reader

_LEAST_INSIDE = 0.5  # share of a box that lies inside the picture; less is an error in the labels, not an overhang


@dataclass(frozen=True)
class Label:
    """One polyp in one frame.

    Attributes:
        id: the polyp's identity.
        box: (4,) xyxy px.
        difficult: it need not be found.
        mask: of the video's size; None where no outline was drawn.
    """

    id: int
    box: Boxes
    difficult: bool = False
    mask: RunLengths | None = None


@dataclass(frozen=True)
class Clock:
    """A video's timing.

    Attributes:
        size: (width, height) px as shown.
        rate_hz: exact frame rate, Hz.
        count: number of frames.
        placement: of the stored pixels in the picture; None if it is shown as it is stored.
        pixels: "stored" or "shown": which of them the labels are in; None: their size tells.
        first: number that the labels give the first frame; None: 0, unless they seem to count from 1.
        names: of a folder of frames, the frame of each picture by its name without the suffix; None: labels are of
            frames by number alone.
        numbered_from: number in the name of the folder's first picture, where the names count frame by frame; else
            None.
    """

    size: tuple[int, int]
    rate_hz: Fraction
    count: int
    first: int | None = None
    placement: Placement | None = None
    pixels: str | None = None
    names: Mapping[str, int] | None = None
    numbered_from: int | None = None


@dataclass(frozen=True)
class Labelling:
    """All labels of a video.

    Attributes:
        labels: by frame.
        labelled: the frames that were labelled, with or without a polyp; None: all.
        cuts: frames that start with a cut.
        notes: sentences for the person, such as which classes were left out.
    """

    labels: Mapping[int, Sequence[Label]]
    labelled: frozenset[int] | None = None
    cuts: Sequence[int] = ()
    notes: Sequence[str] = ()


def read_clock(path: Path) -> Clock:
    """Read a video's clock, and from its first picture how it is shown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no video, or its frame rate is not constant.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such video: {path}")
    try:
        with open_file(path) as container:
            reader = Reader(container, threading.Event(), name=str(path))
            stream = reader.stream
            stored = (stream.codec_context.width, stream.codec_context.height)
            rates = [rate for rate in (stream.guessed_rate, reader.rate_hz, stream.base_rate) if rate]
        times_s = scan_file(path).times_s
        placement = _read_placement(path)
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} is not a video that can be read: {error}") from error
    even = [rate for rate in rates if _fits(times_s, rate)]
    if not even:
        raise ValueError(
            f"{path} has no even rate, which a truth file needs: make one with `ffmpeg -i IN -fps_mode cfr OUT`"
        )
    if placement is None or (placement.shown == placement.stored and not placement.turned):
        return Clock(placement.shown if placement else stored, Fraction(even[0]), len(times_s))
    return Clock(placement.shown, Fraction(even[0]), len(times_s), placement=placement)


def _read_placement(path: Path) -> Placement | None:
    """Return how the first picture is shown; None if there is none."""
    with open_file(path) as container:
        stream = Reader(container, threading.Event(), name=str(path)).stream
        frame = next(container.decode(stream), None)
        return None if frame is None else RgbConverter(stream.sample_aspect_ratio).placement(frame)


def _fits(times_s: NDArray[np.float64], rate_hz: Fraction) -> bool:
    """Whether every frame's time is within half a period of the time that the rate implies.

    Of the last frames some may be missing: where a video was cut, those that are stored after later ones.
    """
    if not len(times_s):
        return False
    off = np.abs((times_s - times_s[0]) * float(rate_hz) - np.arange(len(times_s)))
    allowed = [0.5 if one < first_of_last(len(off)) else LAST_FRAMES - 0.5 for one in range(len(off))]
    return bool((off <= np.array(allowed)).all())


def truth_of(found: Labelling, clock: Clock, *, name: str, cuts: Sequence[int] = ()) -> VideoTruth:
    """Make the ground truth of a video. cuts: further frames that start with a cut.

    Raises:
        ValueError: a frame lies beyond the video, or a polyp is drawn twice in one frame.
    """
    starts = {*found.cuts, *cuts}
    check_frames((*found.labels, *starts), clock)
    frames = [
        _true_frame(
            index,
            found.labels.get(index, ()),
            clock,
            cut=index in starts,
            labelled=found.labelled is None or index in found.labelled,
        )
        for index in range(clock.count)
    ]
    return VideoTruth(name, clock.size, clock.rate_hz, frames)


def check_frames(frames: Iterable[int], clock: Clock) -> None:
    """Raise ValueError for the number of a frame that the video does not have."""
    for frame in frames:
        if not 0 <= frame < clock.count:
            raise ValueError(
                f"frame {frame} is labelled, and the video has frames 0 to {clock.count - 1}: another video?"
            )


def _true_frame(index: int, labels: Sequence[Label], clock: Clock, *, cut: bool, labelled: bool) -> TrueFrame:
    if len({one.id for one in labels}) != len(labels):
        raise ValueError(f"frame {index} has polyp {_twice(labels)} twice: each needs a number of its own")
    boxes = {one.id: _inside(one.box, clock.size) for one in labels}
    return TrueFrame(
        {one.id: boxes[one.id] for one in labels if not one.difficult},
        {one.id: boxes[one.id] for one in labels if one.difficult},
        cut,
        {one.id: one.mask for one in labels if one.mask is not None and not one.difficult},
        labelled=labelled,
    )


def _twice(labels: Sequence[Label]) -> int:
    ids = [one.id for one in labels]
    return next(one for one in ids if ids.count(one) > 1)


def _inside(box: Boxes, size: tuple[int, int]) -> Boxes:
    """Clip a box to the picture."""
    return np.clip(box, 0, np.array([*size, *size])).astype(np.float32)


def checked_box(corners: Sequence[float], size: tuple[int, int]) -> Boxes:
    """Return a labelled box (4,) xyxy px. size: (width, height) px of the picture.

    Raises:
        ValueError: it has no area, or less than half of it lies inside the picture.
    """
    x1, y1, x2, y2 = (float(one) for one in corners)
    if not (x1 < x2 and y1 < y2):  # also where one is not a number
        raise ValueError(f"a box must have x1 < x2 and y1 < y2, not {[x1, y1, x2, y2]}")
    inside = max(0.0, min(x2, size[0]) - max(x1, 0)) * max(0.0, min(y2, size[1]) - max(y1, 0))
    if not inside >= _LEAST_INSIDE * (x2 - x1) * (y2 - y1):
        how = "mostly outside" if inside > 0 else "outside"
        raise ValueError(f"the box {[x1, y1, x2, y2]} lies {how} the picture of {size[0]}x{size[1]} px")
    return np.array(corners, np.float32)


def filled(polygons: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill polygons [x1, y1, x2, y2, ...], px; return the mask (H, W). Raises ValueError as `checked_box` does, too."""
    mask = fill_polygons(polygons, size)
    corners = np.concatenate([np.reshape(one, (-1, 2)) for one in polygons])
    checked_box([*corners.min(axis=0), *corners.max(axis=0)], size)
    return mask


def outlined(identity: int, mask: NDArray[np.bool_], *, difficult: bool) -> Label:
    """Make a label from a mask (H, W), with its tight box. Raises ValueError for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("its outline holds no pixel of the picture")
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return Label(identity, box, difficult, encode(mask))
