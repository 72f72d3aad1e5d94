"""The start page, the menus, and one source after another in one process, offscreen."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from media import write_clip
from PyQt5.QtCore import QMimeData, QPoint, Qt, QTimer, QUrl
from PyQt5.QtGui import QDragEnterEvent, QDropEvent
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QFileDialog, QMessageBox, QPushButton, QWidget
from viewer_fakes import RATE_HZ, FakeSource, Feeds

from realtime_polyp.cli.options import Options, parse
from realtime_polyp.recent import Recent, read_recent, recent_path
from realtime_polyp.settings import Settings, read_settings, settings_path
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.host import Host
from realtime_polyp.viewer.keys import KEYS
from realtime_polyp.viewer.menu import line_of, menu_of
from realtime_polyp.viewer.recording import Recording
from realtime_polyp.viewer.settings_dialog import SettingsDialog
from realtime_polyp.viewer.shell import open_host, run_windows
from realtime_polyp.viewer.start_page import StartPage
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def window(qtbot) -> Iterator[Callable[..., ViewerWindow]]:
    made: list[ViewerWindow] = []

    def make(
        *, live: bool = False, host: Host | None = None, recording: bool = False, usual_score: float | None = None
    ) -> ViewerWindow:
        feeds = Feeds(lambda start_s: FakeSource(500, start_s, live=live), display="immediate" if live else "synced")
        writing = Recording(("video to out.mp4",), 1.0, 0, 0) if recording else None
        options = ViewerOptions("A test", host=host or Host(), recording=lambda: writing, usual_score=usual_score)
        one = ViewerWindow(feeds, SourceInfo("fake.mp4", live, None if live else 500 / RATE_HZ), options)
        qtbot.addWidget(one)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def options_of(*words: object) -> Options:
    return parse(["--detector", "fake", "--segmenter", "fake", *map(str, words)])


def drop(widget: QWidget, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    parts = Qt.CopyAction, data, Qt.LeftButton, Qt.NoModifier
    entered = QDragEnterEvent(QPoint(5, 5), *parts)
    QApplication.sendEvent(widget, entered)
    assert entered.isAccepted()
    QApplication.sendEvent(widget, QDropEvent(QPoint(5, 5), *parts))


def shown(kind: type) -> list[QWidget]:
    return [one for one in QApplication.topLevelWidgets() if isinstance(one, kind) and one.isVisible()]


def answer_question(answer: str) -> bool:
    """Click this answer as soon as a question is asked."""
    (box,) = shown(QMessageBox) or (None,)
    if box is not None:
        QTest.mouseClick(next(one for one in box.findChildren(QPushButton) if one.text() == answer), Qt.LeftButton)
    return box is not None


class Script:
    """Does one step after another on the windows as they come; a step that returns False is tried again."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.left = list(steps)
        self._tries = 600
        self._timer = QTimer()
        self._timer.timeout.connect(self._step)
        self._timer.start(50)

    def _step(self) -> None:
        self._tries -= 1
        if self._tries == 0:  # after half a minute: the test fails, and does not hang
            self._timer.stop()
            QApplication.closeAllWindows()
            return
        if self.left and self.left[0]() is not False:
            self.left.pop(0)
        if not self.left:
            self._timer.stop()


# menus


def test_every_action_is_in_the_menus_once_with_its_key(window) -> None:
    texts = [text for text in window().menu.texts() if "\t" in text]
    wanted = [f"{line_of(key, menu_of(key.action))}\t{key.label}" for key in KEYS]
    assert sorted(text.replace("&&", "&") for text in texts) == sorted(wanted)
    assert max(len(menu.menu().actions()) for menu in window().menu.actions()) <= 16  # lines that fit 600 px
    assert not any("Previous frame" in text for text in window(live=True).menu.texts())


def test_a_menu_item_does_what_its_key_does(window, qtbot) -> None:
    one = window()
    one.start()
    item = next(action for menu in one.menu.actions() for action in menu.menu().actions() if "\tSpace" in action.text())
    item.trigger()
    assert one.player.paused
    qtbot.keyClick(one, Qt.Key_Space)
    assert not one.player.paused


def test_the_menu_is_hidden_in_full_screen(window, qtbot) -> None:
    one = window()
    one.start()
    qtbot.keyClick(one, Qt.Key_F)
    assert not one.menu.isVisible()
    qtbot.keyClick(one, Qt.Key_Escape)
    assert one.menu.isVisible()


# the start page


def test_a_source_that_cannot_be_opened_is_said_and_the_page_stays(qtbot, tmp_path: Path) -> None:
    page = StartPage(Host())
    qtbot.addWidget(page)
    page.start()
    page.address.setText(str(tmp_path / "nothing.mp4"))
    qtbot.keyClick(page.address, Qt.Key_Return)
    qtbot.waitUntil(lambda: "does not exist" in page.message.text(), timeout=20_000)
    assert page.isVisible()


def test_what_was_opened_last_is_listed_and_opens_with_a_click(qtbot, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4")
    host = Host(recent=tmp_path / "recent.toml")
    host.add_recent(Recent("source", str(tmp_path / "clip.mp4")))
    page = StartPage(host, lambda: None)
    qtbot.addWidget(page)
    page.start()
    page.list.itemClicked.emit(page.list.item(0))
    qtbot.waitUntil(lambda: host.request is not None, timeout=20_000)
    assert host.request == Recent("source", str(tmp_path / "clip.mp4"))
    host.drop_curtain()


def test_a_click_on_the_words_of_an_empty_list_does_nothing(qtbot) -> None:
    page = StartPage(Host(), lambda: None)
    qtbot.addWidget(page)
    page.start()
    page.list.itemClicked.emit(page.list.item(0))
    page.list.itemActivated.emit(page.list.item(0))
    assert page.isVisible() and not page.message.text()


def test_a_letter_is_typed_into_the_address_and_no_command(qtbot) -> None:
    page = StartPage(Host())
    qtbot.addWidget(page)
    page.start()
    page.address.setFocus()
    qtbot.keyClicks(page.address, "q")
    assert page.isVisible() and page.address.text() == "q"


# leaving a window


def test_a_session_is_looked_for_where_sessions_are_recorded_and_a_video_where_videos_are(
    window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(parent: QWidget, title: str, folder: str, *filters: str) -> str:
        asked.append(folder)
        return ""

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", note)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *given: (note(*given), ""))
    video, session = tmp_path / "videos/clip.mp4", tmp_path / "earlier/session"
    session.mkdir(parents=True)
    video.parent.mkdir()
    write_clip(video)
    host = Host(recent=tmp_path / "recent.toml")
    host.add_recent(Recent("source", str(video)))
    host.sessions = tmp_path / "sessions"  # nothing was recorded yet
    opener = window(host=host).opener
    opener.ask_session()
    host.add_recent(Recent("session", str(session)))
    opener.ask_session()
    host.sessions.mkdir()
    opener.ask_session()
    opener.ask_video()
    assert [Path(place).name for place in asked] == ["videos", "earlier", "sessions", "videos"]


def test_a_dropped_file_is_opened_next(window, qtbot, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4")
    host = Host()
    one = window(host=host)
    one.start()
    drop(one, tmp_path / "clip.mp4")
    qtbot.waitUntil(lambda: not one.isVisible(), timeout=20_000)
    assert host.request == Recent("source", str(tmp_path / "clip.mp4"))
    host.drop_curtain()


def test_a_dropped_file_that_is_no_video_changes_nothing(window, qtbot, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video", encoding="utf-8")
    one = window()
    one.start()
    drop(one, tmp_path / "notes.txt")
    qtbot.waitUntil(lambda: "Not opened" in one.status.message, timeout=20_000)
    assert one.isVisible() and one.player.phase == "playing"


@pytest.mark.parametrize("answer", ["Stay here", "End it"])
@pytest.mark.parametrize("kind", ["live", "recording"])
def test_a_live_session_and_a_recording_are_left_only_after_a_question(window, qtbot, kind: str, answer: str) -> None:
    host = Host()
    one = window(host=host, live=kind == "live", recording=kind == "recording")
    one.start()

    script = Script(lambda: answer_question(answer))
    qtbot.keyClick(one, Qt.Key_W, Qt.ControlModifier)
    assert not script.left and (host.request is None) == (answer == "Stay here")
    qtbot.waitUntil(lambda: one.isVisible() == (answer == "Stay here"), timeout=20_000)
    host.drop_curtain()


# one source after another


def test_a_second_source_ends_the_first_and_uses_its_models(
    qapp, fake_engines: dict[str, object], tmp_path: Path
) -> None:
    """From the command line's video, by a drop, to another one, then to the start page, then the end."""
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, count=40)
    detectors: list[object] = []

    def first() -> bool:
        (one,) = shown(ViewerWindow) or (None,)
        if one is None or one.player.displayed is None:
            return False
        detectors.append(one.player.feed.session.pipeline.detector)
        drop(one, tmp_path / "b.mp4")
        return True

    def second() -> bool:
        one = next((one for one in shown(ViewerWindow) if one.options.title == "b.mp4"), None)
        if one is None or one.player.displayed is None:
            return False
        lines = (tmp_path / "out.jsonl").read_text().splitlines()
        assert lines and len(shown(ViewerWindow)) == 1  # the first one's results are written and closed
        detectors.append(one.player.feed.session.pipeline.detector)
        QTest.keyClick(one, Qt.Key_W, Qt.ControlModifier)
        return True

    def third() -> bool:
        pages = shown(StartPage)
        return bool(pages) and bool(pages[0].close())

    script = Script(first, lambda: answer_question("End it"), second, third)
    assert run_windows(options_of(tmp_path / "a.mp4", "--results", tmp_path / "out.jsonl"), None) == 0
    assert not script.left and detectors[0] is detectors[1]
    assert [Path(one.place).name for one in read_recent(recent_path())] == ["b.mp4", "a.mp4"]


def test_what_cannot_be_opened_leads_back_to_the_start_page(
    qapp, fake_engines: dict[str, object], tmp_path: Path
) -> None:
    said: list[str] = []

    def ask() -> bool:
        (page,) = shown(StartPage) or (None,)
        if page is None:
            return False
        page.address.setText("/dev/video-none")  # live: it is opened when the page has gone
        QTest.keyClick(page.address, Qt.Key_Return)
        return True

    def read() -> bool:
        pages = [page for page in shown(StartPage) if "/dev/video-none" in page.message.text() and page.isEnabled()]
        if not pages:
            return False
        said.append(pages[0].message.text())
        pages[0].close()
        return True

    script = Script(ask, read)
    assert run_windows(options_of(), None) == 0
    assert not script.left and "cannot be opened" in said[0]


# settings


def test_a_broken_file_of_settings_does_not_keep_the_window_from_opening(tmp_path: Path, capsys) -> None:
    path = settings_path()
    path.parent.mkdir(parents=True)
    path.write_text("[detection]\ntreshold = 0.9\n", encoding="utf-8")
    host = open_host(options_of("a.mp4"))
    assert host.settings == Settings() and "unknown key 'treshold'" in host.message and str(path) in host.message
    assert "treshold" in capsys.readouterr().err and "treshold" in path.read_text(encoding="utf-8")


def test_the_dialog_returns_what_it_was_given(qtbot) -> None:
    settings = Settings(
        threshold=0.45, hold_s=1.0, sound_on=True, snapshots=Path("shots"), blank_outside=True, shown_colour="#010203"
    )
    dialog = SettingsDialog(None, settings, "settings.toml")
    qtbot.addWidget(dialog)
    assert dialog.settings() == settings
    dialog.reset()
    assert dialog.settings() == Settings()


def test_new_settings_last_and_apply_at_once(window, qtbot, monkeypatch: pytest.MonkeyPatch) -> None:
    host = open_host(options_of("a.mp4"))
    applied: list[Settings] = []
    host.set_times = applied.append
    one = window(host=host)
    one.start()
    new = Settings(threshold=0.8, hold_s=0.5, outline_colour="#010203")
    monkeypatch.setattr("realtime_polyp.viewer.opening.ask_settings", lambda *_: new)
    qtbot.keyClick(one, Qt.Key_Comma, Qt.ControlModifier)
    assert read_settings(settings_path()) == new and applied == [new]
    assert one.overlay_style.min_score == 0.8 and one.overlay_style.outline_colour == (1, 2, 3)


def test_a_threshold_that_is_left_to_the_program_is_the_calibration_s(
    window, qtbot, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = window(host=Host(Settings(threshold=0.8)), usual_score=0.4)
    one.start()
    one.alerting.set_threshold(0.8)
    monkeypatch.setattr("realtime_polyp.viewer.opening.ask_settings", lambda *_: Settings())
    qtbot.keyClick(one, Qt.Key_Comma, Qt.ControlModifier)
    assert one.overlay_style.min_score == 0.4


def test_a_home_that_does_not_exist_is_no_error_in_the_dialog(qtbot) -> None:
    settings = Settings(snapshots=Path("~no-such-user/shots"))
    dialog = SettingsDialog(None, settings, "settings.toml")
    qtbot.addWidget(dialog)
    assert dialog.settings() == settings


def test_a_recent_place_that_cannot_be_asked_is_no_folder_to_start_in(window, tmp_path: Path) -> None:
    host = Host(recent=tmp_path / "recent.toml")
    host.add_recent(Recent("source", str(tmp_path / ("x" * 300) / "a.mp4")))
    assert host.recent() and window(host=host).opener._folder() == ""
