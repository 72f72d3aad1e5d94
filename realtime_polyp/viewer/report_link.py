"""The window's key for the report of a recorded session: written in the background, then opened."""

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from PyQt5.QtCore import QUrl
from PyQt5.QtGui import QDesktopServices

from realtime_polyp.messages import describe_error, full_path
from realtime_polyp.outputs import OutputError
from realtime_polyp.review.recorded import SessionFileError
from realtime_polyp.review.report import PAGE_FILE, PDF_FILE, REPORT_FOLDER, ReportOptions, write_report
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.viewer.keys import Action

_NOT_HERE = "A report is of a recorded session: record with R, then open it with Ctrl+R"


class ReportLink:
    """Writes a session's report. folder: of the session; None: what is shown is not one.

    source_at: the file with the pictures. say: shows a message to the user. opens: show the page in the browser.
    """

    def __init__(
        self, folder: Path | None, say: Callable[[str], None], *, source_at: Path | None = None, opens: bool = True
    ) -> None:
        self._folder, self._say, self._source_at, self._opens = folder, say, source_at, opens
        self._thread: threading.Thread | None = None
        self._news: deque[str] = deque()  # of the other thread
        self._page: Path | None = None
        self._has_asked = False

    def actions(self) -> dict[Action, Callable[[], None]]:
        return {"report": self.start}

    def start(self) -> None:
        """Begin to write, unless a report is being written."""
        if self._folder is None:
            self._say(_NOT_HERE)
        elif self._thread and self._thread.is_alive():
            self._say("The report is being written")
        else:
            self._say("Writing the report of this session ...")
            self._has_asked = False
            self._thread = threading.Thread(target=self._write, args=(self._folder,), name="report", daemon=True)
            self._thread.start()

    def show_news(self) -> None:
        """Show what has happened since; open the page once it is written."""
        while self._news:
            self._say(self._news.popleft())
        page, self._page = self._page, None
        # No browser finds a relative path.
        if page and self._opens and not QDesktopServices.openUrl(QUrl.fromLocalFile(str(page.absolute()))):
            self._say(f"No browser could be opened: the report is {full_path(page)}")

    def keeps_open(self) -> bool:
        """Whether the window stays because a report is being written. The user is told, and asked once for each."""
        if self._has_asked or not (self._thread and self._thread.is_alive()):
            return False
        self._has_asked = True
        self._say("The report is being written. Close the window again to stop it")
        return True

    def _write(self, folder: Path) -> None:
        lower_thread_priority()
        try:
            written = write_report(folder, options=ReportOptions(source_at=self._source_at), progress=self._note)
        except (SessionFileError, OutputError, SourceError) as error:
            self._news.append(str(error))
            return
        except Exception as error:  # noqa: BLE001 - no thread dies unheard
            self._news.append(f"The report could not be written: {describe_error(error)}")
            return
        self._news.append(f"The report is written: {full_path(written[0].parent)}, {len(written)} files")

    def _note(self, name: str) -> None:
        """The page is opened as soon as it stands: clips of many alarms take minutes."""
        self._news.append(name if name.startswith("left out") else f"Writing the report: {name}")
        if name == PDF_FILE and self._folder:
            self._page = self._folder / REPORT_FOLDER / PAGE_FILE
