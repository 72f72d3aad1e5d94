"""Labels that a person drew on the frames of a video, whatever the tool, and the ground truth made of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from realtime_polyp.metrics.run_lengths import RunLengths, encode
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.packets import Boxes
from realtime_polyp.sources.opening import open_file


@dataclass(frozen=True)
class Label:
    """One polyp in one frame.

    Attributes:
        id: the polyp's identity.
        box: (4,) xyxy px.
        difficult: difficult: it need not be found.
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
        size: (width, height) px.
        rate_hz: exact frame rate, Hz.
        count: number of frames.
    """

    size: tuple[int, int]
    rate_hz: Fraction
    count: int


def read_clock(path: Path) -> Clock:
    """Read a video's clock without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no video, or its frame rate is not constant.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such video: {path}")
    try:
        with open_file(path) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise ValueError(f"{path} holds no video")
            size = (stream.codec_context.width, stream.codec_context.height)
            step_s = stream.time_base or Fraction(0)
            times = sorted(Fraction(one.pts * step_s) for one in container.demux(stream) if one.pts is not None)
            rates = [rate for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} is not a video that can be read: {error}") from error
    even = [rate for rate in rates if _fits(times, rate)]
    if not even:
        raise ValueError(
            f"{path} has no even rate, which a truth file needs: make one with `ffmpeg -i IN -fps_mode cfr OUT`"
        )
    return Clock(size, Fraction(even[0]), len(times))


def _fits(times: Sequence[Fraction], rate_hz: Fraction) -> bool:
    """Whether every frame's time is within half a period of the time that the rate implies."""
    return bool(times) and all(abs((one - times[0]) * rate_hz - place) <= 0.5 for place, one in enumerate(times))


def truth_of(labels: Mapping[int, Sequence[Label]], clock: Clock, *, name: str, cuts: Sequence[int] = ()) -> VideoTruth:
    """Make the ground truth of a video.

    labels: by frame; frames without labels have no polyp. cuts: frames that start with a cut.

    Raises:
        ValueError: a frame lies beyond the video, or a polyp is drawn twice in one frame.
    """
    check_frames((*labels, *cuts), clock)
    frames = [_true_frame(index, labels.get(index, ()), clock, index in set(cuts)) for index in range(clock.count)]
    return VideoTruth(name, clock.size, clock.rate_hz, frames)


def check_frames(frames: Iterable[int], clock: Clock) -> None:
    """Raise ValueError for the number of a frame that the video does not have."""
    for frame in frames:
        if not 0 <= frame < clock.count:
            raise ValueError(
                f"frame {frame} is labelled, and the video has frames 0 to {clock.count - 1}: another video?"
            )


def _true_frame(index: int, labels: Sequence[Label], clock: Clock, cut: bool) -> TrueFrame:
    if len({one.id for one in labels}) != len(labels):
        raise ValueError(f"frame {index} has polyp {_twice(labels)} twice: each needs a number of its own")
    inside = [(one, _inside(one.box, clock.size)) for one in labels]
    seen = [(one, box) for one, box in inside if box[0] < box[2] and box[1] < box[3]]
    return TrueFrame(
        {one.id: box for one, box in seen if not one.difficult},
        {one.id: box for one, box in seen if one.difficult},
        cut,
        {one.id: one.mask for one, _ in seen if one.mask is not None and not one.difficult},
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
        ValueError: it has no area, or lies more than one picture outside the picture.
    """
    x1, y1, x2, y2 = corners
    if not (x1 < x2 and y1 < y2):  # also where one is not a number
        raise ValueError(f"a box must have x1 < x2 and y1 < y2, not {[float(one) for one in corners]}")
    if not (-size[0] <= x1 and x2 <= 2 * size[0] and -size[1] <= y1 and y2 <= 2 * size[1]):
        raise ValueError(
            f"the box {[float(one) for one in corners]} lies far outside the picture of {size[0]}x{size[1]} px"
        )
    return np.array(corners, np.float32)


def outlined(identity: int, mask: NDArray[np.bool_], *, difficult: bool) -> Label | None:
    """Make a label from a mask (H, W), with its tight box; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return Label(identity, box, difficult, encode(mask))
