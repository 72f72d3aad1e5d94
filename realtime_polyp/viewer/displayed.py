"""What passes between player, canvas and snapshot: the frame on the screen, and what of it was painted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from realtime_polyp.packets import Frame, Result
from realtime_polyp.sources.deinterlace import Mode


@dataclass(frozen=True)
class SourceInfo:
    """What the viewer knows about a source before it plays.

    Attributes:
        name: part of the file names of snapshots.
        live: the source cannot seek, and the newest frame wins.
        duration_s: length of a recording, s; None where unknown.
        start_s: where to start in a recording, s.
        loop: start again at `start_s` when the recording ends.
        rate_hz: frames per second of a recording; None where unknown.
        path: the file that can be read a second time, for steps back and thumbnails; None without one.
        deinterlace: how that file's interlaced pictures are shown.
        time_in_file: returns where the picture of a moment is in that file, s; None where it is not in it.
    """

    name: str
    live: bool
    duration_s: float | None = None
    start_s: float = 0.0
    loop: bool = False
    rate_hz: float | None = None
    path: Path | None = None
    deinterlace: Mode = "auto"
    time_in_file: Callable[[float], float | None] = float


@dataclass(frozen=True)
class DisplayedFrame:
    """The frame on the screen, with its overlay.

    Attributes:
        frame: the picture.
        result: the result whose overlay is painted over it, not always of the same frame; None: no overlay.
        again: it was shown before, and the user stepped back or forward to it: no alarm starts or ends with it.
    """

    frame: Frame
    result: Result | None
    again: bool = False


@dataclass(frozen=True)
class Painted:
    """What reached the screen. Nothing does while the window is hidden.

    Attributes:
        picture: the picture was painted.
        overlay: the overlay was painted, whether or not it holds a polyp.
    """

    picture: bool
    overlay: bool
