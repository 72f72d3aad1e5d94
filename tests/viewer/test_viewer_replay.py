"""The last seconds of a live picture, seen again in the window while it goes on."""

from collections.abc import Iterator

import pytest
from PyQt5.QtCore import Qt
from viewer_fakes import FakeSource, Feeds

from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.sound import AlarmSound
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions


@pytest.fixture
def live(qtbot) -> Iterator[ViewerWindow]:
    feeds = Feeds(lambda start_s: FakeSource(5000, start_s, live=True), display="immediate")
    window = ViewerWindow(feeds, SourceInfo("scope", live=True), ViewerOptions("A test", sound=False))
    qtbot.addWidget(window)
    window.start()
    qtbot.waitUntil(lambda: len(window.replay._buffer.moments()) > 10, timeout=30_000)
    yield window
    window.close()
    feeds.check_accounts()


def test_backspace_opens_a_panel_in_a_corner_and_the_live_picture_goes_on(live, qtbot):
    qtbot.keyClick(live, Qt.Key_Backspace)
    panel, shown = live.replay.panel, live.player.displayed.frame.index
    assert panel.isVisible() and live.canvas.rect().contains(panel.geometry())
    assert panel.width() * panel.height() < 0.25 * live.canvas.width() * live.canvas.height()
    qtbot.waitUntil(lambda: panel._shown >= 0 and live.player.displayed.frame.index > shown + 10, timeout=30_000)
    assert not live.player.paused
    qtbot.keyClick(live, Qt.Key_Backspace)
    assert panel.isHidden()


def test_escape_ends_it(live, qtbot):
    qtbot.keyClick(live, Qt.Key_Backspace)
    qtbot.keyClick(live, Qt.Key_Escape)
    assert live.replay.panel.isHidden()


def test_comma_and_period_step_through_it_and_the_live_picture_is_not_paused(live, qtbot):
    qtbot.keyClick(live, Qt.Key_Backspace)
    qtbot.keyClick(live, Qt.Key_Period)
    at = live.replay.panel._at
    qtbot.keyClick(live, Qt.Key_Period)
    assert live.replay.panel._at == at + 1
    qtbot.keyClick(live, Qt.Key_Comma)
    assert live.replay.panel._at == at and not live.player.paused


def test_a_new_alarm_is_heard_meanwhile(live, qtbot):
    heard: list[int] = []
    qtbot.keyClick(live, Qt.Key_Backspace)
    live.alerting.sound = AlarmSound(lambda: lambda *loudness: heard.append(1))
    live.alerting.sound.switch(on=True)
    live.alarms.on_seek()  # the polyp in view counts as new
    qtbot.waitUntil(lambda: bool(heard), timeout=30_000)
    assert live.replay.panel.isVisible()
