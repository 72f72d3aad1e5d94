import threading
from pathlib import Path

import pytest
from fakes import wait_until
from PyQt5.QtCore import QUrl
from PyQt5.QtGui import QDesktopServices
from recorded_toys import make_session

from realtime_polyp.viewer import report_link
from realtime_polyp.viewer.report_link import ReportLink


def test_report_is_written_in_the_background_and_told(tmp_path: Path) -> None:
    folder, said = make_session(tmp_path / "session", 5), []
    link = ReportLink(folder, said.append, opens=False)
    link.start()

    def told() -> bool:
        link.show_news()
        return any("The report is written" in text for text in said)

    wait_until(told)
    assert (folder / "report" / "report.html").is_file() and (folder / "report" / "report.pdf").is_file()


def test_page_of_a_session_that_was_named_from_the_current_folder_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    folder = make_session(tmp_path / "session", 5)
    monkeypatch.chdir(tmp_path)
    link = ReportLink(Path(folder.name), print)
    link.start()

    def is_opened() -> bool:
        link.show_news()
        return bool(opened)

    wait_until(is_opened)
    assert [Path(url.toLocalFile()) for url in opened] == [folder / "report" / "report.html"]
    assert link._thread is not None
    link._thread.join(30)


def test_window_is_closed_while_a_report_is_written_when_the_user_asks_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(report_link, "write_report", lambda *_, **__: done.wait(30) and [tmp_path / "report.html"])
    said: list[str] = []
    link = ReportLink(tmp_path, said.append, opens=False)
    assert not link.keeps_open()  # nothing is being written
    link.start()
    assert [link.keeps_open(), link.keeps_open()] == [True, False]
    assert said[-1] == "The report is being written. Close the window again to stop it"
    done.set()
    assert link._thread is not None
    link._thread.join(30)
    assert not link.keeps_open()


def test_without_a_session_the_key_says_what_a_report_is_of() -> None:
    said: list[str] = []
    ReportLink(None, said.append).start()
    assert said == ["A report is of a recorded session: record with R, then open it with Ctrl+R"]
