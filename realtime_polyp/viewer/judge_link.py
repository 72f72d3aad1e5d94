"""Ties the polyp list, marks and editing to the window: what they show, and what their keys do."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QWidget

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Frame
from realtime_polyp.review.action_log import account_name
from realtime_polyp.review.actions import (
    ActionError,
    Mark,
    Note,
    PolypFields,
    Said,
    SamePolyp,
    Withdrawal,
    describe,
    insert_action,
)
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.editing import Editor
from realtime_polyp.viewer.editing_form import Filled, PolypForm
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.judging import Judging
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.polyp_entries import Entry, MarkEntry, PolypEntry, ShownPolyps, review_entries
from realtime_polyp.viewer.polyp_list import PolypList
from realtime_polyp.viewer.polyp_pictures import PolypPictures
from realtime_polyp.viewer.theme import scaled

if TYPE_CHECKING:
    from realtime_polyp.viewer.window import ViewerWindow

_ONLY_IN_REVIEW: tuple[Action, ...] = (
    "accept", "reject", "two frames", "outline tool", "delete box", "undo", "redo", "blind", "fields",
)  # fmt: skip
_TOLD_MS = 4000
_NOT_HERE = "Polyps are judged in a recorded session: record with R, then open it with Ctrl+R"
_NOT_KEPT = ". Nothing is recorded: the mark is lost when this window closes"


class RecordsActions(Protocol):
    """A `SessionRecorder`: the session that is recorded now."""

    def time_of(self, frame: Frame) -> float: ...

    @property
    def database(self) -> sqlite3.Connection: ...

    def submit(self, work: Callable[[], object]) -> None: ...


class JudgeLink:
    """Call `refresh` several times per second, and `on_frame` for each painted frame.

    judging: of the recorded session that is shown; None: a source plays, and only moments can be marked.
    """

    def __init__(self, window: "ViewerWindow", judging: Judging | None) -> None:
        self._window, self.judging = window, judging
        self.shown, self.marks = ShownPolyps(), list[MarkEntry]()
        self.list = PolypList(lambda time_s: self._jump(time_s))
        self._prompt = QLabel(window.canvas)
        self._prompt.setObjectName("prompt")
        self._prompt.setAlignment(Qt.AlignCenter)
        self._prompt.hide()
        self._is_listed, self._pictures = True, self._make_pictures()
        self._withdrawal_from_s: float | None = None
        self._told = QTimer(self.list)
        self._told.setSingleShot(True)
        self._told.timeout.connect(lambda: self.prompt(self._asks))
        self._asks: str = ""
        self._entries: tuple[tuple[object, object], tuple[Entry, ...]] | None = None
        self._blinded: tuple[TimelineData, TimelineData] | None = None
        self.editor = Editor(judging, window.player, window.canvas, self._tell, self.prompt) if judging else None
        self.form = PolypForm(window.canvas, self._store_form) if judging else None

    @property
    def hides_models(self) -> bool:
        """Whether nothing of the models may be shown or heard now."""
        return self.editor is not None and self.editor.blind.hides

    def actions(self) -> dict[Action, Callable[[], None]]:
        say = self._window.show_message
        own: dict[Action, Callable[[], None]] = {
            "mark": self._mark,
            "withdrawal": self._mark_withdrawal,
            "polyp list": self._toggle_list,
        }
        if self.editor is None:
            return own | {action: lambda: say(_NOT_HERE) for action in _ONLY_IN_REVIEW}
        return own | self.editor.actions() | {"fields": self._open_form}

    def place_list(self) -> None:
        """Put the list beside the canvas, which already lies in the window's layout."""
        canvas, layout = self._window.canvas, self._window.layout()
        stage = QWidget(self._window)
        layout.replaceWidget(canvas, stage)
        layout.setStretchFactor(stage, 1)
        row = QHBoxLayout(stage)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(canvas, 1)
        row.addWidget(self.list)

    def on_frame(self, displayed: DisplayedFrame) -> None:
        """Take a painted frame."""
        if self.judging is None and not displayed.again:
            self.shown.update(displayed.result, self._window.overlay_style.min_score)

    def refresh(self) -> None:
        """Bring list and prompt up to date."""
        if self.editor and self.judging:
            with suppress(sqlite3.Error):  # a disk that does not answer now may do so later
                self.judging.log.refresh()  # what others say meanwhile
            self.editor.refresh()
        if not self.list.isHidden():
            current = self.editor.current() if self.editor else None
            number = self.judging.judgement.number_of(current.polyp) if self.judging and current else None
            self.list.show_entries(self.entries(), self._picture_of, number)

    def entries(self) -> tuple[Entry, ...]:
        """The rows of the list."""
        judging = self.judging
        if judging is None:
            return self.shown.listed(self.marks)
        alarms = () if self.editor and self.editor.blind.on else judging.alarms
        made_of = (alarms, judging.judgement)
        if self._entries is None or any(one is not then for one, then in zip(made_of, self._entries[0], strict=True)):
            listed = review_entries(alarms, judging.judgement, judging.session.frames, judging.rulings())
            self._entries = (made_of, listed)
        return self._entries[1]

    def timeline(self, data: TimelineData) -> TimelineData:
        """What of a timeline may be shown: in blind mode no alarm and no score."""
        if not (self.editor and self.editor.blind.on):
            return data
        if self._blinded is None or self._blinded[0] is not data:
            blinded = replace(data, alarms=(), other_alarms=(), best_score=data.best_score * 0)
            self._blinded = (data, blinded)
        return self._blinded[1]

    def leave(self) -> bool:
        """Esc: cancel what is under way here; False where nothing is."""
        if self.form and self.form.isVisible():
            self.form.leave()
            return True
        return self.editor is not None and self.editor.leave()

    def go_on(self) -> None:
        """The person plays on or goes elsewhere."""
        if self.editor:
            self.editor.blind.go_on()

    def fit(self) -> None:
        """Fit list and prompt to the window."""
        window = self._window
        self.list.fit(window.width(), window.scale)
        self._place_prompt()

    def set_full_screen(self, full: bool) -> None:
        """In full screen the list is hidden until it is asked for."""
        self._show_list(not full and self._is_listed)

    def prompt(self, text: str) -> None:
        """Show a sentence over the picture until it is replaced; "": none."""
        self._asks = text
        self._show_prompt(text)

    def close(self) -> None:
        self._told.stop()
        if self.editor:
            self.editor.close()
        if self._pictures:
            self._pictures.close()
        if self.judging:
            self.judging.close()

    # Marks

    def _mark(self) -> None:
        at_s = self._window.player.shown_s
        if self._say_it(Mark(round(max(0.0, at_s), 3))):
            self._tell(f"Marked at {clock_text(at_s)}, in the list of polyps{self._not_kept}")

    def _mark_withdrawal(self) -> None:
        """Mark the start of withdrawal, then its end."""
        at_s = self._window.player.shown_s
        start_s = self.judging.judgement.withdrawal_s[0] if self.judging else self._withdrawal_from_s
        ends = start_s is not None and at_s > start_s
        if self._say_it(Withdrawal("end" if ends else "start", round(max(0.0, at_s), 3))):
            self._withdrawal_from_s = None if ends else at_s
            text = (
                f"Withdrawal ends here, after {clock_text(at_s - (start_s or 0.0))}"
                if ends
                else "Withdrawal starts here"
            )
            following = "marks its end"
            if ends:  # in a recorded session, a later end replaces this one
                following = "moves its end" if self.judging else "marks its start"
            self._window.show_message(f"{text}; W again {following}{self._not_kept}")

    @property
    def _not_kept(self) -> str:
        """What is said of a mark that is only in memory."""
        recorder = self._window.record.recorder
        return "" if self.judging or (recorder and not recorder.error) else _NOT_KEPT

    def _say_it(self, said: Mark | Withdrawal) -> bool:
        """Store what was said in the session that is reviewed or recorded, and keep it in memory."""
        if self.judging:
            return self._store(said)
        name = "look at this later" if isinstance(said, Mark) else f"withdrawal: {said.edge}"
        self.marks.append(MarkEntry(said.session_s, name))
        recorder, shown = self._window.record.recorder, self._window.player.displayed
        if recorder and shown:
            record_said(recorder, said, shown.frame)
        return True

    # Fields

    def _open_form(self) -> None:
        assert self.editor and self.form and self.judging
        self._window.player.pause(True)
        found = self.editor.current()
        polyp = self.judging.judgement.number_of(found.polyp) if found else None
        self.form.setStyleSheet(scaled(FORM_STYLE, self._window.scale))
        self.form.open(polyp, {} if polyp is None else self.judging.judgement.fields.get(polyp, {}))

    def _store_form(self, polyp: int | None, filled: Filled) -> None:
        assert self.judging
        said: list[Said] = []
        if polyp is not None and filled.values:
            said.append(PolypFields(polyp, dict(filled.values)))
        if filled.note:
            said.append(Note(round(max(0.0, self._window.player.shown_s), 3), filled.note, polyp))
        other = _number_of(filled.same_as)
        if polyp is not None and other is not None:
            said.append(SamePolyp(polyp, other))
        if not all([self._store(one) for one in said]):
            return
        told = [f"Stored: {', '.join(describe(one) for one in said)}; Ctrl+Z takes it back"] if said else []
        if polyp is not None and filled.same_as and other is None:
            told.append(f"{filled.same_as} is no polyp's number: write one such as 2 or M1")
        if told:
            self._tell(". ".join(told))

    def _store(self, said: Said) -> bool:
        assert self.judging
        try:
            self.judging.add(said)
        except (ActionError, ValueError) as error:
            self._window.show_message(str(error))
            return False
        return True

    # The list

    def _toggle_list(self) -> None:
        shown = self.list.isHidden()
        if not self._window.isFullScreen():
            self._is_listed = shown
        self._show_list(shown)

    def _show_list(self, shown: bool) -> None:
        self.list.setVisible(shown)
        self.fit()

    def _jump(self, time_s: float) -> None:
        if self._window.player.info.live:
            self._window.show_message("A live source cannot go back: record the session, and open it afterwards")
        else:
            self.go_on()
            self._window.player.pause(True)
            self._window.seek(time_s)

    def _make_pictures(self) -> PolypPictures | None:
        info = self._window.player.info
        if self.judging is None or info.path is None:
            return None
        session = self.judging.session

        def size_at(time_s: float) -> tuple[int, int] | None:
            row = int(np.searchsorted(session.frames.session_s, time_s + 1e-6, side="right")) - 1
            height, width = session.frame(max(0, row) + 1).image.shape[:2]
            return height, width

        return PolypPictures(info.path, lambda: None, info.time_in_file, size_at)

    def _picture_of(self, entry: PolypEntry) -> Image | None:
        if self._pictures:
            return self._pictures.at(entry)
        return self.shown.picture(entry.polyp)

    def _tell(self, text: str) -> None:
        """Show what was done, large, for a few seconds."""
        self._window.show_message(text)
        self._show_prompt(text)
        self._told.start(_TOLD_MS)

    def _show_prompt(self, text: str) -> None:
        self._told.stop()
        self._prompt.setText(text)
        self._prompt.setVisible(bool(text))
        self._place_prompt()

    def _place_prompt(self) -> None:
        canvas = self._window.canvas
        self._prompt.ensurePolished()  # the sizes of the letters come with the style
        needed = self._prompt.fontMetrics().horizontalAdvance(self._prompt.text()) + 60 * self._window.scale
        width = round(min(0.94 * canvas.width(), needed))
        self._prompt.setWordWrap(True)
        self._prompt.setFixedWidth(max(100, width))
        self._prompt.setFixedHeight(max(1, self._prompt.heightForWidth(self._prompt.width())))
        top = canvas.height() - canvas.covered_px - self._prompt.height() - round(0.02 * canvas.height())
        self._prompt.move((canvas.width() - self._prompt.width()) // 2, top)
        self._prompt.raise_()


def record_said(recorder: RecordsActions, said: Mark | Withdrawal, frame: Frame) -> None:
    """Store a mark in the session that is recorded, at the time that its clock had at the frame on the screen."""
    author = account_name()

    def work() -> None:
        timed = replace(said, session_s=round(max(0.0, recorder.time_of(frame)), 3))
        insert_action(recorder.database, timed, author=author)

    recorder.submit(work)


def _number_of(text: str) -> int | None:
    """The number of a polyp as a person writes it: 2, or M1; None: it is none. The first one is 1."""
    marked = text.strip().upper().startswith("M")
    digits = text.strip()[1:] if marked else text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 7 and int(digits)):
        return None
    return -int(digits) if marked else int(digits)
