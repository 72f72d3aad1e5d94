"""How the window is laid out: its size on the screen, the bars around the picture, their scale, and full screen."""

import time
from collections.abc import Callable

from PyQt5.QtCore import QEventLoop, QSize
from PyQt5.QtGui import QGuiApplication
from PyQt5.QtWidgets import QApplication, QWidget

from realtime_polyp.viewer.banner import make_top
from realtime_polyp.viewer.bars import Bars
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.controls import Controls
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.menu import MenuBar
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.theme import scale_of, scaled, style_of

_FRAME_PX = QSize(4, 40)  # of the window manager, around the window
_USUAL_PX = QSize(1280, 800)
_ON_SCREEN_LIMIT_S = 2.0


class WindowLayout:
    """Lays out a window: the menu above the canvas, controls and status line below it.

    title: in the title bar and above the picture. unverified: warn of the engine. on_cover: see `Bars`.
    """

    def __init__(
        self,
        window: QWidget,
        menu: MenuBar,
        canvas: Canvas,
        controls: Controls,
        status: StatusLine,
        *,
        title: str,
        unverified: bool,
        on_cover: Callable[[int, int], None],
    ) -> None:
        self._window, self._menu, self._controls, self._status = window, menu, controls, status
        window.setWindowTitle(f"{title} \u2013 realtime-polyp")
        screen = QGuiApplication.primaryScreen().availableSize() - _FRAME_PX
        window.resize(screen.boundedTo(_USUAL_PX))
        top = make_top(menu, title, unverified=unverified)
        self.bars = Bars(window, [top], canvas, [controls, status], on_cover)
        self.scale = 0.0
        """Of the sizes of everything around the picture."""

    def rescale(self) -> None:
        """Fit the sizes of everything around the picture to the window."""
        scale = scale_of(self._window.width(), self._window.height())
        if scale != self.scale:
            self.scale = scale
            self._window.setStyleSheet(style_of(scale))
            self._menu.setStyleSheet(scaled(FORM_STYLE, scale))
            self._controls.set_scale(scale)
            self._status.set_scale(scale)

    def use_full_screen(self, full: bool) -> None:
        """In full screen the picture has the whole window: the menu is hidden, and the bars come with the mouse."""
        self._menu.setVisible(not full)
        self.bars.set_floating(full)


def wait_for_screen(canvas: Canvas, is_closed: Callable[[], bool]) -> None:
    """Wait until the canvas can be painted on: an earlier picture would be lost."""
    deadline_s = time.monotonic() + _ON_SCREEN_LIMIT_S
    while not canvas.on_screen and not is_closed() and time.monotonic() < deadline_s:
        QApplication.processEvents(QEventLoop.AllEvents, 10)
