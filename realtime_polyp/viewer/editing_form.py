"""The form for what a person knows about a polyp: site, size, Paris class, histology, note, and another number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QKeyEvent
from PyQt5.QtWidgets import QFormLayout, QFrame, QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from realtime_polyp.review.actions import polyp_name
from realtime_polyp.viewer.forms import FORM_STYLE

LABELS = {"site": "Site", "size_mm": "Size, mm", "paris": "Paris class", "histology": "Histology"}
_HINTS = {
    "site": "such as sigmoid, 25 cm",
    "size_mm": "such as 6",
    "paris": "0-Ip, 0-Is, 0-IIa, ...",
    "histology": "such as tubular adenoma",
}


@dataclass(frozen=True)
class Filled:
    """What was written into the form.

    Attributes:
        values: the fields that changed, by name.
        note: a note at this moment; "": none.
        same_as: text of the number of the polyp that this one is; "": it is itself.
    """

    values: Mapping[str, str]
    note: str
    same_as: str


class PolypForm(QFrame):
    """A panel over the picture. Return stores, Esc closes without.

    on_done: called with the polyp (None: only a note) and what was written.
    """

    def __init__(self, parent: QWidget, on_done: Callable[[int | None, Filled], None]) -> None:
        super().__init__(parent)
        self.setObjectName("form")
        self.setStyleSheet(FORM_STYLE)
        self.setFrameShape(QFrame.StyledPanel)
        self._on_done = on_done
        self._polyp: int | None = None
        self._before: Mapping[str, str] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(18, 14, 18, 14)
        self._title = QLabel()
        layout.addRow(self._title)
        self.edits = {name: QLineEdit() for name in (*LABELS, "same_as", "note")}
        for name, label in {**LABELS, "same_as": "Same as polyp", "note": "Note"}.items():
            self.edits[name].setPlaceholderText(_HINTS.get(name, ""))
            self.edits[name].setMaxLength(400)
            self.edits[name].setMinimumWidth(self.fontMetrics().horizontalAdvance("such as tubular adenoma 12345"))
            layout.addRow(label, self.edits[name])
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 4, 0, 0)
        for text, act in (("Store  [Return]", self.store), ("Cancel  [Esc]", self.leave)):
            button = QPushButton(text)
            button.clicked.connect(lambda _, act=act: act())
            row.addWidget(button)
        layout.addRow(buttons)
        self.hide()

    def open(self, polyp: int | None, values: Mapping[str, str]) -> None:
        """Show the form for a polyp with what is known of it; None: for a note alone."""
        self._polyp, self._before = polyp, values
        self._title.setText("Note at this moment" if polyp is None else f"Polyp {polyp_name(polyp)}")
        for name, edit in self.edits.items():
            edit.setText(values.get(name, ""))
            edit.setEnabled(polyp is not None or name == "note")
        self.adjustSize()
        room = self.parentWidget().size() - self.size()
        self.move(max(0, room.width() - 16), max(0, room.height() // 2))
        self.show()
        self.raise_()
        self.edits["note" if polyp is None else "site"].setFocus()

    def store(self) -> None:
        texts = {name: edit.text().strip() for name, edit in self.edits.items()}
        texts["size_mm"] = texts["size_mm"].removesuffix("mm").rstrip()  # the label names the unit, the column too
        changed = {name: texts[name] for name in LABELS if texts[name] != self._before.get(name, "")}
        self.leave()
        self._on_done(self._polyp, Filled(changed, texts["note"], texts["same_as"]))

    def leave(self) -> None:
        self.hide()
        self.window().setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keep all keys from the window: they are letters here."""
        if event.key() == Qt.Key_Escape:
            self.leave()
        elif event.key() in (Qt.Key_Return, Qt.Key_Enter):
            button = self.focusWidget()
            if isinstance(button, QPushButton):
                button.click()
            else:
                self.store()
        event.accept()
