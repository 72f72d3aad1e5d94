"""What the three displays (synced, immediate, paced) share."""

from collections.abc import Callable
from dataclasses import dataclass

from realtime_polyp.viewer.playhead import Playhead
from realtime_polyp.viewer.presenter import Presenter
from realtime_polyp.viewer.stepping import Stepping


@dataclass(frozen=True)
class DisplayParts:
    """The parts of the player that a display works with.

    Attributes:
        presenter: puts pictures on the screen.
        playhead: knows when a picture is due.
        stepping: remembers what was shown, for steps back.
        clock: the present time, s.
        loop: goes back where a picture lies behind the end of a loop, and tells whether it did.
        live: the source is: its newest picture wins, and nothing is remembered for steps back.
    """

    presenter: Presenter
    playhead: Playhead
    stepping: Stepping
    clock: Callable[[], float]
    loop: Callable[[float], bool]
    live: bool
