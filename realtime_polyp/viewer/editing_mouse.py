"""The mouse over a recorded session: boxes that are drawn, moved and resized, and outlines by brush or polygon."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from PyQt5.QtCore import QEvent, QObject, QPointF, Qt
from PyQt5.QtGui import QMouseEvent, QPainter, QWheelEvent

from realtime_polyp.metrics.run_lengths import RunLengths
from realtime_polyp.review.actions import Box
from realtime_polyp.viewer import editing_paint
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.editing_tools import BrushMask, Handle, Point, drag, grab_one, span_box
from realtime_polyp.viewer.judging import PolypBox
from realtime_polyp.viewer.paint import Surface

Tool = Literal["select", "two frames", "brush", "polygon"]
OutlineAt = Callable[[PolypBox], RunLengths | None]

_REACH_PX = 8.0  # on the screen: how near to a side the mouse grabs it
_BRUSH_PX, _LEAST_BRUSH_PX, _MOST_BRUSH_PX = 12.0, 2.0, 200.0  # radius, source px
_MOVED_PX = 1.0
_CURSORS = {
    (0, 0): Qt.SizeAllCursor, (0, 1): Qt.SizeVerCursor, (1, 0): Qt.SizeHorCursor, (1, 1): Qt.SizeFDiagCursor,
    (1, -1): Qt.SizeBDiagCursor,
}  # fmt: skip


@dataclass
class Draft:
    """What is being drawn.

    Attributes:
        tool: what the mouse does to what.
        start: where the button went down, source px; None: it is up. at: where the mouse is.
        held: the box that is dragged, as it was, and what of it is held.
        keys: boxes of a marking by two frames so far, {frame: box}. clicks, began_s: what it has cost.
        brush, corners: an outline that is being drawn. number, polyp: the frame and the polyp that it is of; None: of a
            new one. erases: the right button is down.
    """

    tool: Tool = "select"
    start: Point | None = None
    at: Point | None = None
    held: tuple[PolypBox, Handle] | None = None
    keys: dict[int, Box] = field(default_factory=dict)
    clicks: int = 0
    began_s: float = 0.0
    brush: BrushMask | None = None
    corners: list[Point] = field(default_factory=list)
    number: int | None = None
    polyp: int | None = None
    erases: bool = False

    @property
    def is_idle(self) -> bool:
        return self.tool == "select" and self.start is None


class EditingMouse(QObject):
    """Follows the mouse over a canvas, and paints what is being drawn.

    size: (width, height) px of the picture on the screen; None: there is none. boxes: its boxes. on_press: called when
    a button goes down, with the polyp under it; returns whether that is allowed now. on_box: called with a new box.
    on_change: called with a box and what became of it. on_finish: called at a double-click on a polygon.
    """

    def __init__(
        self,
        canvas: Canvas,
        size: Callable[[], tuple[int, int] | None],
        boxes: Callable[[], tuple[PolypBox, ...]],
        *,
        on_press: Callable[[int | None], bool],
        on_box: Callable[[Box], None],
        on_change: Callable[[PolypBox, Box], None],
        on_finish: Callable[[], bool],
    ) -> None:
        super().__init__(canvas)
        self._canvas, self._size, self._boxes = canvas, size, boxes
        self._on_press, self._on_box, self._on_change, self._on_finish = on_press, on_box, on_change, on_finish
        self.draft = Draft()
        self._brush_px = _BRUSH_PX
        canvas.installEventFilter(self)

    def begin(self, draft: Draft) -> None:
        """Take a tool."""
        self.draft = draft
        if draft.tool == "select":
            self._canvas.unsetCursor()
        else:
            self._canvas.setCursor(Qt.CrossCursor)
        self._canvas.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QWheelEvent) and self.draft.tool == "brush":
            grown = self._brush_px * (1.15 if event.angleDelta().y() > 0 else 1 / 1.15)
            self._brush_px = min(max(grown, _LEAST_BRUSH_PX), _MOST_BRUSH_PX)
            self._canvas.update()
            return True
        size = self._size()
        if not isinstance(event, QMouseEvent) or size is None:
            return False
        point = self._canvas.source_point(QPointF(event.localPos()))
        if event.type() == QEvent.MouseButtonPress:
            return self._press(point, size, event)
        if event.type() == QEvent.MouseMove:
            return self._move(point)
        if event.type() == QEvent.MouseButtonRelease:
            return self._release(point, size)
        return event.type() == QEvent.MouseButtonDblClick and self._double_click()

    def _press(self, point: Point, size: tuple[int, int], event: QMouseEvent) -> bool:
        inside = 0 <= point[0] <= size[0] and 0 <= point[1] <= size[1]
        if not inside or event.button() not in (Qt.LeftButton, Qt.RightButton):
            return False
        draft = self.draft
        held = grab_one(self._boxes(), point, self._canvas.source_px(_REACH_PX)) if draft.tool == "select" else None
        if not self._on_press(held[0].polyp if held else None):
            return False
        draft.start = draft.at = point
        draft.held, draft.erases = held, event.button() == Qt.RightButton
        draft.clicks += 1
        if draft.brush:
            draft.brush.paint(point, self._brush_px, erase=draft.erases)
        elif draft.tool == "polygon":
            draft.corners.append(point)
        self._canvas.update()
        return True

    def _move(self, point: Point) -> bool:
        draft = self.draft
        draft.at = point
        if draft.is_idle:
            self._show_cursor(point)
            return False
        if draft.brush and draft.start is not None:
            draft.brush.paint(point, self._brush_px, erase=draft.erases)
        self._canvas.update()
        return draft.start is not None

    def _release(self, point: Point, size: tuple[int, int]) -> bool:
        draft = self.draft
        start, held = draft.start, draft.held
        if start is None:
            return False
        draft.start = draft.held = None
        by = _difference(point, start)
        if draft.brush:
            draft.brush.lift()
        elif held and max(abs(by[0]), abs(by[1])) >= _MOVED_PX:
            self._on_change(held[0], drag(held[0].box, held[1], by, size))
        elif draft.tool in ("select", "two frames") and not held and (box := span_box(start, point, size)):
            self._on_box(box)
        self._canvas.update()
        return True

    def _double_click(self) -> bool:
        if self.draft.tool == "polygon":
            self._on_finish()
        return not self.draft.is_idle

    def _show_cursor(self, point: Point) -> None:
        held = grab_one(self._boxes(), point, self._canvas.source_px(_REACH_PX))
        if held is None:
            self._canvas.unsetCursor()
            return
        x, y = held[1]
        self._canvas.setCursor(_CURSORS[(1, x * y) if x and y else (abs(x), abs(y))])

    def paint(
        self, painter: QPainter, surface: Surface, number: int, outline_at: OutlineAt, selected: int | None
    ) -> None:
        """Paint the boxes of a frame with what persons said of them, and what is being drawn."""
        draft, size = self.draft, self._size()
        if size is None:
            return
        dragged = self._dragged(size)
        for one in self._boxes():
            if not (draft.held and dragged and one.polyp == draft.held[0].polyp):
                outline = None if draft.brush else outline_at(one)
                editing_paint.paint_polyp(painter, surface, one, outline, chosen=one.polyp == selected)
        for box in (draft.keys.get(number), dragged):
            if box is not None:
                editing_paint.paint_box(painter, surface, box, dashed=True)
        if draft.brush:
            editing_paint.paint_brush(painter, surface, draft.brush.contours(), draft.at, self._brush_px)
        if draft.corners:
            editing_paint.paint_corners(painter, surface, draft.corners, draft.at)

    def _dragged(self, size: tuple[int, int]) -> Box | None:
        """The box as it would be if the button went up now."""
        draft = self.draft
        if draft.start is None or draft.at is None or draft.tool not in ("select", "two frames"):
            return None
        if draft.held:
            return drag(draft.held[0].box, draft.held[1], _difference(draft.at, draft.start), size)
        return span_box(draft.start, draft.at, size)


def _difference(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]
