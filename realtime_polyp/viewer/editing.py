"""Judging and correcting a recorded session in the window: verdicts, boxes, outlines, marked polyps, blind mode."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PyQt5.QtGui import QPainter

from realtime_polyp.metrics.run_lengths import RunLengths
from realtime_polyp.packets import Result
from realtime_polyp.review.actions import (
    NEW_POLYP,
    ActionError,
    Box,
    DrawnBox,
    DrawnOutline,
    Said,
    Stretch,
    Verdict,
    describe,
    polyp_name,
)
from realtime_polyp.review.actions import Action as Stored
from realtime_polyp.review.labels import mask_region
from realtime_polyp.viewer.blind import BlindMode
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.editing_mouse import Draft, EditingMouse
from realtime_polyp.viewer.editing_tools import BrushMask, area_of, box_around, polygon_outline
from realtime_polyp.viewer.filling import Filling
from realtime_polyp.viewer.judging import Judging, PolypBox, rounded_box
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.paint import Surface
from realtime_polyp.viewer.player import Player

_FIRST = "Missed polyp, step 1 of 2: draw a box around it in this picture (Esc: cancel)"
_SECOND = "Step 2 of 2: go to another picture of the same polyp (. , arrows), and draw its box there (Esc: cancel)"
_FILLING = "Filling in between the boxes \u2026 (Esc: cancel)"
_CANCELLED = "Filling in was cancelled: nothing was changed"
_BRUSH = "Brush: left button adds, right button removes, wheel sets the size; Return: done, Esc: cancel, E: polygon"
_POLYGON = "Polygon: click corner after corner; Return or double-click: done, Esc: cancel"
_NO_POLYP = "No polyp in this picture: N goes to the next alarm"
_NOTHING = "Nothing was changed"
_LEFT = "The outline was left: another picture is shown. Nothing was changed"
_NOT_YET = "Polyps are still being looked for at this threshold: judge in a moment"
_BLIND = "Blind mode: the program's results are hidden. Y: I see a polyp, Delete: I see none"
_PLAY_ON = "; Space: play on"
_START_IOU = 0.15  # the recorded outline that the brush begins with overlaps the box by at least this


class Editor:
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
        self.judging, self._player, self._canvas, self._say, self._prompt = judging, player, canvas, say, prompt
        self.selected: int | None = None
        self._tracks = judging.tracks
        self.blind = BlindMode(lambda: self.number)
        self._filling: Filling | None = None
        self.mouse = EditingMouse(
            canvas,
            self._size,
            self.boxes,
            on_press=self._press,
            on_box=self._take_box,
            on_change=self._change_box,
            on_finish=self._finish,
        )
        canvas.extra, canvas.is_blind, canvas.replaced = self.paint, lambda: self.blind.hides, self._replaced

    def actions(self) -> dict[Action, Callable[[], None]]:
        log = self.judging.log
        return {
            "accept": self._accept,
            "reject": lambda: self._judge(False),
            "two frames": self._start_two_frames,
            "outline tool": self._next_outline_tool,
            "delete box": self._delete_box,
            "undo": lambda: self._tell_undone(log.undo, "Taken back", "Nothing to take back"),
            "redo": lambda: self._tell_undone(log.redo, "Done again", "Nothing to do again"),
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
    def is_filling(self) -> bool:
        """Whether boxes are being filled in."""
        return self._filling is not None

    def boxes(self) -> tuple[PolypBox, ...]:
        """The boxes of the frame on the screen."""
        number, result = self.number, self.result
        if number is None:
            return ()
        if result is None or self.blind.hides or result.signal != "ok":  # nothing of it is drawn
            return self.judging.boxes(number, ())
        least, pairs = self._canvas.style.min_score, zip(result.visible, result.shapes, strict=True)
        on_screen = tuple(replace(track, box=shape.box) for track, shape in pairs if track.score >= least)
        return self.judging.boxes(number, on_screen)

    def current(self) -> PolypBox | None:
        """The polyp that keys act on: the selected one, else the largest that is not judged, else the largest."""
        boxes = self.boxes()
        chosen = [one for one in boxes if one.polyp == self.selected]
        rest = sorted(boxes, key=lambda one: (one.verdict is not None, -area_of(one.box)))
        return next(iter([*chosen, *rest]), None)

    def refresh(self) -> None:
        """Take what was filled in meanwhile; call it several times per second."""
        self.blind.refresh()
        if self._tracks is not self.judging.tracks:
            self._tracks = self.judging.tracks
            self._player.show_tracks_again()
        if self.mouse.draft.number not in (None, self.number):
            self._reset(_LEFT)
        filling = self._filling
        if filling and filling.is_outdated:
            name = polyp_name(filling.polyp)
            self._cancel_filling(f"Nothing was filled in: what was drawn of polyp {name} has changed meanwhile")
        elif filling and filling.is_done:
            self._end_filling()
            self._take_filled(filling)

    def leave(self) -> bool:
        """Cancel what is being drawn, else what is being filled in; False where nothing is."""
        if not self.mouse.draft.is_idle:
            self._reset(_NOTHING)
        elif self._filling:
            self._cancel_filling(_CANCELLED)
        else:
            return False
        return True

    def close(self) -> None:
        """The window closes: end what runs."""
        if self._filling:
            self._filling.cancel()
            self._filling = None

    def paint(self, painter: QPainter, surface: Surface) -> None:
        """Paint what persons said and drew over the picture."""
        number = self.number
        if number is not None:
            outlines = self.judging.judgement.outlines
            self.mouse.paint(
                painter, surface, number, lambda one: outlines.get(one.polyp, {}).get(number), self.selected
            )

    # Verdicts

    def _accept(self) -> None:
        if not self._finish():
            self._judge(True)

    def _judge(self, accepted: bool) -> None:
        if self.blind.hides:
            self._decide(accepted)
            return
        found, number = self.current(), self.number
        if found is None or number is None:
            self._say(_NO_POLYP)
            return
        if not self.judging.tracks.is_complete:
            self._say(_NOT_YET)
            return
        play_on = self._stand_still()
        first, last = self._judged_frames(found.polyp, number)
        if self._add(Verdict(found.polyp, accepted, first, last, number, found.box)):
            word = "accepted" if accepted else "rejected: a false alarm"
            self._say(f"Polyp {polyp_name(found.polyp)} {word}. N: next alarm, Ctrl+Z: take it back{play_on}")

    def _judged_frames(self, polyp: int, number: int) -> tuple[int | None, int | None]:
        """The first and last frame that a verdict is about: the alarm's; all of a polyp that a person marked; else this
        one alone."""
        if polyp < 0:
            return None, None
        alarm = self.judging.alarm_of(polyp, number)
        return (alarm.first, alarm.last) if alarm else (number, number)

    def _decide(self, polyp_seen: bool) -> None:
        """In blind mode: store what the person says, then show what the models say."""
        decision = self.blind.decide(polyp_seen=polyp_seen)
        if decision is None or not self._add(decision):
            return
        self._player.pause(True)
        self.blind.reveal()
        shown = len(self.boxes())
        theirs = f"{shown} polyp{'s' if shown != 1 else ''}" if shown else "no polyp"
        yours = "a polyp" if polyp_seen else "no polyp"
        self._say(f"You: {yours}, after {decision.took_s:.1f} s. The program: {theirs}. Space: go on")
        self._canvas.update()

    def _toggle_blind(self) -> None:
        self.blind.toggle()
        self._canvas.update()
        self._say(_BLIND if self.blind.on else "Blind mode off: the program's results are shown")

    # Marking and drawing

    def _press(self, polyp: int | None) -> bool:
        """A button goes down on the picture; the person looks at this frame from now on."""
        if self._filling:
            return False
        self._player.pause(True)
        self.selected = self.selected if polyp is None else polyp
        return True

    def _start_two_frames(self) -> None:
        self._reset("")
        self._player.pause(True)
        self.mouse.begin(Draft("two frames", began_s=time.monotonic()))
        self._prompt(_FIRST)

    def _take_box(self, box: Box) -> None:
        """A box was drawn on an empty place: in marking by two frames, or a missed polyp in this frame alone."""
        number, draft = self.number, self.mouse.draft
        if number is None:
            return
        if draft.tool == "two frames":
            draft.keys[number] = rounded_box(box)
            if len(draft.keys) < 2:
                self._prompt(_SECOND)
            else:
                self._start_filling(NEW_POLYP, draft.keys, draft.clicks, time.monotonic() - draft.began_s)
        elif name := self._mark(Stretch(NEW_POLYP, (number,), ((number, rounded_box(box)),), clicks=1)):
            self._say(f"Marked as {name} in this picture; J marks a polyp over many pictures")

    def _mark(self, stretch: Stretch) -> str | None:
        """Store a stretch and select its polyp; returns its name, or None where that is not possible."""
        stored = self._add(stretch)
        if stored is None or not isinstance(stored.said, Stretch):
            return None
        self.selected = stored.said.polyp  # a new one has its number now
        return polyp_name(stored.said.polyp)

    def _start_filling(
        self, polyp: int, keys: dict[int, Box], clicks: int, seconds: float, *, keeps_edits: bool = False
    ) -> None:
        self._reset("")
        self._prompt(_FILLING)
        self._filling = Filling(self.judging, polyp, keys, clicks=clicks, seconds=seconds, keeps_edits=keeps_edits)

    def _take_filled(self, filling: Filling) -> None:
        """Store what was filled in."""
        try:
            stretch = filling.stretch()
        except (ValueError, OSError, sqlite3.Error) as error:
            self._say(f"Nothing was filled in: {error}")
            return
        if name := self._mark(stretch):
            drawn, filled = len(stretch.keys), len(stretch.boxes) - len(stretch.keys)
            self._say(f"Marked as {name}: {drawn} boxes drawn, {filled} filled in; Ctrl+Z takes it back")

    def _cancel_filling(self, text: str) -> None:
        if self._filling:
            self._filling.cancel()
            self._end_filling()
            self._say(text)

    def _end_filling(self) -> None:
        self._filling = None
        if self.mouse.draft.tool == "select":  # else its own prompt stands there
            self._prompt("")

    def _change_box(self, found: PolypBox, box: Box) -> None:
        """A box was moved or resized. In a stretch that was filled in, what lies around follows."""
        number = self.number
        if number is None:
            return
        stretches = self.judging.judgement.stretches.get(found.polyp, ())
        stretch = next((one for one in stretches if one.first <= number <= one.last), None)
        if stretch and len(stretch.keys) > 1:
            boxes = dict(stretch.boxes)
            keys = {key: boxes[key] for key in stretch.keys} | {number: rounded_box(box)}
            self._start_filling(found.polyp, keys, stretch.clicks + 1, stretch.seconds, keeps_edits=True)
        elif self._add(DrawnBox(found.polyp, number, rounded_box(box))):
            self._say(f"Box of polyp {polyp_name(found.polyp)} changed in this picture; Ctrl+Z takes it back")

    def _delete_box(self) -> None:
        found, number = self.current(), self.number
        if found is None or number is None:
            self._say(_NO_POLYP)
            return
        play_on = self._stand_still()
        if self._add(DrawnBox(found.polyp, number, None)):
            self._say(f"Polyp {polyp_name(found.polyp)} is not in this picture; Ctrl+Z takes it back{play_on}")

    # Outlines

    def _next_outline_tool(self) -> None:
        """Brush, polygon, off."""
        size, found, tool = self._size(), self.current(), self.mouse.draft.tool
        if tool == "polygon" or size is None:
            self._reset(_NOTHING)
            return
        self._player.pause(True)
        of = (self.number, found.polyp if found else None)
        if tool == "brush":
            self.mouse.begin(Draft("polygon", number=of[0], polyp=of[1]))
        else:
            brush = BrushMask(size, self._outline_of(found) if found else None)
            self.mouse.begin(Draft("brush", brush=brush, number=of[0], polyp=of[1]))
        self._prompt(_POLYGON if tool == "brush" else _BRUSH)

    def _outline_of(self, found: PolypBox) -> RunLengths | None:
        """The outline of a box in this frame: the person's, else the recorded mask's region."""
        number, result = self.number, self.result
        drawn = self.judging.judgement.outlines.get(found.polyp, {})
        if number is not None and number in drawn:
            return drawn[number]
        if result is None or result.mask is None:
            return None
        return mask_region(result.mask, np.array(found.box), result.frame.image.shape[:2], least=_START_IOU)

    def _finish(self) -> bool:
        """Store the outline that is being drawn; False where none is."""
        draft, number, size = self.mouse.draft, self.number, self._size()
        if draft.tool not in ("brush", "polygon") or number is None or size is None:
            return False
        if draft.number != number:
            self._reset(_LEFT)
            return True
        outline = draft.brush.outline() if draft.brush else polygon_outline(draft.corners, size)
        found = next((one for one in self.boxes() if one.polyp == draft.polyp), None)
        if outline is None and (draft.tool == "polygon" or found is None):
            self._reset("A polygon needs three corners: nothing was changed" if draft.corners else _NOTHING)
            return True
        self._reset("")
        runs = dict(outline) if outline else None
        said: DrawnOutline | Stretch
        if found is not None:
            said = DrawnOutline(found.polyp, number, runs)
        else:  # of no known polyp: it marks one
            assert outline is not None and runs is not None
            box = box_around(outline)
            said = Stretch(NEW_POLYP, (number,), ((number, box),), ((number, runs),), 1)
        stored = self._add(said)
        if stored and isinstance(stored.said, DrawnOutline | Stretch):
            name = polyp_name(stored.said.polyp)
            self._say(f"Outline of polyp {name} stored for this picture; Ctrl+Z takes it back")
        return True

    # Helpers

    def _replaced(self) -> frozenset[int]:
        """The polyps whose box in this frame a person drew: the program's box is not shown beside it."""
        number, result = self.number, self.result
        if number is None or result is None or not self.judging.judgement.boxes:
            return frozenset()
        return self.judging.replaced(number, result.tracks)

    def _size(self) -> tuple[int, int] | None:
        if self._player.displayed is None:
            return None
        height, width = self._player.displayed.frame.image.shape[:2]
        return width, height

    def _reset(self, text: str) -> None:
        self.mouse.begin(Draft())
        self._prompt("")
        if text:
            self._say(text)

    def _stand_still(self) -> str:
        """Pause: a key means the picture on the screen. Returns how to go on, for the message, where it was playing."""
        if self._player.is_still:
            return ""
        self._player.pause(True)
        return _PLAY_ON

    def _add(self, said: Said) -> Stored | None:
        """Store what the person said; None, and a sentence, where that is not possible."""
        try:
            stored = self.judging.add(said)
        except (ActionError, ValueError) as error:
            self._say(str(error))
            return None
        self._canvas.update()
        return stored

    def _tell_undone(self, act: Callable[[], Stored | None], done: str, none: str) -> None:
        try:
            action = act()
        except ActionError as error:
            self._say(str(error))
            return
        self._say(f"{done}: {describe(action.said)}" if action else none)
        self._canvas.update()
