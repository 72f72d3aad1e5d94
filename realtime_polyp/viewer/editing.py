"""Judging and correcting a recorded session in the window: verdicts, boxes, outlines, marked polyps, blind mode."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PyQt5.QtCore import QEvent, QObject, Qt
from PyQt5.QtGui import QMouseEvent, QPainter, QWheelEvent

from realtime_polyp.packets import Result
from realtime_polyp.review.actions import (
    Action as Stored,
)
from realtime_polyp.review.actions import (
    ActionError,
    BlindDecision,
    Box,
    DrawnBox,
    DrawnOutline,
    Said,
    Stretch,
    Verdict,
    polyp_name,
)
from realtime_polyp.review.fill import FilledFrame
from realtime_polyp.review.labels import mask_region
from realtime_polyp.viewer import editing_paint
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.editing_tools import (
    BrushMask,
    Handle,
    Point,
    box_around,
    drag,
    grab_one,
    polygon_outline,
    span_box,
)
from realtime_polyp.viewer.judging import Judging, PolypBox, stretch_of
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.paint import Surface
from realtime_polyp.viewer.player import Player

Tool = Literal["select", "two frames", "brush", "polygon"]
_REACH_PX = 8.0  # on the screen: how near to a side the mouse grabs it
_BRUSH_PX, _LEAST_BRUSH_PX, _MOST_BRUSH_PX = 12.0, 2.0, 200.0  # radius, source px
_FIRST = "Missed polyp, step 1 of 2: draw a box around it in this picture (Esc: cancel)"
_SECOND = "Step 2 of 2: go to another picture of the same polyp (. , arrows), and draw its box there (Esc: cancel)"
_FILLING = "Filling in between the two boxes \u2026"
_BRUSH = "Brush: left button adds, right button removes, wheel sets the size; Return: done, Esc: cancel, E: polygon"
_POLYGON = "Polygon: click corner after corner; Return or double-click: done, Esc: cancel"
_NO_POLYP = "No polyp in this picture: N goes to the next alarm"


@dataclass
class Draft:
    """What the mouse is doing.

    Attributes:
        tool: what it does to what.
        start: where the button went down, source px; None: it is up. at: where the mouse is.
        held: the box that is dragged, as it was, and what of it is held.
        keys: boxes of a marking by two frames so far, {frame: box}. clicks, began_s: what it has cost.
        brush, corners: an outline that is being drawn. erases: the right button is down.
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
    erases: bool = False


class Editor(QObject):
    """Edits what is on the canvas. Keys come through `actions`, the mouse through the canvas.

    say: shows a sentence. prompt: shows one until it is replaced ("": none).
    """

    def __init__(
        self,
        judging: Judging,
        player: Player,
        canvas: Canvas,
        say: Callable[[str], None],
        prompt: Callable[[str], None],
    ) -> None:
        super().__init__(canvas)
        self.judging, self._player, self._canvas, self._say, self._prompt = judging, player, canvas, say, prompt
        self.draft = Draft()
        self.selected: int | None = None
        self.brush_px = _BRUSH_PX
        self.blind, self._hidden_since_s, self._revealed_at = False, 0.0, -1
        self._filling: tuple[int, Future[list[FilledFrame]], int, float] | None = None
        canvas.extra = self.paint
        canvas.installEventFilter(self)

    def actions(self) -> dict[Action, Callable[[], None]]:
        return {
            "accept": self._accept,
            "reject": lambda: self._judge(False),
            "two frames": self._start_two_frames,
            "outline tool": self._next_outline_tool,
            "delete box": self._delete_box,
            "undo": lambda: self._tell_undone(self.judging.log.undo, "Taken back", "Nothing to take back"),
            "redo": lambda: self._tell_undone(self.judging.log.redo, "Done again", "Nothing to do again"),
            "blind": self._toggle_blind,
        }

    # What is on the screen

    @property
    def number(self) -> int | None:
        """The frame on the screen."""
        return self._player.displayed.frame.index if self._player.displayed else None

    @property
    def result(self) -> Result | None:
        return self._player.displayed.result if self._player.displayed else None

    @property
    def hides_models(self) -> bool:
        """Whether the models' results are hidden now, in blind mode."""
        return self.blind and self._revealed_at != self.number

    def boxes(self) -> tuple[PolypBox, ...]:
        """The boxes of the frame on the screen."""
        number, result = self.number, self.result
        if number is None:
            return ()
        tracks = result.tracks if result and not self.hides_models else ()
        least = self._canvas.style.min_score
        return self.judging.boxes(number, tuple(one for one in tracks if one.score >= least))

    def current(self) -> PolypBox | None:
        """The polyp that keys act on: the selected one, else the largest that is not judged, else the largest."""
        boxes = self.boxes()
        chosen = [one for one in boxes if one.polyp == self.selected]
        rest = sorted(boxes, key=lambda one: (one.verdict is not None, -(one.box[2] - one.box[0])))
        return next(iter([*chosen, *rest]), None)

    def refresh(self) -> None:
        """Take what was filled in meanwhile; call it several times per second."""
        if self._filling and self._filling[1].done():
            (polyp, future, clicks, seconds), self._filling = self._filling, None
            self._prompt("")
            try:
                stretch = stretch_of(polyp, future.result(), clicks=clicks, seconds=seconds)
            except (ValueError, OSError) as error:
                self._say(str(error))
                return
            if self._add(stretch):
                filled = len(stretch.boxes) - len(stretch.keys)
                self._say(
                    f"Marked as {polyp_name(polyp)}: {len(stretch.keys)} boxes drawn, {filled} filled in; "
                    "Ctrl+Z takes it back"
                )
        self._canvas.blind = self.hides_models

    def leave(self) -> bool:
        """Cancel what is being drawn; False where nothing is."""
        if self.draft.tool == "select" and self.draft.start is None:
            return False
        self._reset("Nothing was changed")
        return True

    # Verdicts

    def _accept(self) -> None:
        if not self._finish():
            self._judge(True)

    def _judge(self, accepted: bool) -> None:
        if self.hides_models:
            self._decide(accepted)
            return
        found, number = self.current(), self.number
        if found is None or number is None:
            self._say(_NO_POLYP)
            return
        alarm = None if found.polyp < 0 else self.judging.alarm_of(found.polyp, number)
        first, last = (alarm.first, alarm.last) if alarm else (None, None)
        if self._add(Verdict(found.polyp, accepted, first, last, number, found.box)):
            word = "accepted" if accepted else "rejected: a false alarm"
            self._say(f"Polyp {polyp_name(found.polyp)} {word}. N: next alarm, Ctrl+Z: take it back")

    def _decide(self, polyp_seen: bool) -> None:
        """In blind mode: store what the person says, then show what the models say."""
        number = self.number
        if number is None:
            return
        took_s = round(time.monotonic() - self._hidden_since_s, 2)
        if self._add(BlindDecision(number, polyp_seen, took_s)):
            self._revealed_at = number
            self._player.pause(True)
            shown = len(self.boxes())
            theirs = f"{shown} polyp{'s' if shown != 1 else ''}" if shown else "no polyp"
            yours = "a polyp" if polyp_seen else "no polyp"
            self._say(f"You: {yours}, after {took_s:.1f} s. The program: {theirs}. Space: go on")
            self._canvas.blind = False
            self._canvas.update()

    def _toggle_blind(self) -> None:
        self.blind, self._revealed_at = not self.blind, -1
        self._hidden_since_s = time.monotonic()
        self._canvas.blind = self.blind
        self._canvas.update()
        on = "Blind mode: the program's results are hidden. Y: I see a polyp, Delete: I see none"
        self._say(on if self.blind else "Blind mode off: the program's results are shown")

    def hide_again(self) -> None:
        """In blind mode, after a decision: the person goes on, and the models are hidden again."""
        if self.blind and self._revealed_at >= 0:
            self._revealed_at, self._hidden_since_s = -1, time.monotonic()

    # Marking and drawing

    def _start_two_frames(self) -> None:
        self._reset("")
        self._player.pause(True)
        self.draft = Draft("two frames", began_s=time.monotonic())
        self._prompt(_FIRST)
        self._canvas.setCursor(Qt.CrossCursor)

    def _take_key(self, box: Box) -> None:
        """A box was drawn in marking by two frames."""
        draft, number = self.draft, self.number
        if number is None:
            return
        draft.keys[number] = box
        if len(draft.keys) < 2:
            self._prompt(_SECOND)
            return
        seconds = time.monotonic() - draft.began_s
        self._start_filling(self.judging.judgement.next_marked(), draft.keys, draft.clicks, seconds)

    def _start_filling(self, polyp: int, keys: dict[int, Box], clicks: int, seconds: float) -> None:
        self._reset("")
        self._prompt(_FILLING)
        self.selected = polyp
        self._filling = (polyp, self.judging.start_fill(keys), clicks, seconds)

    def _take_box(self, box: Box) -> None:
        """A box was drawn on an empty place: a missed polyp, in this frame alone."""
        number = self.number
        if number is None:
            return
        polyp = self.judging.judgement.next_marked()
        if self._add(Stretch(polyp, (number,), ((number, _rounded(box)),), clicks=1)):
            self.selected = polyp
            self._say(f"Marked as {polyp_name(polyp)} in this picture; J marks a polyp over many pictures")

    def _change_box(self, found: PolypBox, box: Box) -> None:
        """A box was moved or resized. In a stretch that was filled in, what lies around follows."""
        number = self.number
        if number is None:
            return
        self.selected = found.polyp
        stretches = self.judging.judgement.stretches.get(found.polyp, ())
        stretch = next((one for one in stretches if one.first <= number <= one.last), None)
        if stretch and len(stretch.keys) > 1 and not self._filling:
            boxes = dict(stretch.boxes)
            keys = {key: boxes[key] for key in stretch.keys} | {number: _rounded(box)}
            self._start_filling(found.polyp, keys, stretch.clicks + 1, stretch.seconds)
        elif self._add(DrawnBox(found.polyp, number, _rounded(box))):
            self._say(f"Box of polyp {polyp_name(found.polyp)} changed in this picture; Ctrl+Z takes it back")

    def _delete_box(self) -> None:
        found, number = self.current(), self.number
        if found is None or number is None:
            self._say(_NO_POLYP)
        elif self._add(DrawnBox(found.polyp, number, None)):
            self._say(f"Polyp {polyp_name(found.polyp)} is not in this picture; Ctrl+Z takes it back")

    # Outlines

    def _next_outline_tool(self) -> None:
        """Brush, polygon, off."""
        if self.draft.tool == "polygon":
            self._reset("Nothing was changed")
            return
        size, found = self._size(), self.current()
        if size is None:
            return
        self._player.pause(True)
        if self.draft.tool == "brush":
            self.draft = Draft("polygon")
            self._prompt(_POLYGON)
        else:
            self.draft = Draft("brush", brush=BrushMask(size, self._outline_of(found) if found else None))
            self._prompt(_BRUSH)
        self._canvas.setCursor(Qt.CrossCursor)
        self._canvas.update()

    def _outline_of(self, found: PolypBox) -> dict[str, object] | None:
        """The outline of a box in this frame: the person's, else the recorded mask's region."""
        number, result = self.number, self.result
        drawn = self.judging.judgement.outlines.get(found.polyp, {})
        if number is not None and number in drawn:
            return dict(drawn[number] or {}) or None
        if result is None or result.mask is None:
            return None
        region = mask_region(result.mask, np.array(found.box), result.frame.image.shape[:2])
        return dict(region) if region else None

    def _finish(self) -> bool:
        """Store the outline that is being drawn; False where none is."""
        draft, number, size = self.draft, self.number, self._size()
        if draft.tool not in ("brush", "polygon") or number is None or size is None:
            return False
        found = self.current()
        outline = draft.brush.outline() if draft.brush else polygon_outline(draft.corners, size)
        if outline is None and draft.tool == "polygon":
            self._reset("A polygon needs three corners: nothing was changed")
            return True
        said: Said
        if found is None and outline is not None:  # of no known polyp: it marks one
            polyp, box = self.judging.judgement.next_marked(), box_around(outline)
            said = Stretch(polyp, (number,), ((number, box),), ((number, dict(outline)),), clicks=1)
        elif found is not None:
            polyp = found.polyp
            said = DrawnOutline(polyp, number, dict(outline) if outline else None)
        else:
            self._reset("Nothing was changed")
            return True
        self._reset("")
        if self._add(said):
            self._say(f"Outline of polyp {polyp_name(polyp)} stored for this picture; Ctrl+Z takes it back")
        return True

    # The mouse

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QWheelEvent) and self.draft.tool == "brush":
            grown = self.brush_px * (1.15 if event.angleDelta().y() > 0 else 1 / 1.15)
            self.brush_px = min(max(grown, _LEAST_BRUSH_PX), _MOST_BRUSH_PX)
            self._canvas.update()
            return True
        if not isinstance(event, QMouseEvent) or self._player.displayed is None:
            return False
        point = self._canvas.source_point(event.localPos())
        if event.type() == QEvent.MouseButtonPress:
            return self._press(point, event)
        if event.type() == QEvent.MouseMove:
            return self._move(point, event)
        if event.type() == QEvent.MouseButtonRelease:
            return self._release(point)
        return event.type() == QEvent.MouseButtonDblClick and self._double_click()

    def _press(self, point: Point, event: QMouseEvent) -> bool:
        size, draft = self._size(), self.draft
        if size is None or not (0 <= point[0] <= size[0] and 0 <= point[1] <= size[1]):
            return False
        if event.button() not in (Qt.LeftButton, Qt.RightButton) or self._filling:
            return False
        self._player.pause(True)
        draft.start = draft.at = point
        draft.clicks += 1
        draft.erases = event.button() == Qt.RightButton
        if draft.brush:
            draft.brush.paint(point, self.brush_px, erase=draft.erases)
        elif draft.tool == "polygon":
            draft.corners.append(point)
        elif draft.tool == "select":
            draft.held = grab_one(self.boxes(), point, self._canvas.source_px(_REACH_PX))
            if draft.held:
                self.selected = draft.held[0].polyp
        self._canvas.update()
        return True

    def _move(self, point: Point, event: QMouseEvent) -> bool:
        draft, before = self.draft, self.draft.at
        draft.at = point
        if draft.tool == "select" and draft.start is None:
            self._show_cursor(point)
            return False
        if draft.brush and draft.start is not None:
            draft.brush.paint(point, self.brush_px, erase=draft.erases)
        if draft.start is not None or draft.tool in ("brush", "polygon") or before is None:
            self._canvas.update()
        return draft.start is not None

    def _release(self, point: Point) -> bool:
        draft, size = self.draft, self._size()
        if draft.start is None or size is None:
            return False
        start, held = draft.start, draft.held
        draft.start = draft.held = None
        if draft.brush:
            draft.brush.lift()
        elif draft.tool in ("select", "two frames"):
            moved = max(abs(point[0] - start[0]), abs(point[1] - start[1])) >= 1.0
            box = span_box(start, point, size)
            if held and moved:
                self._change_box(held[0], drag(held[0].box, held[1], _difference(point, start), size))
            elif box and not held:
                self._take_key(_rounded(box)) if draft.tool == "two frames" else self._take_box(box)
        self._canvas.update()
        return True

    def _double_click(self) -> bool:
        if self.draft.tool == "polygon":
            self._finish()
            return True
        return self.draft.tool != "select"

    def _show_cursor(self, point: Point) -> None:
        held = grab_one(self.boxes(), point, self._canvas.source_px(_REACH_PX)) if self._player.paused else None
        shapes = {(0, 0): Qt.SizeAllCursor, (0, 1): Qt.SizeVerCursor, (1, 0): Qt.SizeHorCursor}
        shapes |= {(1, 1): Qt.SizeFDiagCursor, (-1, 1): Qt.SizeBDiagCursor}
        if held is None:
            self._canvas.unsetCursor()
        else:
            x, y = held[1]
            key = (abs(x), abs(y)) if not (x and y) else (1, 1) if x == y else (-1, 1)
            self._canvas.setCursor(shapes[key])

    # Painting

    def paint(self, painter: QPainter, surface: Surface) -> None:
        """Paint what persons drew, and what is being drawn, over the picture."""
        number = self.number
        boxes = list(self.boxes())
        draft, size = self.draft, self._size()
        if number is None or size is None:
            return
        dragged = self._dragged(size)
        outlines = self.judging.judgement.outlines
        for one in boxes:
            if draft.held and one.polyp == draft.held[0].polyp and dragged:
                continue
            outline = outlines.get(one.polyp, {}).get(number) if draft.brush is None else None
            editing_paint.paint_polyp(painter, surface, one, outline, chosen=one.polyp == self.selected)
        for box in draft.keys.values() if number in draft.keys else ():
            editing_paint.paint_box(painter, surface, box, dashed=True)
        if dragged:
            editing_paint.paint_box(painter, surface, dragged, dashed=True)
        if draft.brush:
            editing_paint.paint_brush(painter, surface, draft.brush.contours(), draft.at, self.brush_px)
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

    # Helpers

    def _size(self) -> tuple[int, int] | None:
        if self._player.displayed is None:
            return None
        height, width = self._player.displayed.frame.image.shape[:2]
        return width, height

    def _reset(self, text: str) -> None:
        self.draft = Draft()
        self._prompt("")
        self._canvas.unsetCursor()
        self._canvas.update()
        if text:
            self._say(text)

    def _add(self, said: Said) -> bool:
        """Store what the person said; False, and a sentence, where that is not possible."""
        try:
            self.judging.add(said)
        except (ActionError, ValueError) as error:
            self._say(str(error))
            return False
        self._canvas.update()
        return True

    def _tell_undone(self, act: Callable[[], Stored | None], done: str, none: str) -> None:
        try:
            action = act()
        except ActionError as error:
            self._say(str(error))
            return
        self._say(f"{done}: {describe(action.said)}" if action else none)
        self._canvas.update()


def describe(said: Said) -> str:
    """A few words for what was said."""
    match said:
        case Verdict():
            return f"polyp {polyp_name(said.polyp)} {'accepted' if said.accepted else 'rejected'}"
        case Stretch():
            return f"polyp {polyp_name(said.polyp)} marked"
        case DrawnBox():
            return f"box of polyp {polyp_name(said.polyp)}"
        case DrawnOutline():
            return f"outline of polyp {polyp_name(said.polyp)}"
        case _:
            return {"SamePolyp": "same polyp", "PolypFields": "fields", "BlindDecision": "decision in blind mode"}.get(
                type(said).__name__, type(said).__name__.lower()
            )


def _rounded(box: Box) -> Box:
    x1, y1, x2, y2 = (round(value, 2) for value in box)
    return x1, y1, x2, y2


def _difference(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]
