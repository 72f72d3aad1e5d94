"""The first window where no source is named: what can be opened, what was opened last, and a demo."""

import functools
from collections.abc import Callable

from PyQt5.QtCore import QSize, Qt
from PyQt5.QtGui import QCloseEvent, QGuiApplication, QKeyEvent
from PyQt5.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from realtime_polyp.folders import asset
from realtime_polyp.recent import Recent
from realtime_polyp.sources.devices import list_devices
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.host import Host, Request
from realtime_polyp.viewer.keys import ACTION_OF, KEYS, Action, code_of
from realtime_polyp.viewer.menu import MenuBar, place_text
from realtime_polyp.viewer.opening import Opener, curtain_text
from realtime_polyp.viewer.theme import RESEARCH_ONLY

DEMO = asset("demo.mp4")


class StartPage(QWidget):
    """Call `start`, then run the event loop until something is chosen (`host.request`) or the page is closed.

    on_choice: ends the event loop; the page stays on the screen until the next window is there.
    """

    def __init__(self, host: Host, on_choice: Callable[[], object] = QApplication.exit) -> None:
        super().__init__()
        self._host, self._on_choice = host, on_choice
        self.opener = Opener(self, host, say=self.say, leave=self._leave)
        self._actions: dict[Action, Callable[[], None]] = {
            **self.opener.actions(),
            "full screen": lambda: self.setWindowState(self.windowState() ^ Qt.WindowFullScreen),
            "leave": lambda: self.setWindowState(self.windowState() & ~Qt.WindowFullScreen),
            "quit": self.close,
        }
        del self._actions["start page"]
        self.setWindowTitle("realtime-polyp")
        self.setStyleSheet(FORM_STYLE)
        self.resize(QGuiApplication.primaryScreen().availableSize().boundedTo(QSize(1280, 800)))
        self.setMinimumSize(640, 480)
        self._build()

    def start(self) -> None:
        self._host.place(self)
        self.show()
        self.say(self._host.take_message())

    def say(self, text: str) -> None:
        """Show a sentence below the choices."""
        self.message.setText(f"{text[:1].upper()}{text[1:]}")
        self.message.setVisible(bool(text))

    def perform(self, action: Action) -> None:
        if action in self._actions:
            self._actions[action]()

    # Building

    def _build(self) -> None:
        self.menu = MenuBar(
            self.perform,
            live=False,
            actions=set(self._actions),
            recent=self._host.recent,
            on_recent=self.opener.open,
            on_forget=self._forget,
        )
        self.message = QLabel()
        self.message.setObjectName("problem")
        self.message.setWordWrap(True)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(56, 30, 56, 26)
        outer.setMenuBar(self.menu)
        outer.addStretch(1)
        outer.addLayout(self._heading())
        outer.addSpacing(26)
        columns = QHBoxLayout()
        columns.setSpacing(48)
        columns.addLayout(self._choices(), 5)
        columns.addLayout(self._recent(), 6)
        outer.addLayout(columns, 8)
        outer.addSpacing(12)
        outer.addWidget(self.message)
        outer.addWidget(
            _label("Or drop a video, a folder of stills or a recorded session anywhere on this window.", "dim")
        )
        outer.addStretch(1)

    def _heading(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.addWidget(_label("realtime-polyp", "title"))
        row = QHBoxLayout()
        row.addWidget(_label("Finds and outlines polyps in colonoscopy video while you watch.", "plain"))
        row.addStretch(1)
        row.addWidget(_label(RESEARCH_ONLY, "research"))
        column.addLayout(row)
        return column

    def _choices(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(9)
        column.addWidget(_label("OPEN", "heading"))
        for action, text in (("open", "Open a video"), ("open session", "Open a recorded session")):
            key = next(key for key in KEYS if key.action == action)
            column.addWidget(_choice(text, key.label, self._actions[action]))  # type: ignore[index]
        if DEMO.is_file():
            column.addWidget(_choice("Play the demo", "", lambda: self.opener.open(Recent("source", str(DEMO)))))
        column.addSpacing(14)
        column.addWidget(_label("CAMERA, CAPTURE CARD OR NETWORK STREAM", "heading"))
        devices = list_devices()
        for device in devices[:4]:
            open_it = functools.partial(self.opener.open, Recent("source", device.place))
            column.addWidget(_choice(device.name, device.place, open_it))
        if not devices:
            column.addWidget(_label("No capture device was found.", "dim"))
        column.addWidget(_choice("Cards and cameras, with their formats", "Ctrl+I", self._actions["devices"]))
        column.addLayout(self._address_row())
        column.addStretch(1)
        return column

    def _address_row(self) -> QHBoxLayout:
        self.address = QLineEdit()
        self.address.setPlaceholderText("rtsp://scope.example/1 or /dev/video0")
        self.address.returnPressed.connect(self._open_address)
        button = QPushButton("Open")
        button.clicked.connect(self._open_address)
        row = QHBoxLayout()
        row.addWidget(self.address, 1)
        row.addWidget(button)
        return row

    def _recent(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(9)
        column.addWidget(_label("OPENED LAST", "heading"))
        self.list = QListWidget()
        self.list.setTextElideMode(Qt.ElideLeft)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self._fill_recent()
        # A click or Enter opens; itemActivated alone would want a double click on some desktops.
        self.list.itemClicked.connect(self._open_item)
        self.list.itemActivated.connect(self._open_item)
        column.addWidget(self.list, 1)
        return column

    def _open_item(self, item: QListWidgetItem) -> None:
        if place := item.data(Qt.UserRole):  # the words of an empty list hold none
            self.opener.open(place)

    def _fill_recent(self) -> None:
        self.list.clear()
        for one in self._host.recent():
            item = QListWidgetItem(place_text(one))
            item.setData(Qt.UserRole, one)
            item.setToolTip(place_text(one))
            self.list.addItem(item)
        if not self.list.count():
            nothing = QListWidgetItem("Nothing yet: what you open is listed here.")
            nothing.setFlags(Qt.NoItemFlags)
            self.list.addItem(nothing)

    # Leaving

    def _open_address(self) -> None:
        if place := self.address.text().strip():
            self.opener.open(Recent("source", place))

    def _forget(self) -> None:
        self._host.forget()
        self._fill_recent()

    def _leave(self, request: Request) -> None:
        """Stay on the screen until the next window is there, and end the event loop."""
        self.say(curtain_text(request))
        self.setEnabled(False)
        self._host.keep_as_curtain(self)
        QApplication.processEvents()
        self._on_choice()

    # Qt events

    def keyPressEvent(self, event: QKeyEvent) -> None:
        action = ACTION_OF.get(code_of(event))
        if action in self._actions and (event.modifiers() & Qt.ControlModifier or not self.address.hasFocus()):
            self.perform(action)
        else:
            super().keyPressEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        self.opener.close()
        event.accept()


def _label(text: str, name: str) -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    return label


def _choice(text: str, key: str, do: Callable[[], None]) -> QPushButton:
    """A large button: what it does at its left, the key or the place at its right."""
    button = QPushButton(text.replace("&", "&&"))
    button.setObjectName("choice")
    button.setAutoDefault(True)  # Enter presses it where it has the focus
    button.clicked.connect(lambda: do())
    hint = _label(key, "hint")
    hint.setAttribute(Qt.WA_TransparentForMouseEvents)
    row = QHBoxLayout(button)
    row.setContentsMargins(18, 0, 18, 0)
    row.addStretch(1)
    row.addWidget(hint)
    return button
