"""The bars around the picture: beside it in a window, over it in full screen, where they come with the mouse."""

from collections.abc import Callable, Sequence

from PyQt5.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from PyQt5.QtGui import QCursor
from PyQt5.QtWidgets import QApplication, QLayout, QVBoxLayout, QWidget

SHOWN_MS = 2000
"""For how long the bars stay after the last movement of the mouse."""

SMALLEST_PX = (760, 540)
"""Width and height of the smallest window: with its frame it fits on 800 x 600."""

_STIRS = (QEvent.MouseMove, QEvent.MouseButtonPress, QEvent.Wheel)


class Bars(QObject):
    """Lays out a window as bars at the top, the picture, and bars at the bottom.

    window: the parent of all. picture: takes all the room that is left.
    on_cover: called with the heights, px, of the bars that lie over the picture at its top and at its bottom.
    """

    def __init__(
        self,
        window: QWidget,
        top: Sequence[QWidget],
        picture: QWidget,
        bottom: Sequence[QWidget],
        on_cover: Callable[[int, int], None] = lambda top_px, bottom_px: None,
    ) -> None:
        super().__init__(window)
        self._window, self._picture, self._on_cover = window, picture, on_cover
        self._top, self._bottom = _stack(window, top), _stack(window, bottom)
        self._column = QVBoxLayout(window)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        # Not the content's minimum of the moment: a window that grew, and its letters with it, could not shrink again.
        self._column.setSizeConstraint(QLayout.SetNoConstraint)
        self._column.addWidget(self._top)
        self._column.addWidget(picture, 1)
        self._column.addWidget(self._bottom)
        window.setMinimumSize(*SMALLEST_PX)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._hide_unless_used)
        self._mouse = QPoint()
        self.floating = False

    @property
    def shown(self) -> bool:
        """Whether the bars can be seen."""
        return not self._bottom.isHidden()

    def set_floating(self, floating: bool) -> None:
        """Floating bars lie over the picture and vanish; else they stand beside it."""
        if floating == self.floating:
            return
        self.floating = floating
        if floating:
            for bar in (self._top, self._bottom):
                self._column.removeWidget(bar)
            self.show()
            self._picture.installEventFilter(self)
        else:
            self._timer.stop()
            self._picture.removeEventFilter(self)
            self._column.insertWidget(0, self._top)
            self._column.addWidget(self._bottom)
            self._picture.unsetCursor()
            self._set_visible(True)

    def show(self) -> None:
        """Show floating bars for the next two seconds."""
        if not self.floating:
            return
        self.place()
        if not self.shown:
            self._picture.unsetCursor()
            self._set_visible(True)
        self._timer.start(SHOWN_MS)

    def place(self) -> None:
        """Put floating bars at the window's edges; call it when the window's size has changed."""
        if self.floating:
            width, height = self._window.width(), self._window.height()
            for bar, at_top in ((self._top, True), (self._bottom, False)):
                tall = bar.sizeHint().height()
                bar.setGeometry(0, 0 if at_top else height - tall, width, tall)
                bar.raise_()
            self._tell_cover()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in _STIRS:
            self.show()
        return False

    def _hide_unless_used(self) -> None:
        """Hide, unless the mouse moves on a bar or drags something."""
        mouse, before = self._window.mapFromGlobal(QCursor.pos()), self._mouse
        self._mouse = mouse
        is_on_bar = any(bar.geometry().contains(mouse) for bar in (self._top, self._bottom))
        if QApplication.mouseButtons() or (is_on_bar and mouse != before):
            self._timer.start(SHOWN_MS)
            return
        self._set_visible(False)
        self._picture.setCursor(Qt.BlankCursor)

    def _set_visible(self, visible: bool) -> None:
        self._top.setVisible(visible)
        self._bottom.setVisible(visible)
        self._tell_cover()

    def _tell_cover(self) -> None:
        covers = self.floating and self.shown
        self._on_cover(self._top.height() if covers else 0, self._bottom.height() if covers else 0)


def _stack(window: QWidget, widgets: Sequence[QWidget]) -> QWidget:
    """A widget with all of these below each other."""
    stack = QWidget(window)
    column = QVBoxLayout(stack)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(0)
    for widget in widgets:
        column.addWidget(widget)
    return stack
