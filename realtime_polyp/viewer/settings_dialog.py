"""The dialog of the settings. Every field that is left at its default follows the program's own default later on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PyQt5.QtCore import QSize, Qt
from PyQt5.QtGui import QColor, QGuiApplication, QIcon
from PyQt5.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from realtime_polyp.outputs.overlay import HELD_COLOUR, MASK_COLOUR, SHOWN_COLOUR
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.settings import Settings
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.viewer.forms import FORM_STYLE

_SOUND_CHOICES = (("Live only", None), ("Always", True), ("Never", False))
_TIMES = TemporalConfig()
_TWO_COLUMNS_PX = 1000  # of the screen's width


def ask_settings(parent: QWidget, settings: Settings, place: str) -> Settings | None:
    """Show the dialog; returns the new settings, or None after Cancel. place: the file, for the user to see."""
    dialog = SettingsDialog(parent, settings, place)
    return dialog.settings() if dialog.exec_() else None


class SettingsDialog(QDialog):
    """See `ask_settings`. `settings()` returns what the fields hold."""

    def __init__(self, parent: QWidget | None, settings: Settings, place: str) -> None:
        super().__init__(parent)
        self._read: dict[str, Callable[[], Any]] = {}
        self.setWindowTitle("Settings")
        self.setStyleSheet(FORM_STYLE)
        self._fields: dict[str, QWidget] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(26, 14, 26, 18)
        area = QScrollArea(self)  # the fields scroll on a screen that is too small for them
        area.setWidgetResizable(True)
        area.setWidget(QWidget(area))
        narrow = QGuiApplication.primaryScreen().availableSize().width() < _TWO_COLUMNS_PX
        columns = QBoxLayout(QBoxLayout.TopToBottom if narrow else QBoxLayout.LeftToRight, area.widget())
        columns.setContentsMargins(0, 0, 12, 0)
        columns.setSpacing(6 if narrow else 32)
        self._form = _form(columns)
        self._add_detection(settings)
        self._add_sound(settings)
        self._add_colours(settings)
        self._form = _form(columns)
        self._add_folders(settings)
        self._add_pictures(settings)
        column.addWidget(area, 1)
        column.addWidget(_dim(f"Saved in {place}" if place else "Not saved: they apply until the window is closed"))
        column.addWidget(self._buttons())
        room = QGuiApplication.primaryScreen().availableSize() - QSize(90, 190)
        area.setMinimumSize((area.widget().sizeHint() + QSize(14, 4)).boundedTo(room))

    def settings(self) -> Settings:
        return replace(Settings(), **{name: read() for name, read in self._read.items()})

    def reset(self) -> None:
        """Put the defaults into all fields."""
        fresh = SettingsDialog(None, Settings(), "")
        for name, field in self._fields.items():
            _copy(fresh._fields[name], field)

    # Fields

    def _add_detection(self, settings: Settings) -> None:
        self._heading("Detection")
        self._number("threshold", "Threshold, 0 to 1", settings.threshold, SCORE_THRESHOLD, 1, 0.05)
        self._number("confirm_s", "Show a polyp after", settings.confirm_s, _TIMES.confirm_s, 60, 0.05)
        self._number("hold_s", "Keep it without a detection for", settings.hold_s, _TIMES.hold_s, 60, 0.05)
        self._check("analyse_ahead", "Analyse a recording ahead, for its timeline", settings.analyse_ahead)

    def _add_sound(self, settings: Settings) -> None:
        self._heading("Sound")
        choice = QComboBox()
        for text, value in _SOUND_CHOICES:
            choice.addItem(text, value)
        choice.setCurrentIndex([value for _, value in _SOUND_CHOICES].index(settings.sound_on))
        self._add("sound_on", "Sound for a new alarm", choice, choice.currentData)
        volume = _spin_box(settings.sound_volume, 1, 0.1)
        self._add("sound_volume", "Volume, 0 to 1", volume, volume.value)

    def _add_folders(self, settings: Settings) -> None:
        self._heading("Folders")
        self._folder("snapshots", "Snapshots", settings.snapshots)
        self._folder("sessions", "Recorded sessions", settings.sessions)
        self._check("remember_recent", "Keep a list of what was opened last", settings.remember_recent)

    def _add_pictures(self, settings: Settings) -> None:
        self._heading("Pictures for others")
        self._form.addRow(_dim("Black outside the endoscope's picture, where names stand, in:"))
        self._check("blank_outside", "snapshots and saved video", settings.blank_outside)
        self._check("blank_outside_events", "the pictures of alarms", settings.blank_outside_events)

    def _add_colours(self, settings: Settings) -> None:
        self._heading("Colours")
        self._colour("shown_colour", "Polyp", settings.shown_colour, SHOWN_COLOUR)
        self._colour("held_colour", "Polyp, not detected just now", settings.held_colour, HELD_COLOUR)
        self._colour("outline_colour", "Outline", settings.outline_colour, MASK_COLOUR)

    def _heading(self, text: str) -> None:
        label = QLabel(text.upper())
        label.setObjectName("heading")
        label.setContentsMargins(0, 8, 0, 0)
        self._form.addRow(label)

    def _number(self, name: str, text: str, value: float | None, usual: float, highest: float, step: float) -> None:
        """A number that may be left at its default: its box is then marked so and returns None."""
        box = _spin_box(usual if value is None else value, highest, step)
        if name.endswith("_s"):
            box.setSuffix(" s")
        usual_text = f"default: {usual:g}{' s' if name.endswith('_s') else ''}"
        box.setToolTip(f"{usual_text}; a calibration brings its own")
        self._add(name, text, box, lambda: None if abs(box.value() - usual) < 5e-4 else round(box.value(), 3))

    def _folder(self, name: str, text: str, value: Path | None) -> None:
        line = QLineEdit(str(value or ""))
        line.setPlaceholderText(f"./{name}")
        line.setToolTip(f"Left empty: the folder {name} where the program was started")
        line.setMinimumWidth(130)
        choose = QPushButton("Choose")
        choose.setAutoDefault(False)
        choose.clicked.connect(lambda: _choose_folder(self, line))
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(line, 1)
        layout.addWidget(choose)
        self._form.addRow(text, row)
        self._remember(name, line, lambda: _folder_of(line.text().strip()))

    def _check(self, name: str, text: str, value: bool) -> None:
        box = QCheckBox(text)
        box.setChecked(value)
        self._form.addRow(box)
        self._remember(name, box, box.isChecked)

    def _colour(self, name: str, text: str, value: str | None, usual: tuple[int, int, int]) -> None:
        button = ColourButton(value, usual)
        self._add(name, text, button, lambda: button.colour)

    def _add(self, name: str, text: str, field: QWidget, read: Callable[[], Any]) -> None:
        self._form.addRow(text, field)
        self._remember(name, field, read)

    def _remember(self, name: str, field: QWidget, read: Callable[[], Any]) -> None:
        self._fields[name], self._read[name] = field, read

    def _buttons(self) -> QDialogButtonBox:
        buttons = QDialogButtonBox(QDialogButtonBox.Save | QDialogButtonBox.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        for button in buttons.buttons():
            button.setIcon(QIcon())  # the desktop's are made for bright dialogs
        defaults = buttons.addButton("Defaults", QDialogButtonBox.ResetRole)
        defaults.clicked.connect(self.reset)
        return buttons


class ColourButton(QPushButton):
    """Shows a colour and asks for another. colour: "#rrggbb"; None: the usual one."""

    def __init__(self, colour: str | None, usual: tuple[int, int, int]) -> None:
        super().__init__()
        self._usual = QColor(*usual).name()
        self.setAutoDefault(False)
        self.setFixedSize(96, 30)
        self.clicked.connect(self._ask)
        self.show_colour(colour)

    def show_colour(self, colour: str | None) -> None:
        self.colour = None if colour == self._usual else colour
        self.setStyleSheet(f"background: {colour or self._usual}; border-radius: 6px;")
        self.setToolTip(f"{colour or self._usual}: click to change")

    def _ask(self) -> None:
        chosen = QColorDialog.getColor(QColor(self.colour or self._usual), self, "Choose a colour")
        if chosen.isValid():
            self.show_colour(chosen.name())


def _spin_box(value: float, highest: float, step: float) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(3 if highest > 1 else 2)
    box.setRange(0, highest)
    box.setSingleStep(step)
    box.setValue(value)
    box.setFixedWidth(110)
    box.setButtonSymbols(QDoubleSpinBox.NoButtons)  # type a number, or use the wheel or Up and Down
    return box


def _form(columns: QBoxLayout) -> QFormLayout:
    form = QFormLayout()
    form.setHorizontalSpacing(20)
    form.setVerticalSpacing(8)
    columns.addLayout(form, 1)
    return form


def _folder_of(text: str) -> Path | None:
    """The folder that was written; None: nothing was. A home that does not exist, as "~nobody", stays as it is."""
    if not text:
        return None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _choose_folder(parent: QWidget, line: QLineEdit) -> None:
    if place := QFileDialog.getExistingDirectory(parent, "Choose a folder", line.text()):
        line.setText(place)


def _copy(source: QWidget, target: QWidget) -> None:
    if isinstance(target, QDoubleSpinBox):
        target.setValue(source.value())
    elif isinstance(target, QCheckBox):
        target.setChecked(source.isChecked())
    elif isinstance(target, QComboBox):
        target.setCurrentIndex(source.currentIndex())
    elif isinstance(target, QLineEdit):
        target.setText(source.text())
    elif isinstance(target, ColourButton):
        target.show_colour(source.colour)


def _dim(text: str) -> QLabel:
    label = QLabel(text)
    label.setObjectName("dim")
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextSelectableByMouse)
    return label
