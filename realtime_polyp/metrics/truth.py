"""Labelled videos: reads and writes truth files (docs/video_truth.md)."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.json_files import Count, read_json
from realtime_polyp.metrics.run_lengths import LONGEST_SIDE_PX, RunLengths, checked
from realtime_polyp.packets import LONGEST_STEP_S, Boxes, Frame

Affine = NDArray[
    np.float64
]  # (2, 3): [[a, b, tx], [c, d, ty]], a point (x, y) goes to (a x + b y + tx, c x + d y + ty)

LAST_FRAMES = 4
"""Some of the last frames may be missing where a video was cut: those that are stored after later ones."""

_WHAT = "a truth file (docs/video_truth.md)"
_MOST_BYTES = 256 << 20  # two hours with masks
_RATES_HZ = (0.001, 10_000.0)
_Px = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Side = Annotated[int, msgspec.Meta(ge=1, le=LONGEST_SIDE_PX)]
_Rate = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]


@dataclass(frozen=True)
class TrueFrame:
    """The truth of one frame.

    Attributes:
        polyps: {id: box (4,) xyxy source px}.
        difficult: the same for difficult polyps, which need not be found.
        cut: this frame does not continue the one before.
        masks: {id: run lengths} of polyps with a known outline.
        motion: maps the frame before to this one, source px; None if unknown, and at a cut.
        labelled: somebody looked at this frame; else nothing is known of it, and it is not scored.
    """

    polyps: Mapping[int, Boxes]
    difficult: Mapping[int, Boxes]
    cut: bool = False
    masks: Mapping[int, RunLengths] = field(default_factory=dict)
    motion: Affine | None = None
    labelled: bool = True

    def box(self, identity: int) -> Boxes | None:
        """Return the box of a polyp, difficult or not; None if it is not in the frame."""
        return self.polyps.get(identity, self.difficult.get(identity))


@dataclass(frozen=True)
class VideoTruth:
    """The truth of one video.

    Attributes:
        name: of the truth file.
        size: (width, height) px.
        rate_hz: exact frames per second.
        frames: by index.
    """

    name: str
    size: tuple[int, int]
    rate_hz: Fraction
    frames: Sequence[TrueFrame]

    @property
    def period_s(self) -> float:
        return float(1 / self.rate_hz)

    def pts_s(self, index: int) -> float:
        """Return a frame's time, s. The division is exact, so an hour at 30000/1001 does not drift."""
        return float(index / self.rate_hz)

    def labelled_frames(self) -> list[tuple[int, TrueFrame]]:
        """Return the labelled frames with their indices. After unlabelled ones, a frame has their cut and no motion."""
        found: list[tuple[int, TrueFrame]] = []
        cut = skipped = False
        for index, frame in enumerate(self.frames):
            cut = cut or frame.cut
            if frame.labelled:
                found.append((index, replace(frame, cut=cut, motion=None) if skipped else frame))
            cut, skipped = cut and not frame.labelled, not frame.labelled
        return found

    def labelled_part(self) -> "VideoTruth":
        """Return the truth of the labelled frames alone, at the rate at which most of them follow each other.

        A frame that comes later than that, and more than LONGEST_STEP_S after the one before it, has a cut.
        """
        found = self.labelled_frames()
        if len(found) == len(self.frames):
            return self
        steps = [after - index for (index, _), (after, _) in pairwise(found)]
        usual = Counter(steps).most_common(1)[0][0] if steps else 1
        longest = max(usual, int(self.rate_hz * Fraction(LONGEST_STEP_S)))
        frames = [
            replace(frame, cut=True, motion=None) if step > longest else frame
            for step, (_, frame) in zip([0, *steps], found, strict=False)
        ]
        return replace(self, frames=frames, rate_hz=self.rate_hz / usual)

    @property
    def labelled_period_s(self) -> float:
        """How long a labelled frame before a cut or the end lasts, s: the usual time from one to the next.

        At most LONGEST_STEP_S, or the period of the video's own frames where that is longer.
        """
        return max(self.period_s, min(self.labelled_part().period_s, LONGEST_STEP_S))

    def check_frame(self, frame: Frame) -> None:
        """Raise ValueError for a frame of another size or time, or after the truth's last."""
        height, width = frame.image.shape[:2]
        if (width, height) != self.size and frame.index < len(self.frames):
            raise ValueError(f"{self.name} describes pictures of {self.size} px, the video's are {(width, height)} px")
        self.check_time(frame.index, frame.pts_s)

    def check_time(self, index: int, pts_s: float) -> None:
        """Raise ValueError for a frame after the truth's last, or at another time."""
        if index >= len(self.frames):
            raise ValueError(f"{self.name} describes {len(self.frames)} frames and the video has more: another video?")
        periods = 1 if index < first_of_last(len(self.frames)) else LAST_FRAMES
        if abs(pts_s - self.pts_s(index)) > periods * self.period_s:
            raise ValueError(
                f"frame {index} is at {self.pts_s(index):.3f} s in {self.name} and at {pts_s:.3f} s in the video: "
                "another rate, or frames left out"
            )


def first_of_last(count: int) -> int:
    """Return the first frame whose time may be later because of missing ones, of a video of `count` frames."""
    return count - LAST_FRAMES if count > 2 * LAST_FRAMES else count


def read_truth(path: Path) -> VideoTruth:
    """Read a truth file. Raises FileNotFoundError, or ValueError for any other file or one without frames."""
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no such truth file: {path}")
    content = read_json(path, _Document, what=_WHAT, limit=_MOST_BYTES)
    rate_hz, size = Fraction(*content.video.fps), (content.video.width, content.video.height)
    if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
        raise ValueError(f"{path} is not {_WHAT}: {float(rate_hz):g} frames per second is out of range")
    if not content.frames or [one.index for one in content.frames] != list(range(len(content.frames))):
        raise ValueError(f"{path} must list every frame once, in order from index 0")
    if not any(one.labelled for one in content.frames):
        raise ValueError(f"{path} has no labelled frame, so nothing can be scored")
    frames = [_true_frame(one, size, path) for one in content.frames]
    return VideoTruth(path.name, size, rate_hz, frames)


class _Polyp(msgspec.Struct, frozen=True):
    id: Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
    box: tuple[_Px, _Px, _Px, _Px]
    mask: Any = None


class _Frame(msgspec.Struct, frozen=True):
    index: Count
    polyps: tuple[_Polyp, ...]
    faint: tuple[_Polyp, ...] = ()
    cut: bool = False
    motion: tuple[tuple[_Px, _Px, _Px], tuple[_Px, _Px, _Px]] | None = None
    labelled: bool = True


class _Video(msgspec.Struct, frozen=True):
    width: _Side
    height: _Side
    fps: tuple[_Rate, _Rate]


class _Document(msgspec.Struct, frozen=True):
    """The file, without what describes the video to people."""

    video: _Video
    frames: tuple[_Frame, ...]


def _true_frame(one: _Frame, size: tuple[int, int], path: Path) -> TrueFrame:
    try:
        masks = {polyp.id: checked(polyp.mask, size) for polyp in one.polyps if polyp.mask is not None}
        motion = None if one.cut or one.motion is None else np.array(one.motion, np.float64)
        return TrueFrame(_boxes(one.polyps), _boxes(one.faint), one.cut, masks, motion, one.labelled)
    except ValueError as error:
        raise ValueError(f"{path} is not {_WHAT}: in frame {one.index}, {error}") from error


def _boxes(listed: Sequence[_Polyp]) -> dict[int, Boxes]:
    boxes = {one.id: np.array(one.box, np.float32) for one in listed}
    if len(boxes) != len(listed):
        raise ValueError("one polyp is listed twice")
    for identity, (x1, y1, x2, y2) in boxes.items():
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f"the box of polyp {identity} must be x1 < x2, y1 < y2, not {[x1, y1, x2, y2]}")
    return boxes


def write_truth(truth: VideoTruth, path: Path, *, video: str) -> None:
    """Write a file for `read_truth`, one line per frame. video: name of the video file."""
    width, height = truth.size
    rate = [truth.rate_hz.numerator, truth.rate_hz.denominator]
    head = {"file": video, "width": width, "height": height, "fps": rate, "frames": len(truth.frames)}
    lines = [json.dumps(_frame_to_dict(truth, index), separators=(",", ":")) for index in range(len(truth.frames))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"video":{json.dumps(head)},"frames":[\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def _frame_to_dict(truth: VideoTruth, index: int) -> dict[str, Any]:
    frame = truth.frames[index]
    content: dict[str, Any] = {
        "index": index,
        "pts_s": round(truth.pts_s(index), 6),
        "polyps": [_polyp_to_dict(one, box, frame.masks.get(one)) for one, box in frame.polyps.items()],
        "faint": [_polyp_to_dict(one, box, None) for one, box in frame.difficult.items()],
    }
    if frame.cut:
        content["cut"] = True
    if not frame.labelled:
        content["labelled"] = False
    if frame.motion is not None:
        content["motion"] = [[round(float(value), 6) for value in row] for row in frame.motion]
    return content


def _polyp_to_dict(identity: int, box: Boxes, mask: RunLengths | None) -> dict[str, Any]:
    content = {"id": identity, "box": _rounded(box)}
    return {**content, "mask": dict(mask)} if mask else content


def _rounded(box: Boxes) -> list[float]:
    return [round(float(value), 2) for value in box]
