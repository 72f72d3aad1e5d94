"""Labelled videos: the truth file (assets/README.md, "The truth file") and what it says of each frame."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from realtime_polyp.packets import Boxes, Frame


@dataclass(frozen=True)
class TrueFrame:
    """polyps, faint: {id: box (4,) xyxy source px}. cut: this frame continues nothing."""

    polyps: dict[int, Boxes]
    faint: dict[int, Boxes]
    cut: bool


@dataclass(frozen=True)
class VideoTruth:
    """name: the file's. size: (width, height) px. rate_hz: exact. frames: by index."""

    name: str
    size: tuple[int, int]
    rate_hz: Fraction
    frames: Sequence[TrueFrame]

    @property
    def period_s(self) -> float:
        return float(1 / self.rate_hz)

    def check_frame(self, frame: Frame) -> None:
        """Raises ValueError for a frame of another video: beyond the truth's last, of another size or time."""
        height, width = frame.image.shape[:2]
        if frame.index >= len(self.frames):
            raise ValueError(f"{self.name} describes {len(self.frames)} frames and the video has more: another video?")
        if (width, height) != self.size:
            raise ValueError(f"{self.name} describes pictures of {self.size} px, the video's are {(width, height)} px")
        if abs(frame.pts_s - frame.index * self.period_s) > self.period_s:
            raise ValueError(
                f"frame {frame.index} is at {frame.index * self.period_s:.3f} s in {self.name} and at "
                f"{frame.pts_s:.3f} s in the video: another rate, or frames left out"
            )


def read_truth(path: Path) -> VideoTruth:
    """Raises FileNotFoundError, or ValueError for a file that is no truth, without frames or without a polyp."""
    if not path.is_file():
        raise FileNotFoundError(f"no such truth file: {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        video = content["video"]
        rate_hz = Fraction(*video["fps"])
        size = (int(video["width"]), int(video["height"]))
        frames = [_true_frame(one) for one in content["frames"]]
        in_order = [one["index"] for one in content["frames"]] == list(range(len(frames)))
    except KeyError as error:
        raise ValueError(f"{path} is not a truth file (assets/README.md): {error} is missing") from error
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"{path} is not a truth file (assets/README.md): {error}") from error
    if not in_order or rate_hz <= 0:
        raise ValueError(f"{path} must list every frame once, in order from index 0, at a rate above 0")
    if not any(frame.polyps for frame in frames):
        raise ValueError(f"{path} has no polyp in any frame: sensitivity needs one")
    return VideoTruth(path.name, size, rate_hz, frames)


def _true_frame(one: dict[str, Any]) -> TrueFrame:
    return TrueFrame(_boxes(one["polyps"]), _boxes(one.get("faint", [])), bool(one.get("cut", False)))


def _boxes(listed: list[dict[str, Any]]) -> dict[int, Boxes]:
    return {int(one["id"]): np.array(one["box"], np.float32).reshape(4) for one in listed}
