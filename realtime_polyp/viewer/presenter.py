"""Puts pictures on the screen, and keeps account of what got there and when."""

from collections.abc import Callable
from dataclasses import replace

from realtime_polyp.packets import Frame, Result
from realtime_polyp.viewer.condition import FormatChange, Size
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted
from realtime_polyp.viewer.feed import Feed
from realtime_polyp.viewer.rates import Rates


class Presenter:
    """Paints, and remembers what is on the screen. It does not decide when a picture is due.

    paint: puts a frame on the screen before it returns, and tells what got there. clock: the present time, s.

    Attributes:
        displayed: the frame on the screen.
        newest: the newest result, whether or not it may be drawn over the picture.
        awaits_first: the feed has not shown a picture yet: the one on the screen is of the feed before it.
        arrived_s: when the feed's last picture came.
        annotated_s: when a picture was last shown with a result that may be drawn over it.
        late_s: how late the picture on the screen was when it was shown.
        rates: the times of what was painted.
    """

    def __init__(self, paint: Callable[[DisplayedFrame], Painted], clock: Callable[[], float]) -> None:
        self._paint, self._clock = paint, clock
        self.displayed: DisplayedFrame | None = None
        self.newest: Result | None = None
        self.awaits_first = False
        self.arrived_s = clock()
        self.annotated_s = self.late_s = 0.0
        self.rates = Rates()
        self._format_change: tuple[Size, Size, float] | None = None  # before, after, and when

    def begin(self) -> None:
        """Another feed begins."""
        self.newest, self.awaits_first, self.arrived_s = None, True, self._clock()

    def show(self, feed: Feed, shown: DisplayedFrame, *, new_picture: bool, new_overlay: bool) -> None:
        """Paint, and account for what was painted."""
        if self.displayed and self.displayed.frame.image.shape != shown.frame.image.shape:
            self._format_change = (_size(self.displayed.frame), _size(shown.frame), self._clock())
        self.displayed = shown
        if new_picture:
            self.awaits_first, self.late_s = False, self._clock() - shown.frame.captured_s
        painted = self._paint(shown)
        now_s = self._clock()
        if new_picture and painted.picture:
            feed.count_shown(shown.frame)
            self.rates.add_picture(shown.frame.captured_s, now_s)
        elif new_picture:
            feed.count_dropped(shown.frame, "window hidden")
        if new_overlay and painted.overlay and shown.result:
            feed.count_annotated(shown.result)
            self.rates.add_overlay(shown.result.frame.captured_s, sum(shown.result.stages_ms.values()), now_s)

    def show_again(self, shown: DisplayedFrame) -> None:
        """Paint a picture that is accounted for already."""
        self.displayed = shown
        self._paint(shown)

    def remove_overlay(self) -> None:
        """Keep the picture, without any result."""
        self.newest = None
        if self.displayed:
            self.show_again(replace(self.displayed, result=None))

    def format_change(self, now_s: float) -> FormatChange | None:
        """The last change of the picture's size."""
        if self._format_change is None:
            return None
        before, after, changed_s = self._format_change
        return FormatChange(before, after, now_s - changed_s)


def _size(frame: Frame) -> Size:
    height, width = frame.image.shape[:2]
    return width, height
