"""The window, offscreen: pixels, keys, sliders, snapshots, endings."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from media import write_clip
from PyQt5.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from PyQt5.QtGui import QColor, QFontMetricsF, QImage
from PyQt5.QtWidgets import QLabel
from viewer_fakes import RATE_HZ, FakeDetector, FakeSegmenter, FakeSource, Feeds, picture

from realtime_polyp.cli.options import parse
from realtime_polyp.config import PipelineConfig
from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.overlay import MASK_COLOUR, SHOWN_COLOUR, OverlayStyle
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.sources import Paced, open_source
from realtime_polyp.sources.base import SourceError
from realtime_polyp.viewer.app import run_viewer
from realtime_polyp.viewer.canvas import Canvas, letterbox
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.condition import RUNNING
from realtime_polyp.viewer.displayed import DisplayedFrame, SourceInfo
from realtime_polyp.viewer.elide import elided, shorten_addresses
from realtime_polyp.viewer.keys import ACTION_OF, KEYS, help_html
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.rates import Reading
from realtime_polyp.viewer.session_factory import SessionFactory
from realtime_polyp.viewer.sound import AlarmSound, SoundError
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.theme import ACCENT, TONES
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions


def pixels(image: QImage) -> Image:
    """A QImage's (H, W, 3) RGB."""
    plain = image.convertToFormat(QImage.Format_RGB888)
    rows = np.frombuffer(plain.constBits().asstring(plain.sizeInBytes()), np.uint8)
    return rows.reshape(plain.height(), plain.bytesPerLine())[:, : plain.width() * 3].reshape(plain.height(), -1, 3)


@pytest.fixture
def canvas(qtbot) -> Canvas:
    made = Canvas(OverlayStyle())
    made.set_condition(RUNNING)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def window(qtbot, tmp_path: Path) -> Iterator[Callable[..., ViewerWindow]]:
    made: list[tuple[ViewerWindow, Feeds]] = []

    def make(
        count: int, *, live: bool = False, detector: FakeDetector | None = None, start: bool = True,
        recording_error: Callable[[], str | None] = lambda: None, unverified: bool = False,
        config: PipelineConfig = PipelineConfig(), **script,
    ):  # fmt: skip
        feeds = Feeds(
            lambda start_s: FakeSource(count, start_s, live=live, **script),
            display="immediate" if live else "synced",
            detector=detector,
            config=config,
        )
        info = SourceInfo("fake.mp4", live, None if live else count / RATE_HZ)
        options = ViewerOptions(
            "A test",
            snapshot_folder=tmp_path / "shots",
            recording_error=recording_error,
            unverified=unverified,
            sound=False,
        )
        one = ViewerWindow(feeds, info, options)
        qtbot.addWidget(one)
        made.append((one, feeds))
        if start:
            one.start()
        return one

    yield make
    for one, feeds in made:
        one.close()
        feeds.check_accounts()


class TestCanvas:
    def test_at_one_to_one_the_picture_passes_through_unchanged(self, canvas):
        image = np.random.default_rng(0).integers(0, 256, (241, 317, 3), np.uint8)
        canvas.resize(317, 241)
        assert canvas.show_frame(DisplayedFrame(Frame(0, 0.0, 0.0, image), None)).picture
        assert np.array_equal(pixels(canvas.grab().toImage()), image)

    def test_a_picture_that_is_a_view_of_another_passes_through_too(self, canvas):
        image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)[10:250:, 20:340]
        canvas.resize(320, 240)
        canvas.show_frame(DisplayedFrame(Frame(0, 0.0, 0.0, image), None))
        assert np.array_equal(pixels(canvas.grab().toImage()), image)

    @pytest.mark.parametrize("size", [(640, 256), (320, 600), (333, 217)])
    def test_keeps_its_proportions_at_any_size(self, canvas, size):
        canvas.resize(*size)
        canvas.show_frame(DisplayedFrame(Frame(0, 0.0, 0.0, np.full((100, 200, 3), 200, np.uint8)), None))
        lit = pixels(canvas.grab().toImage()).max(-1) > 150
        height, width = lit.any(1).sum(), lit.any(0).sum()
        assert width == size[0] or height == size[1]
        assert width / height == pytest.approx(2, rel=0.02)
        rows, columns = np.nonzero(lit)
        assert abs(columns.min() - (size[0] - 1 - columns.max())) <= 1
        assert abs(rows.min() - (size[1] - 1 - rows.max())) <= 1

    def test_letterbox_never_vanishes(self):
        assert letterbox(np.zeros((1, 5000, 3), np.uint8), 100, 100) == (0, 49, 100, 1)

    def test_paints_boxes_and_outline_in_overlays_colours_where_they_are(self, canvas):
        pipeline = Pipeline(FakeDetector(), None, PipelineConfig(temporal=None))
        result = next(run_inline(FakeSource(1).frames(), pipeline))
        canvas.resize(320, 256)  # twice the picture
        assert canvas.show_frame(DisplayedFrame(result.frame, result)).overlay
        image = pixels(canvas.grab().toImage())
        x1, y1, x2, y2 = (round(2 * float(value)) for value in result.tracks[0].box)
        close = np.abs(image.astype(int) - SHOWN_COLOUR).max(-1) < 60
        assert close[y1:y2, x1 - 1 : x1 + 2].any(1).mean() > 0.9
        assert close[y1:y2, x2 - 1 : x2 + 2].any(1).mean() > 0.9
        canvas.set_style(OverlayStyle(), overlay_on=False)
        assert not (np.abs(pixels(canvas.grab().toImage()).astype(int) - SHOWN_COLOUR).max(-1) < 60).any()

    def test_nothing_reaches_a_hidden_screen(self, canvas):
        canvas.hide()
        assert not canvas.show_frame(DisplayedFrame(Frame(0, 0.0, 0.0, picture(0)), None)).picture


class TestKeys:
    def test_no_key_does_two_things(self):
        codes = [code for key in KEYS for code in key.codes]
        assert len(codes) == len(set(codes))

    def test_each_action_has_a_key_and_a_line_in_the_help(self, window):
        one = window(3, start=False)
        assert set(one._actions) == set(ACTION_OF.values())
        assert all(key.description in help_html(live=False) for key in KEYS)
        assert "seconds back" not in help_html(live=True)

    def test_space_pauses_and_period_steps(self, window, qtbot):
        one = window(500)
        qtbot.waitUntil(lambda: one.player.displayed is not None)
        qtbot.keyClick(one, Qt.Key_Space)
        assert one.player.paused and one.condition.name == "paused"
        index = one.player.displayed.frame.index
        qtbot.keyClick(one, Qt.Key_Period)
        qtbot.waitUntil(lambda: one.player.displayed.frame.index == index + 1)
        qtbot.keyClick(one, Qt.Key_Space)
        qtbot.waitUntil(lambda: one.player.displayed.frame.index > index + 3)
        assert one.condition.name == "running"

    def test_arrows_seek(self, window, qtbot):
        one = window(600)
        qtbot.waitUntil(lambda: one.player.displayed is not None)
        qtbot.keyClick(one, Qt.Key_Right)
        qtbot.waitUntil(lambda: one.player.phase == "playing" and one.player.displayed.frame.pts_s >= 5, timeout=20_000)
        qtbot.keyClick(one, Qt.Key_Left)
        assert one.player.position_s < 2

    def test_o_hides_the_overlay_and_each_part_has_its_own_key(self, window, qtbot):
        one = window(500)
        qtbot.waitUntil(lambda: one.player.displayed is not None and len(one.canvas.shapes().boxes) == 1)
        qtbot.keyClick(one, Qt.Key_Space)
        assert one.canvas.shapes().outlines and not one.canvas.shapes().fill
        qtbot.keyClick(one, Qt.Key_I)
        assert one.canvas.shapes().fill
        for key in (Qt.Key_I, Qt.Key_U, Qt.Key_T):
            qtbot.keyClick(one, key)
        assert not one.canvas.shapes().outlines and [box.label for box in one.canvas.shapes().boxes] == [""]
        qtbot.keyClick(one, Qt.Key_O)
        assert not one.canvas.shapes().boxes

    def test_f_and_escape(self, window, qtbot):
        one = window(500)
        qtbot.keyClick(one, Qt.Key_F)
        assert one.isFullScreen()
        qtbot.waitUntil(lambda: one.canvas.height() == one.height())
        qtbot.keyClick(one, Qt.Key_Escape)
        assert not one.isFullScreen() and one.controls.isVisible()

    def test_h_shows_the_help_and_escape_hides_it(self, window, qtbot):
        one = window(500)
        qtbot.keyClick(one, Qt.Key_H)
        assert one.panels.help.isVisible()
        qtbot.keyClick(one, Qt.Key_Escape)
        assert not one.panels.help.isVisible()

    def test_a_key_with_control_is_not_ours(self, window, qtbot):
        one = window(500)
        qtbot.keyClick(one, Qt.Key_Space, Qt.ControlModifier)
        assert not one.player.paused


class TestThreshold:
    def test_raised_hides_at_once_lowered_reanalyses(self, window, qtbot):
        one = window(500)
        qtbot.waitUntil(lambda: len(one.canvas.shapes().boxes) == 1)
        qtbot.keyClick(one, Qt.Key_Space)
        one.controls.threshold.setValue(95)
        assert one.canvas.shapes().boxes == () and one.player.feed.score_threshold == 0.95
        one.controls.threshold.setValue(10)
        qtbot.waitUntil(lambda: len(one.canvas.shapes().boxes) == 2)

    def test_starts_at_the_pipelines_own_and_keys_move_it(self, window, qtbot):
        one = window(500)
        assert one.controls.threshold.value() == 30
        qtbot.keyClick(one, Qt.Key_Plus)
        assert one.controls.threshold.value() == 35 and one.overlay_style.min_score == 0.35
        for _ in range(9):
            qtbot.keyClick(one, Qt.Key_Minus)
        assert one.overlay_style.min_score == 0.0

    def test_applies_to_the_frames_to_come(self, window, qtbot):
        one = window(500)
        one.alerting.set_threshold(0.1)
        qtbot.waitUntil(lambda: len(one.canvas.shapes().boxes) == 2)
        assert one.overlay_style.min_score == pytest.approx(0.1)


class TestTimeline:
    def test_goes_where_it_is_clicked(self, window, qtbot):
        one = window(1000)
        qtbot.waitUntil(lambda: one.player.displayed is not None)
        timeline = one.controls.timeline
        where = next(x for x in range(timeline.width()) if timeline.time_at(x) >= 10)
        qtbot.mouseClick(timeline, Qt.LeftButton, pos=QPoint(where, timeline.height() // 2))
        qtbot.waitUntil(lambda: one.player.phase == "playing" and one.player.displayed.frame.pts_s > 9, timeout=20_000)
        assert one.player.displayed.frame.pts_s == pytest.approx(10, abs=0.5)

    def test_the_clock_is_that_of_the_picture_on_the_screen_while_the_playhead_goes_ahead(self, window, qtbot):
        one = window(1000)

        def clock_fits() -> bool:
            return one.controls._elapsed.text() == clock_text(one.player.displayed.frame.pts_s, tenths=True)

        qtbot.waitUntil(lambda: one.player.displayed is not None)
        qtbot.keyClick(one, Qt.Key_Space)
        qtbot.keyClick(one, Qt.Key_Right)
        assert one.player.displayed.frame.pts_s < 5 <= one.player.position_s == one.controls.timeline.position_s
        assert clock_fits()
        qtbot.waitUntil(lambda: one.player.displayed.frame.pts_s >= 5 and clock_fits(), timeout=20_000)

    def test_has_a_bar_where_a_polyp_was_shown(self, window, qtbot):
        one = window(1000)
        qtbot.waitUntil(lambda: any(end - start > 0.5 for start, end in one.alarms.spans), timeout=20_000)
        one.refresh()
        ((start, end, number),) = one.controls.timeline.content.data.alarms
        assert 0 <= start < end <= one.player.position_s + 1 / RATE_HZ and number == 1
        picture = one.controls.timeline.grab().toImage()
        green = [x for x in range(picture.width()) if picture.pixelColor(x, 17) == QColor(ACCENT)]
        assert green and green[-1] < picture.width() / 2  # of twenty seconds the first


class TestSound:
    def test_a_key_turns_it_on_and_each_new_polyp_is_heard_once(self, window, qtbot):
        one, heard = window(500, start=False), []
        one.alerting.sound = AlarmSound(lambda: lambda volume: heard.append(1))
        one.start()
        qtbot.keyClick(one, Qt.Key_A)
        assert one.alerting.sound.on and one.controls._sound.isChecked()
        qtbot.waitUntil(lambda: len(heard) == 1)
        begun = one.player.displayed.frame.index
        qtbot.waitUntil(lambda: one.player.displayed.frame.index > begun + 10)
        assert len(heard) == 1
        qtbot.keyClick(one, Qt.Key_A)
        assert not one.alerting.sound.on and not one.controls._sound.isChecked()

    def test_without_audio_output_it_stays_off_and_a_message_says_why(self, window, qtbot):
        def broken():
            raise SoundError("No sound: this machine has no audio output")

        one = window(500, start=False)
        one.alerting.sound = AlarmSound(broken)
        one.start()
        qtbot.keyClick(one, Qt.Key_A)
        assert one.status.right.text() == "No sound: this machine has no audio output"
        assert not one.alerting.sound.on and not one.controls._sound.isChecked()

    def test_of_a_live_source_it_is_opened_when_there_is_a_picture(self, window, qtbot):
        one, displayed = window(500, live=True, start=False), []

        def open_speaker():
            displayed.append(one.player.displayed)
            raise SoundError("No sound: this machine has no audio output")

        one.alerting.sound = AlarmSound(open_speaker)
        one.options = replace(one.options, sound=None)
        one.start()
        assert one.alerting.sound.on and not displayed
        qtbot.waitUntil(lambda: not one.alerting.sound.on)
        assert len(displayed) == 1 and displayed[0] is not None
        assert one.status.right.text() == "No sound: this machine has no audio output"
        assert "No sound \u2013 press A to try again" in one.canvas._notes.mutes

    def test_without_temporal_filtering_it_stays_off_and_a_message_says_why(self, window, qtbot):
        one = window(500, config=PipelineConfig(temporal=None))
        qtbot.keyClick(one, Qt.Key_A)
        assert "temporal filtering is off" in one.status.right.text() and not one.alerting.sound.on


class TestSnapshot:
    def test_the_plain_file_is_the_frame_and_a_message_names_it(self, window, qtbot, tmp_path):
        one = window(500)
        qtbot.waitUntil(lambda: len(one.canvas.shapes().boxes) == 1)
        qtbot.keyClick(one, Qt.Key_Space)
        qtbot.keyClick(one, Qt.Key_S)
        qtbot.waitUntil(lambda: "Snapshot saved" in one.status.right.text())
        plain, annotated = sorted((tmp_path / "shots").iterdir(), key=lambda path: len(path.name))
        image = one.player.displayed.frame.image
        assert np.array_equal(cv2.imread(str(plain))[: len(image), :, ::-1], image)
        painted = cv2.imread(str(annotated))[..., ::-1].astype(int)
        assert (np.abs(painted - MASK_COLOUR).max(-1) < 40).any()

    def test_a_folder_that_cannot_be_written_is_reported_in_a_sentence(self, window, qtbot, tmp_path):
        (tmp_path / "shots").write_text("in the way")
        one = window(500)
        qtbot.waitUntil(lambda: one.player.displayed is not None)
        qtbot.keyClick(one, Qt.Key_S)
        qtbot.waitUntil(lambda: "Snapshot not saved" in one.status.right.text())
        assert "File exists" in one.status.right.text() and (tmp_path / "shots").read_text() == "in the way"

    def test_before_the_first_picture_there_is_nothing_to_save(self, window, qtbot):
        one = window(500, blocks_at=0)
        qtbot.keyClick(one, Qt.Key_S)
        assert one.status.right.text() == "There is no picture to save yet"
        one.player.feeds._open_feed.sources[-1].unblock.set()


class TestStatus:
    def test_a_dead_model_is_shown_large_and_in_the_status_line(self, window, qtbot):
        one = window(100, detector=FakeDetector(fails_at_call=20))
        qtbot.waitUntil(lambda: one.condition.name == "model failed")
        assert "Model failed" in one.status.labels["state"].text() and one.condition.covers
        assert one.canvas.shapes().boxes == ()

    @pytest.mark.parametrize(("level", "name"), [(0, "black picture"), (90, "frozen picture")])
    def test_a_black_or_frozen_picture_is_shown(self, window, qtbot, level, name):
        still = np.full((128, 160, 3), level, np.uint8)
        one = window(500, image_of=lambda index: still)
        qtbot.waitUntil(lambda: one.condition.name == name, timeout=20_000)
        assert one.condition.title in one.status.labels["state"].text()

    @pytest.mark.parametrize("unverified", [False, True])
    def test_an_unverified_engine_is_shown_all_the_time(self, window, unverified):
        one = window(3, unverified=unverified)
        labels = [label.text() for label in one.findChildren(QLabel) if label.isVisible()]
        assert any("UNVERIFIED" in text for text in labels) == unverified

    def test_live_delays_and_research_use_are_shown(self, window, qtbot):
        one = window(10_000, live=True)
        qtbot.waitUntil(lambda: "ms" in one.status.labels["annotation"].text())
        texts = {name: label.text() for name, label in one.status.labels.items()}
        assert "Running" in texts["state"] and texts["dropped"] == f"dropped {one.player.missed}"
        assert texts["video"].startswith("picture ") and texts["fps"].endswith(" fps")
        assert one.status.right.text() == "fake    GFLv2 fake + low-rank fake"
        assert any("Research use only" in label.text() for label in one.findChildren(QLabel))

    def test_a_long_message_takes_the_place_of_numbers_and_gives_it_back(self, qtbot):
        status = StatusLine(live=False)
        qtbot.addWidget(status)
        status.resize(1280, 40)
        status.show()
        assert not status.labels["fps"].isHidden()
        status.show_message("The report is written: /data/scope/sessions/20261127T151359Z-demo.mp4/report, 18 files")
        assert status.labels["fps"].isHidden()
        assert not status.labels["state"].isHidden() and not status.labels["polyps"].isHidden()
        status.clear_message()
        assert not status.labels["fps"].isHidden()

    def test_an_address_loses_its_middle_and_the_sentence_stays(self, qtbot):
        text = "rtsp://scope-7.endoscopy.hospital.example:8554/procedure/room-12/main was away after 18.3 s."
        metrics = QFontMetricsF(font_px(15))
        room_px = 0.7 * metrics.horizontalAdvance(text)
        shown = elided(text, metrics, room_px)
        assert metrics.horizontalAdvance(shown) <= room_px
        assert shown.startswith("rtsp://scope") and shown.endswith("main was away after 18.3 s.")
        assert elided(text, metrics, 2 * room_px) == text
        assert elided("no address " * 9, metrics, 100.0).count("\u2026") == 1

    def test_every_address_and_path_is_shortened_and_no_word(self):
        text = "tcp://10.0.0.1:5000 sends nothing: written to /data/scope/sessions/20261127 until then, 30/s"
        assert shorten_addresses(text, 9) == "tcp:\u20265000 sends nothing: written to /dat\u20261127 until then, 30/s"

    def test_nothing_is_styled_anew_while_nothing_changes(self, qtbot):
        status, styled = StatusLine(live=True), []
        qtbot.addWidget(status)
        status.show()

        class Watcher(QObject):
            def eventFilter(self, watched: QObject, event: QEvent) -> bool:
                if event.type() == QEvent.StyleChange:
                    styled.append(watched)
                return False

        def refresh() -> None:
            status.show_reading(Reading(25.0, 400.0, 450.0, 20.0))  # late
            status.show_dropped(3, None)
            status.show_tone("warn")

        refresh()
        watcher = Watcher()
        for label in status.labels.values():
            label.installEventFilter(watcher)
        refresh()
        assert styled == []
        status.show_tone("bad")
        assert status.labels["state"] in styled

    def test_a_live_picture_that_stands_still_is_not_called_live(self, window, qtbot):
        one = window(10_000, live=True)
        qtbot.waitUntil(lambda: one.player.displayed is not None)
        label, width = one.controls._live_label, one.controls._live_label.width()
        assert label.text() == "LIVE" and TONES["bad"] in label.styleSheet()
        qtbot.keyClick(one, Qt.Key_Space)
        assert label.text() == "PAUSED" and TONES["warn"] in label.styleSheet() and label.width() == width
        qtbot.keyClick(one, Qt.Key_Space)
        assert label.text() == "LIVE" and TONES["bad"] in label.styleSheet()

    def test_no_signal_after_a_second(self, window, qtbot):
        one = window(100, live=True, blocks_at=10)
        qtbot.waitUntil(lambda: one.condition.name == "no signal", timeout=20_000)
        assert one.canvas.shapes().boxes == ()
        qtbot.waitUntil(lambda: one.status.labels["fps"].text() == "\u2013 fps")
        one.player.feeds._open_feed.sources[-1].unblock.set()
        qtbot.waitUntil(lambda: one.condition.name == "running")

    def test_a_recording_error_stays_in_the_status_line(self, window, qtbot):
        one = window(500, recording_error=lambda: "the recording stopped: the disk is full")
        qtbot.waitUntil(lambda: one.status.right.text() == "the recording stopped: the disk is full")
        qtbot.waitUntil(lambda: one.condition.name == "running")
        assert one.status.right.text() == "the recording stopped: the disk is full"


_INTERRUPTED = """
import os, signal, sys, threading
from viewer_fakes import FakeSource, Feeds
from realtime_polyp.viewer.app import SourceInfo, run_viewer
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
before = signal.getsignal(signal.SIGINT)
feeds = Feeds(lambda start_s: FakeSource(10_000, start_s))
code = run_viewer(feeds, title="A test", info=SourceInfo("fake.mp4", False, 1.0))
feeds.check_accounts()
assert signal.getsignal(signal.SIGINT) is before
sys.exit(code)
"""


class TestRunViewer:
    """From the entry point to the exit code."""

    def run(self, qapp, feeds, *, live: bool = False, **options) -> int:
        code = run_viewer(feeds, title="A test", info=SourceInfo("fake.mp4", live, 1.0), **options)
        feeds.check_accounts()
        assert not [thread for thread in threading.enumerate() if thread.name in ("decode", "analyse", "deliver")]
        return code

    def test_ends_with_the_video(self, qapp):
        feeds = Feeds(lambda start_s: FakeSource(9, start_s))
        assert self.run(qapp, feeds, quit_at_end=True) == 0
        assert feeds.opened[0].tally().shown == 9

    def test_a_video_without_pictures_is_no_failure(self, qapp):
        assert self.run(qapp, Feeds(lambda start_s: FakeSource(0, start_s)), quit_at_end=True) == 0

    def test_a_failure_is_an_exit_code(self, qapp):
        feeds = Feeds(lambda start_s: FakeSource(100, start_s, fails_at=41))
        assert self.run(qapp, feeds, quit_at_end=True) == 1

    def test_q_quits(self, qapp, qtbot):
        def press() -> None:
            qtbot.keyClick(qapp.activeWindow() or qapp.topLevelWidgets()[0], Qt.Key_Q)

        feeds = Feeds(lambda start_s: FakeSource(10_000, start_s))
        QTimer.singleShot(300, press)
        assert self.run(qapp, feeds) == 0

    def test_closed_before_it_is_on_the_screen_it_opens_nothing(self, qapp, monkeypatch):
        monkeypatch.setattr(Canvas, "on_screen", False)
        QTimer.singleShot(50, lambda: [one.close() for one in qapp.topLevelWidgets()])
        feeds = Feeds(lambda start_s: FakeSource(10_000, start_s))
        assert self.run(qapp, feeds) == 0 and feeds.opened == []

    def test_begins_full_screen(self, qapp):
        feeds = Feeds(lambda start_s: FakeSource(9, start_s))
        assert self.run(qapp, feeds, quit_at_end=True, full_screen=True) == 0
        assert feeds.opened[0].tally().shown == 9

    def test_control_c_quits(self):
        """In a process of its own: after numba and OpenVINO, pytest itself crashed when the signal came."""
        here = ROOT / "tests"
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)]),
            "QT_QPA_PLATFORM": "offscreen",
        }
        done = subprocess.run([sys.executable, "-c", _INTERRUPTED], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 130, done.stderr[-2000:]

    def test_the_first_opening_s_error_passes_through(self, qapp):
        def nothing(start_s: float) -> None:
            raise SourceError("nothing.mp4 does not exist")

        with pytest.raises(SourceError, match=r"nothing\.mp4 does not exist"):
            run_viewer(nothing, title="A test", info=SourceInfo("nothing.mp4", False))  # type: ignore[arg-type]

    def test_an_error_of_ours_ends_it_and_is_raised(self, qapp, monkeypatch, capsys):
        def broken(self: Canvas, displayed: DisplayedFrame) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(Canvas, "show_frame", broken)
        started_s = time.monotonic()
        with pytest.raises(ZeroDivisionError, match="a bug"):
            self.run(qapp, Feeds(lambda start_s: FakeSource(100, start_s)))
        assert time.monotonic() - started_s < 5


class TestSessionFactory:
    """How the command line opens a source in the viewer."""

    @pytest.fixture
    def clip(self, tmp_path: Path) -> Path:
        return write_clip(tmp_path / "clip.mp4", count=20, size=(160, 128), rate=10, draw=picture)

    def test_the_first_session_takes_the_checked_source_and_a_seek_opens_another(self, clip):
        options, source = parse(["--source", str(clip)]), open_source(str(clip))
        factory = SessionFactory(source, Pipeline(FakeDetector(), FakeSegmenter()), options, None)
        first, second = factory.open_feed(0.0), factory.open_feed(1.0)
        assert first.session.source.source is source and first.display == "synced"
        assert factory.session is second.session and next(second.session.source.frames()).pts_s == pytest.approx(1.0)
        assert factory.watch() is None
        for feed in (first, second):
            feed.session.source.close()

    def test_a_recording_in_immediate_display_is_paced_and_recorded(self, clip):
        class Disk:
            error, written, pictures = OSError("the disk is full"), 0, 0
            on_disk, notices = ("video to a.mp4",), ()

            def add_picture(self, frame: object) -> None:
                self.pictures += 1

            def write(self, result: object) -> None:
                self.written += 1

            def stalled(self, limit_s: float) -> None:
                return None

        options, disk = parse(["--source", str(clip), "--display", "immediate"]), Disk()
        factory = SessionFactory(None, Pipeline(FakeDetector(), FakeSegmenter()), options, disk)
        feed = factory.open_feed(0.0)
        feed.start()
        while feed.next_result() is None:
            assert not feed.is_over()
        feed.stop()
        assert isinstance(feed.session.source, Paced) and feed.display == "immediate"
        assert 1 <= disk.written <= disk.pictures and factory.watch() == "the disk is full"
        while not feed.is_over():
            time.sleep(0.01)
