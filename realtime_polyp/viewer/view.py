"""What player, canvas and snapshot tell each other."""

from dataclasses import dataclass

from realtime_polyp.packets import Frame, Result


@dataclass(frozen=True)
class SourceInfo:
    """name: in the names of snapshots. live: it cannot seek. duration_s: of a recording, where known. start_s: where to
    begin. loop: begin again there at the end."""

    name: str
    live: bool
    duration_s: float | None = None
    start_s: float = 0.0
    loop: bool = False


@dataclass(frozen=True)
class View:
    """What the screen shows: a picture, and the result whose overlay may be painted over it."""

    frame: Frame
    result: Result | None


@dataclass(frozen=True)
class Painted:
    """What reached the screen; nothing does while the window is hidden."""

    picture: bool
    overlay: bool
