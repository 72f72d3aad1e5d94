"""Opens another source from a window: by a dialog, from the list of recent ones, or by drag and drop."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PyQt5.QtCore import QEvent, QMimeData, QObject, QTimer
from PyQt5.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QWidget

from realtime_polyp.messages import printable, shorten_path
from realtime_polyp.recent import Kind, Recent
from realtime_polyp.recording.schema import SESSION_FILE
from realtime_polyp.settings import Settings
from realtime_polyp.sources import SourceError, open_source
from realtime_polyp.sources.addresses import hide_secrets
from realtime_polyp.sources.capture_modes import CaptureRequest
from realtime_polyp.sources.paths import exists, is_folder
from realtime_polyp.viewer.device_page import ask_device
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.host import START_PAGE, Host, Request
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.settings_dialog import ask_settings

VIDEOS = "Video (*.mp4 *.m4v *.mov *.mkv *.avi *.mpg *.mpeg *.ts *.m2ts *.mts *.webm *.wmv *.mxf *.vob);;All files (*)"
_CHECK_EVERY_MS = 30
_LIVE_STARTS = ("/dev/video", "device:", "pattern")


class Opener(QObject):
    """Asks for what to open next, checks that it can be opened, and then lets the window go.

    window: takes drops and is the parent of the dialogs. host: gets the request. say: shows a sentence. leave: closes
    the window. question: what a person must confirm before the window is left, such as "End the live session?"; "" for
    nothing. on_settings: applies new settings to the window; called with those before.
    """

    def __init__(
        self,
        window: QWidget,
        host: Host,
        *,
        say: Callable[[str], None],
        leave: Callable[[Request], None],
        question: Callable[[], str] = lambda: "",
        on_settings: Callable[[Settings], None] = lambda before: None,
    ) -> None:
        super().__init__(window)
        self._window, self._host = window, host
        self._say, self._leave, self._question, self._on_settings = say, leave, question, on_settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="open")
        self._checking: Future[None] | None = None
        self._wanted: Recent | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        window.setAcceptDrops(True)
        window.installEventFilter(self)

    def actions(self) -> dict[Action, Callable[[], None]]:
        """What the keys and the menu do."""
        return {
            "open": self.ask_video,
            "open folder": self.ask_folder,
            "open session": self.ask_session,
            "open address": self.ask_address,
            "devices": self.ask_device,
            "start page": lambda: self.go(START_PAGE),
            "settings": self.ask_settings,
        }

    # Asking

    def ask_video(self) -> None:
        place, _ = QFileDialog.getOpenFileName(self._window, "Open a video", self._folder(), VIDEOS)
        self._open_chosen("source", place)

    def ask_folder(self) -> None:
        place = QFileDialog.getExistingDirectory(self._window, "Open a folder of stills", self._folder())
        self._open_chosen("source", place)

    def ask_session(self) -> None:
        place = QFileDialog.getExistingDirectory(self._window, "Open a recorded session", self._sessions_folder())
        self._open_chosen("session", place)

    def ask_address(self) -> None:
        dialog = QInputDialog(self._window)
        dialog.setStyleSheet(FORM_STYLE)
        dialog.setWindowTitle("Open a stream or device")
        dialog.setLabelText("Address or device, such as rtsp://scope.example/1, 0 or /dev/video0")
        dialog.setMinimumWidth(520)
        if dialog.exec_():
            self._open_chosen("source", dialog.textValue().strip())

    def ask_device(self) -> None:
        chosen = ask_device(self._window)
        if chosen is not None:
            self.open(Recent("source", chosen.place), chosen.request)

    def ask_settings(self) -> None:
        settings = ask_settings(self._window, self._host.settings, self._host.settings_place)
        if settings is not None:
            before = self._host.settings
            self._say(self._host.save(settings))
            self._on_settings(before)

    # Opening

    def open(self, wanted: Recent, capture: CaptureRequest | None = None) -> None:
        """Check a recording on a thread, then let the window go; the picture meanwhile goes on. A live source is opened
        when the window has gone, because a device cannot be opened twice.

        capture: what the device is asked for; None: what the command line says.
        """
        if self._checking is not None or not self._confirmed():
            return
        self._host.capture = capture
        if is_session(wanted.place):
            wanted = Recent("session", wanted.place)
        if _is_live(wanted):
            self.go(wanted, confirmed=True)
            return
        self._say(f"Opening {name_of(wanted)} ...")
        self._wanted, self._checking = wanted, self._pool.submit(check, wanted)
        self._timer.start(_CHECK_EVERY_MS)

    def go(self, request: Request, *, confirmed: bool = False) -> None:
        """Let the window go, and open the request after it."""
        if confirmed or self._confirmed():
            self._host.request = request
            self._leave(request)

    def close(self) -> None:
        """The window closes: nothing is opened any more."""
        self._timer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take files, folders and addresses that are dropped on the window."""
        if event.type() == QEvent.DragEnter and dropped(event.mimeData()):
            event.acceptProposedAction()
            return True
        if event.type() == QEvent.Drop and (place := dropped(event.mimeData())):
            event.acceptProposedAction()
            # The drop must end first: the program that it comes from waits, and a question may follow.
            QTimer.singleShot(0, lambda: self.open(Recent("source", place)))
            return True
        return bool(super().eventFilter(watched, event))

    def _open_chosen(self, kind: Kind, place: str) -> None:
        if place:
            self.open(Recent(kind, place))

    def _poll(self) -> None:
        if self._checking is None or not self._checking.done():
            return
        self._timer.stop()
        checking, self._checking = self._checking, None
        wanted = self._wanted
        try:
            checking.result()
        except (SourceError, OSError) as error:
            self._say(f"Not opened: {error}")
            return
        if wanted is not None:
            self.go(wanted, confirmed=True)

    def _confirmed(self) -> bool:
        question = self._question()
        if not question:
            return True
        box = QMessageBox(QMessageBox.NoIcon, "realtime-polyp", question, parent=self._window)
        box.setStyleSheet(FORM_STYLE)
        end = box.addButton("End it", QMessageBox.AcceptRole)
        stay = box.addButton("Stay here", QMessageBox.RejectRole)
        box.setDefaultButton(stay)
        box.setEscapeButton(stay)
        box.exec_()
        return box.clickedButton() is end

    def _folder(self, kind: Kind = "source") -> str:
        """Where the last recording of a kind was, to start the dialog in."""
        recent = (one.place for one in self._host.recent() if one.kind == kind)
        return str(next((Path(place).parent for place in recent if exists(place)), ""))

    def _sessions_folder(self) -> str:
        """Where sessions are recorded, or where the last one was opened."""
        for folder in (self._host.sessions, self._host.settings.sessions):
            if folder and is_folder(str(folder)):
                return str(folder)
        return self._folder("session") or self._folder()


def check(wanted: Recent) -> None:
    """Open and close a recording. Raises SourceError where it cannot be opened."""
    if wanted.kind == "session":
        if not is_session(wanted.place):
            raise SourceError(f"{shorten_path(wanted.place)} is no recorded session: it has no {SESSION_FILE}.")
        return
    open_source(wanted.place).close()


def is_session(place: str) -> bool:
    """Whether this is the folder of a recorded session."""
    try:
        return (Path(place) / SESSION_FILE).is_file()
    except (OSError, ValueError):
        return False


def dropped(data: QMimeData | None) -> str:
    """The path or address of what is dragged; "" where it is nothing to open."""
    urls = data.urls() if data is not None and data.hasUrls() else []
    return next((url.toLocalFile() or url.toString() for url in urls), "")


def name_of(request: Request) -> str:
    """What is opened, in a few letters."""
    if request == START_PAGE:
        return START_PAGE
    place = hide_secrets(request.place)
    return printable(place if "://" in place else Path(place).name or place)


def _is_live(wanted: Recent) -> bool:
    place = wanted.place
    return wanted.kind == "source" and (place.startswith(_LIVE_STARTS) or place.isdecimal() or "://" in place)


def curtain_text(request: Request) -> str:
    """What stands on the screen while the next window is made."""
    return "" if request == START_PAGE else f"Opening {name_of(request)} ..."
