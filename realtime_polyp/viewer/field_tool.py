"""Draws the field of view over the picture with the mouse."""

from collections.abc import Callable

from PyQt5.QtCore import QEvent, QObject, QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QMouseEvent, QPainter, QPainterPath, QPen

from realtime_polyp.field_of_view import LEAST_SIDE_PX, FieldOfView
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.editing_tools import Point, span_box
from realtime_polyp.viewer.field_control import FieldControl
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.paint import Surface
from realtime_polyp.viewer.player import Player

_NOT_HERE = "The field of view of a recorded session stays as it was recorded"
_NO_PICTURE = "There is no picture to draw on yet"
_DRAW = "Draw a box around the endoscope's picture; V: find it by itself; Esc: leave it as it is"
_FOUND = "The field of view is found again"
_TOO_SMALL = f"A field of view has at least {LEAST_SIDE_PX} px a side: draw it again"
_DOUBT = "Two pictures \u2013 press V, draw the endoscope's"
_SHADE, _LINE, _EDGE = QColor(0, 0, 0, 110), QColor("#ffffff"), QColor("#000000")


class FieldTool(QObject):
    """Takes the mouse over a canvas while the field of view is drawn.

    control: of the source that plays; None: a recorded session is shown. say: shows a message. on_named: called with
    each new field; None: it is found again.
    """

    def __init__(
        self,
        control: FieldControl | None,
        player: Player,
        canvas: Canvas,
        say: Callable[[str], None],
        on_named: Callable[[FieldOfView | None], None],
    ) -> None:
        super().__init__(canvas)
        self._control, self._player, self._canvas = control, player, canvas
        self._say, self._on_named = say, on_named
        self._draws = False
        self._start: Point | None = None
        self._at: Point | None = None
        if control:
            canvas.installEventFilter(self)

    def actions(self) -> dict[Action, Callable[[], None]]:
        return {"field": self.toggle}

    def badges(self) -> tuple[str, ...]:
        """What must not be overlooked: another picture may be the endoscope's, and nobody said which is."""
        return (_DOUBT,) if self._control and not self._control.named and self._control.rival else ()

    def toggle(self) -> None:
        """Begin to draw; while drawing, find the field again."""
        if self._control is None:
            self._say(_NOT_HERE)
        elif self._draws:
            self.leave()
            self._name(None, _FOUND)
        elif self._size is None:
            self._say(_NO_PICTURE)
        else:
            self._draws, self._start = True, None
            self._canvas.setCursor(Qt.CrossCursor)
            self._canvas.extra = self._paint
            self._canvas.update()
            self._say(_DRAW)

    def leave(self) -> bool:
        """Esc: leave the field as it is; False where nothing is drawn."""
        was_drawing, self._draws, self._start = self._draws, False, None
        if was_drawing:
            self._canvas.extra = None
            self._canvas.unsetCursor()
            self._canvas.update()
        return was_drawing

    @property
    def _size(self) -> tuple[int, int] | None:
        """(width, height) of the picture on the screen, px."""
        displayed = self._player.displayed
        return (displayed.frame.image.shape[1], displayed.frame.image.shape[0]) if displayed else None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not (self._draws and isinstance(event, QMouseEvent)):
            return False
        self._at = self._canvas.source_point(QPointF(event.localPos()))
        if event.type() == QEvent.MouseButtonPress and event.button() == Qt.LeftButton:
            self._start = self._at
        elif event.type() == QEvent.MouseButtonRelease and self._start is not None:
            self._release()
        self._canvas.update()
        return True

    def _release(self) -> None:
        field = self._drawn()
        self._start = None
        if field is None:
            self._say(_TOO_SMALL)
            return
        self.leave()
        self._name(field, f"Field of view {field.width} \u00d7 {field.height} px")

    def _name(self, field: FieldOfView | None, text: str) -> None:
        assert self._control
        is_remembered = self._control.name(field)
        self._on_named(field)
        self._say(f"{text}, remembered for this source" if is_remembered and field else text)
        if self._player.paused:
            self._player.reopen()  # the picture that stands still is analysed again

    def _drawn(self) -> FieldOfView | None:
        """The box as it would be if the button went up now; None where it is too small."""
        size = self._size
        box = span_box(self._start, self._at, size) if self._start and self._at and size else None
        if box is None:
            return None
        x1, y1, x2, y2 = (round(side) for side in box)
        return FieldOfView(x1, y1, x2, y2) if min(x2 - x1, y2 - y1) >= LEAST_SIDE_PX else None

    def _paint(self, painter: QPainter, surface: Surface) -> None:
        """Shade what is outside the box that is drawn, else outside the field as it is."""
        displayed = self._player.displayed
        result = displayed.result if displayed else None
        field = self._drawn() or (result.field_of_view if result and self._start is None else None)
        if field is None:
            return
        origin, scale = surface.picture.topLeft(), surface.scale
        rect = QRectF(field.x1 * scale, field.y1 * scale, field.width * scale, field.height * scale).translated(origin)
        outside = QPainterPath()
        outside.addRect(surface.picture)
        outside.addRect(rect)
        painter.save()
        painter.fillPath(outside, _SHADE)
        painter.setBrush(Qt.NoBrush)
        for colour, width, style in ((_EDGE, 4.0, Qt.SolidLine), (_LINE, 2.0, Qt.DashLine)):
            painter.setPen(QPen(colour, width, style))
            painter.drawRect(rect)
        painter.restore()
