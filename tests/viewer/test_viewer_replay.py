"""The last seconds of a live picture, seen again in the window while it goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future

import cv2
import numpy as np
import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtWidgets import QWidget
from viewer_fakes import FakeSource, Feeds

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.overlay import NO_SHAPES
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.replay import Kept
from realtime_polyp.viewer.replay_panel import ReplayPanel
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


def test_a_replay_begins_with_none_of_the_pictures_of_the_one_before(qtbot, monkeypatch):
    parent = QWidget()
    qtbot.addWidget(parent)
    panel = ReplayPanel(parent)
    monkeypatch.setattr(panel._decoder, "submit", decoded_at_once)
    panel.start([kept(10), kept(10, at_s=30.0)])
    panel.stop()
    panel.start([kept(200), kept(200, (40, 40), at_s=30.0)])
    assert panel._image is None
    panel._tick()
    assert panel._image is not None and panel._image.min() > 150
    panel.step(+1)
    panel._tick()
    assert panel._image.shape == (40, 40, 3) and abs(panel.width() - panel.height()) <= 1
    panel.stop()
    panel.close_decoder()


def kept(level: int, size: tuple[int, int] = (40, 60), at_s: float = 0.0) -> Kept:
    """A moment with a picture (h, w) of one brightness."""
    encoded = cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1]
    return Kept(at_s, encoded.tobytes(), NO_SHAPES, size[1])


def decoded_at_once(work: Callable[[], Image]) -> Future[Image]:
    done: Future[Image] = Future()
    done.set_result(work())
    return done
