"""What the windows of one process share: the settings, the list of recent sources, and what is to be opened next."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from PyQt5.QtCore import QRect, Qt
from PyQt5.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

from realtime_polyp.field_memory import FIELDS_FILE
from realtime_polyp.recent import Recent, add_recent, forget_recent, read_recent
from realtime_polyp.settings import Settings, SettingsError, write_settings
from realtime_polyp.sources.capture_modes import CaptureRequest
from realtime_polyp.telemetry.board import Board
from realtime_polyp.viewer.theme import BACKGROUND, DIM

START_PAGE: Literal["start page"] = "start page"
Request = Recent | Literal["start page"]


class Host:
    """Shared by the windows of one process, which show one source after another.

    settings: the user's. path: where they are saved; None: nowhere. recent: path of the list of recent sources; None:
    there is none. problem: what the next window says first. blank_outside: the command line's choice.

    Attributes:
        request: what is to be opened when the window has closed; None ends the program.
        message: what the next window says first; "" for nothing.
        set_times: applies new times to the running session.
        board: what watches the program asks it.
        capture: what the device that is opened next is asked for, as it was chosen; None: what the command line says.
        sessions: folder in which sessions were recorded last; None: not known.
    """

    def __init__(
        self,
        settings: Settings = Settings(),
        *,
        path: Path | None = None,
        recent: Path | None = None,
        problem: str = "",
        blank_outside: bool | None = None,
    ) -> None:
        self.settings, self.message = settings, problem
        self.board = Board()
        self.request: Request | None = None
        self.set_times: Callable[[Settings], None] = _ignore
        self.sessions: Path | None = None
        self.capture: CaptureRequest | None = None
        self._path, self._recent, self._blank = path, recent, blank_outside
        self._geometry: QRect | None = None
        self._state = Qt.WindowStates()
        self._curtain: QWidget | None = None

    # Settings

    def save(self, settings: Settings) -> str:
        """Use these settings from now on and write them; returns a sentence for the window."""
        settings = replace(settings, options=self.settings.options)  # the dialog does not show them
        self.settings = settings
        if not settings.remember_recent:
            self.forget()
        if self._path is None:
            return "Settings apply until the window is closed"
        try:
            kept = write_settings(self._path, settings)
        except SettingsError as error:
            return f"Settings apply until the window is closed: {error}"
        earlier = f"; the file that could not be read is kept as {kept.name}" if kept else ""
        return f"Settings saved: {self._path}{earlier}"

    @property
    def settings_place(self) -> str:
        """Where they are saved, for the dialog."""
        return str(self._path) if self._path else ""

    @property
    def blank(self) -> bool:
        """Whether snapshots leave out everything outside the field of view."""
        return self.settings.blank_outside if self._blank is None else self._blank

    # Recent sources

    def recent(self) -> list[Recent]:
        return read_recent(self._recent) if self._recent and self.settings.remember_recent else []

    def add_recent(self, opened: Recent) -> None:
        if self._recent and self.settings.remember_recent:
            add_recent(self._recent, opened)

    @property
    def fields(self) -> Path | None:
        """The file of the fields of view that were drawn; None: they are not remembered."""
        return self._recent.with_name(FIELDS_FILE) if self._recent and self.settings.remember_recent else None

    def forget(self) -> None:
        """Delete the list of recent sources, and the fields of view that were drawn in them."""
        if self._recent:
            forget_recent(self._recent)
            forget_recent(self._recent.with_name(FIELDS_FILE))

    # One window after another

    def take_request(self) -> Request | None:
        request, self.request = self.request, None
        return request

    def take_message(self) -> str:
        message, self.message = self.message, ""
        return message

    def place(self, window: QWidget) -> None:
        """Put a new window where the last one was, full screen if that was."""
        if self._geometry is not None:
            window.setGeometry(self._geometry)
            window.setWindowState(self._state)

    def remember_place(self, window: QWidget) -> None:
        # Of a full screen, where it goes back to. (Qt's own saveGeometry moves a window down where nothing frames it.)
        self._state = window.windowState() & (Qt.WindowFullScreen | Qt.WindowMaximized)
        self._geometry = window.normalGeometry() if self._state else window.geometry()

    def raise_curtain(self, window: QWidget, text: str) -> None:
        """Cover the window while the next one is made, which may take seconds: the models are loaded."""
        self.drop_curtain()
        curtain = QWidget()
        curtain.setAttribute(Qt.WA_QuitOnClose, False)
        curtain.setWindowTitle("realtime-polyp")
        curtain.setStyleSheet(f"QWidget {{ background: {BACKGROUND}; color: {DIM}; font-size: 20px; }}")
        column = QVBoxLayout(curtain)
        label = QLabel(text)
        label.setAlignment(Qt.AlignCenter)
        label.setWordWrap(True)
        column.addWidget(label)
        self.remember_place(window)
        self.place(curtain)
        curtain.show()
        self._curtain = curtain
        QApplication.processEvents()

    def keep_as_curtain(self, window: QWidget) -> None:
        """Leave this window on the screen while the next one is made."""
        self.drop_curtain()
        window.setAttribute(Qt.WA_QuitOnClose, False)
        self._curtain = window

    def drop_curtain(self) -> None:
        curtain, self._curtain = self._curtain, None
        if curtain is not None:
            curtain.close()
            curtain.deleteLater()


def _ignore(settings: Settings) -> None:
    """Nothing runs yet."""
