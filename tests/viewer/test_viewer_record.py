"""Recording in the window: keys R and K, the light, and a session over a seek."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from media import write_clip
from PyQt5.QtCore import Qt
from viewer_fakes import FakeDetector, FakeSegmenter, picture

from realtime_polyp.cli.options import parse
from realtime_polyp.outputs import OutputError
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.sources import open_source
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.recording import recording_text
from realtime_polyp.viewer.session_factory import SessionFactory, open_control
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions

PATIENCE_MS = 30_000


@pytest.fixture
def factory(tmp_path: Path) -> SessionFactory:
    clip = write_clip(tmp_path / "clip.mp4", count=60, size=(160, 128), rate=10, draw=picture)
    options = parse(["--source", str(clip), "--record", str(tmp_path / "sessions")])
    pipeline = Pipeline(FakeDetector(), FakeSegmenter())
    made = SessionFactory(open_source(str(clip)), pipeline, options, None)
    made.control = open_control(options, pipeline)
    return made


@pytest.fixture
def window(qtbot, factory):
    options = ViewerOptions("A test", recording=factory.recording, record=factory.control, sound=False)
    made = ViewerWindow(factory.open_feed, SourceInfo("clip.mp4", False, 6.0), options)
    qtbot.addWidget(made)
    made.start()
    yield made
    made.close()


def test_keys_record_a_session_over_a_seek(qtbot, window, factory, tmp_path):
    button = window.controls._tools["record"]
    assert not button.isChecked() and factory.recording() is None
    qtbot.keyClick(window, Qt.Key_R)
    qtbot.waitUntil(
        lambda: factory.recording() is not None and len(factory.recording().names) == 1, timeout=PATIENCE_MS
    )
    qtbot.waitUntil(lambda: factory.control.recorder.session_s > 0.2, timeout=PATIENCE_MS)
    assert button.isChecked() and recording_text(factory.recording()).startswith("REC 0:00:0")
    qtbot.keyClick(window, Qt.Key_K)
    window.player.seek(4.0)
    before_s = factory.control.recorder.session_s
    qtbot.waitUntil(lambda: factory.control.recorder.session_s > before_s + 0.3, timeout=PATIENCE_MS)
    qtbot.keyClick(window, Qt.Key_R)
    qtbot.waitUntil(lambda: "Recorded in" in window.status.message, timeout=PATIENCE_MS)
    assert factory.recording() is None and not button.isChecked()
    (folder,) = (tmp_path / "sessions").iterdir()
    session = RecordedSession(folder)
    assert session.ended and verify_chain(session) == () and session.problems == ()
    kinds = [kind for (kind,) in session.database.execute("SELECT kind FROM events ORDER BY event")]
    assert kinds == ["keep", "seek"]
    assert max(session.frames.picture_s) >= 4.0 and (session.frames.session_s[1:] > session.frames.session_s[:-1]).all()


def test_recording_that_was_asked_for_begins_with_the_first_frame(qtbot, factory, tmp_path):
    factory.control.start()
    feed = factory.open_feed(0.0)
    feed.start()
    until_s = time.monotonic() + PATIENCE_MS / 1000
    while not feed.is_over() and time.monotonic() < until_s:
        feed.next_result()
        time.sleep(0.002)
    assert factory.close([]) == []
    (folder,) = (tmp_path / "sessions").iterdir()
    session = RecordedSession(folder)
    assert session.frames.source_index.tolist() == list(range(60)) and session.facts["ended"]["how"] == "ended"


def test_recorded_session_cannot_be_recorded(qtbot, factory):
    window = ViewerWindow(factory.open_feed, SourceInfo("clip.mp4", False, 6.0), ViewerOptions("A test", sound=False))
    qtbot.addWidget(window)
    qtbot.keyClick(window, Qt.Key_R)
    assert window.status.message.startswith("Nothing can be recorded here")
    window.close()
    factory.close([])


def test_the_light_goes_out_when_the_recording_fails(factory):
    recorder = SimpleNamespace(name="a session", session_s=9.0, dropped_pictures=0, dropped=0, error=None)
    control, factory.control = factory.control, SimpleNamespace(recorder=recorder)
    assert recording_text(factory.recording()) == "REC 0:00:09"
    recorder.error = OutputError("cannot write a session: the disk is full")
    assert factory.recording() is None
    factory.control = control
    factory.close([])
