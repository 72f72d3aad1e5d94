"""Steps back and forward through what was shown before, picture by picture, each with the overlay that it had."""

from collections.abc import Callable

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Frame, Result
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.history import History, with_picture
from realtime_polyp.viewer.pacing import IDLE_S, POLL_S

_LEAD_S = 1.0  # a feed that is opened to step back starts so much earlier: the next steps back are then remembered

PicturesOf = Callable[[Frame], Image | None]
"""Returns the picture of a frame that was shown before, or None while it is being decoded; it must not block. Raises
LookupError where it cannot be decoded."""


def no_pictures(frame: Frame) -> Image | None:
    """For sources that cannot be read twice."""
    raise LookupError(frame.index)


class Stepping:
    """Where the user is among the remembered frames. It knows nothing of feeds; see `Player.step_back`.

    history: what was shown. pictures: decodes what is no longer in memory.
    """

    def __init__(self, history: History, pictures: PicturesOf = no_pictures) -> None:
        self._history, self._pictures = history, pictures
        self._newest: int | None = None  # index of the frame that the feed delivered last
        self._wanted: DisplayedFrame | None = None  # waits for its picture
        self._lands_before = False
        self.is_back = False
        """The picture on the screen is an earlier one than the feed delivered last."""
        self.lost: Frame | None = None
        """The frame that was asked for and whose picture cannot be found again: the feed has to show it."""

    @property
    def waits(self) -> bool:
        """Whether a picture is being decoded."""
        return self._wanted is not None

    @property
    def poll_s(self) -> float:
        """After how many seconds to look again while nothing is played."""
        return POLL_S if self.waits else IDLE_S

    @property
    def target(self) -> Frame | None:
        """The frame whose picture is being decoded."""
        return self._wanted.frame if self._wanted else None

    @property
    def lead_s(self) -> float:
        """How much earlier than usual the next feed should start, s."""
        return _LEAD_S if self._lands_before else 0.0

    def add(self, frame: Frame, result: Result | None, *, shown: bool = True) -> None:
        """Remember a frame of the feed. shown: it is on the screen now; else it only came before the one to show."""
        self._history.add(frame, result)
        if not shown:
            return
        self._newest, self._wanted, self.is_back = frame.index, None, False
        if self._lands_before:
            self._lands_before = False
            self.back(frame.index)

    def back(self, index: int) -> bool:
        """Ask for the frame before `index`, or before the one that was asked for last; False where it is not known."""
        return self._go(index, -1)

    def forward(self, index: int) -> bool:
        """Ask for the frame after `index`; False where it is not known, or is the feed's to deliver."""
        return self.is_back and self._go(index, +1)

    def land_before(self) -> None:
        """When the next feed has shown its first picture, go back by one."""
        self._lands_before = True

    def leave(self) -> None:
        """The feed goes on elsewhere."""
        self._wanted, self._lands_before, self.is_back, self.lost = None, False, False, None

    def take(self) -> DisplayedFrame | None:
        """The frame that was asked for, once its picture is there; see `lost`."""
        if self._wanted is None:
            return None
        wanted = self._wanted
        image = self._history.picture(wanted.frame.index)
        try:
            image = self._pictures(wanted.frame) if image is None else image
            if image is not None and image.shape != wanted.frame.image.shape:
                raise LookupError(wanted.frame.index)
        except LookupError:
            self._wanted, self.lost = None, wanted.frame
            return None
        if image is None:
            return None
        self._wanted, self.is_back = None, wanted.frame.index != self._newest
        return with_picture(wanted, image)

    def _go(self, index: int, by: int) -> bool:
        start = self._wanted.frame.index if self._wanted else index
        found = self._history.find(start + by)
        if found is None:
            return False
        self._wanted, self.is_back = found, True
        return True
