"""The parts of the viewer that need no screen: pacing, conditions, rates, reanalysis, snapshots; no Qt."""

import errno
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from viewer_fakes import FakeDetector, FakeSegmenter, FakeSource, picture

from realtime_polyp import system_packages
from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.outputs.overlay import OverlayStyle, draw, shapes_of
from realtime_polyp.packets import Detections, Frame, Result, Track
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.viewer import qt_setup, snapshot
from realtime_polyp.viewer.condition import Failure, FormatChange, PlayerState, condition_of
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.feed import add_detections
from realtime_polyp.viewer.pacing import PlaybackClock
from realtime_polyp.viewer.rates import Rates
from realtime_polyp.watchdog import Stall, Trouble

NOW = datetime(2025, 1, 2, 3, 4, 5, 678000)


def results(count: int) -> list[Result]:
    return list(run_inline(FakeSource(count).frames(), Pipeline(FakeDetector(), FakeSegmenter())))


class TestPlaybackClock:
    def play(self, pts: list[float], ready: list[float]) -> list[float]:
        """When each picture is shown that is ready at the given time, on a clock that only waits."""
        clock, now, shown = PlaybackClock(), 100.0, []
        for pts_s, ready_s in zip(pts, ready, strict=True):
            now = max(now, 100 + ready_s)
            now += max(0.0, clock.wait_s(pts_s, now))
            clock.mark_shown(pts_s, now)
            shown.append(round(now - 100, 3))
        return shown

    def test_follows_the_videos_own_rate(self):
        assert self.play([5.0, 5.04, 5.1, 5.2], [0, 0, 0, 0]) == [0, 0.04, 0.1, 0.2]

    def test_small_lateness_is_caught_up(self):
        assert self.play([0, 0.04, 0.08, 0.12], [0, 0.07, 0.07, 0.07]) == [0, 0.07, 0.08, 0.12]

    def test_a_stall_is_not_followed_by_a_burst(self):
        assert self.play([0, 0.04, 0.08, 0.12], [0, 1.0, 1.0, 1.0]) == [0, 1.0, 1.04, 1.08]

    def test_slower_than_real_time_shows_each_when_ready(self):
        assert self.play([0, 0.04, 0.08, 0.12], [0, 0.3, 0.6, 0.9]) == [0, 0.3, 0.6, 0.9]

    def test_a_cut_in_the_videos_clock_is_not_waited_for(self):
        assert self.play([0, 50, 50.04, 3, 3.04], [0] * 5) == [0, 0, 0.04, 0.04, 0.08]

    def test_restart_makes_the_next_picture_due(self):
        clock = PlaybackClock()
        clock.mark_shown(1.0, 10.0)
        assert clock.wait_s(2.0, 10.0) == pytest.approx(1.0)
        clock.restart()
        assert clock.wait_s(2.0, 10.0) == 0


class TestCondition:
    PLAYING = PlayerState("playing", live=True, has_picture=True)

    @pytest.mark.parametrize(
        ("change", "name", "blanks"),
        [
            ({}, "running", False),
            ({"has_picture": False}, "ready", True),
            ({"paused": True}, "paused", False),
            ({"no_picture_s": 1.5}, "no signal", True),
            ({"signal": "black"}, "black picture", True),
            ({"signal": "frozen"}, "frozen picture", True),
            ({"frame_quality": "blurred"}, "view not clear", False),
            ({"frame_quality": "outside", "signal": "black"}, "black picture", True),
            ({"format_change": FormatChange((640, 480), (320, 240), 0.5)}, "format changed", False),
            ({"format_change": FormatChange((640, 480), (320, 240), 60.0)}, "running", False),
            ({"overlay_age_s": 0.1}, "running", False),
            ({"overlay_age_s": 3.0}, "model slow", False),
            ({"troubles": (Trouble("source", "refused", 0.0),)}, "reconnecting", True),
            ({"troubles": (Trouble("decoder", "no picture", 0.0),)}, "decoder failed", True),
            ({"troubles": (Trouble("model", "out of memory", 0.0),)}, "model failed", True),
            ({"stall": Stall("model", 7, 1.2)}, "model not answering", True),
            ({"recording_failed": "the disk is full"}, "recording failed", False),
            ({"disk_low": "1 GB left"}, "disk low", False),
            ({"disk_low": "1 GB left", "signal": "frozen"}, "frozen picture", True),
            ({"late_s": 0.4}, "picture late", False),
            ({"phase": "ended"}, "ended", False),
            ({"phase": "seeking"}, "seeking", False),
            ({"phase": "failed", "failure": Failure("decoder", "x")}, "decoder failed", True),
            ({"phase": "failed", "failure": Failure("model", "x")}, "model failed", True),
            ({"phase": "failed", "failure": Failure("output", "x")}, "output failed", True),
            ({"phase": "failed", "failure": Failure("viewer", "x")}, "stopped", True),
        ],
    )
    def test_names_what_is_most_serious(self, change, name, blanks):
        condition = condition_of(replace(self.PLAYING, **change))
        assert (condition.name, condition.blanks) == (name, blanks)

    def test_a_live_picture_that_stands_still_cannot_be_taken_for_the_present_one(self):
        paused = replace(self.PLAYING, paused=True)
        assert condition_of(paused).tone == "warn" and "stands still" in condition_of(paused).detail
        assert condition_of(replace(paused, live=False)).tone == "busy"
        failed = condition_of(replace(paused, recording_failed="the disk is full"))
        assert failed.tone == "bad" and failed.detail.endswith("\nthe disk is full")

    def test_a_recording_is_never_without_signal(self):
        assert condition_of(replace(self.PLAYING, live=False, no_picture_s=60)).name == "running"

    def test_the_reason_is_shown(self):
        condition = condition_of(replace(self.PLAYING, failure=Failure("model", "the model failed at frame 41: no")))
        assert "The model failed at frame 41: no" in condition.detail

    def test_an_early_end_is_shown(self):
        condition = condition_of(replace(self.PLAYING, phase="ended", warning="the file is truncated"))
        assert (condition.detail, condition.tone) == ("the file is truncated", "warn")


def test_rates_forget_what_is_old():
    rates = Rates()
    for i in range(26):
        rates.add_picture(10 + i / 25 - 0.004, 10 + i / 25)
        rates.add_overlay(10 + i / 25 - 0.031, 20.0, 10 + i / 25)
    reading = rates.read(11.0)
    assert reading.fps == pytest.approx(25)
    assert reading.video_delay_ms == pytest.approx(4)
    assert (reading.annotation_delay_ms, reading.analysis_ms) == (pytest.approx(31), 20)
    assert rates.read(20.0).fps is None and rates.read(20.0).annotation_delay_ms is None


def test_reanalysis_adds_only_what_no_track_accounts_for():
    image = picture(0)
    box, other, hidden = (np.float32(b) for b in ([10, 10, 30, 30], [60, 60, 90, 90], [100, 10, 120, 30]))
    tracks = (Track(4, box, 0.8, "shown", 1, 0), Track(7, hidden, 0.4, "tentative", 0, 0))
    result = Result(Frame(0, 0.0, 0.0, image), whole(image), None, tracks, None)  # type: ignore[arg-type]
    found = Detections(np.stack([box + 1, other]), np.float32([0.8, 0.2]))
    merged = add_detections(result, found)
    assert [(track.id, round(track.score, 2)) for track in merged.tracks] == [(4, 0.8), (-1, 0.2)]
    assert len(add_detections(merged, found).tracks) == 2


class TestSnapshot:
    def test_without_overlay_is_the_picture_pixel_for_pixel(self, tmp_path: Path):
        result = results(12)[-1]
        displayed = DisplayedFrame(result.frame, result)
        saved = snapshot.save_snapshot(displayed, OverlayStyle(), tmp_path / "new", "a b/demo.mp4", NOW)
        assert saved.plain.name == "demo_2025-01-02_03-04-05-678_at-0.220s.png"
        written = cv2.imread(str(saved.plain))[..., ::-1]
        assert np.array_equal(written[:128], result.frame.image)
        assert written[128:].max() > 100  # the research-use notice
        assert sorted(tmp_path.rglob("*.part")) == []

    def test_with_overlay_is_what_draw_paints_and_a_caption(self, tmp_path: Path):
        result = results(12)[-1]
        saved = snapshot.save_snapshot(
            DisplayedFrame(result.frame, result), OverlayStyle(fill=True), tmp_path, "demo", NOW
        )
        shapes = shapes_of(result, OverlayStyle(fill=True))
        assert shapes.boxes and shapes.outlines and saved.annotated
        painted = cv2.imread(str(saved.annotated))[..., ::-1]
        assert np.array_equal(painted[:128], draw(result.frame.image, shapes))
        assert painted[128:].max() > 100  # the research-use notice

    def test_blanked_has_neither_what_stands_outside_the_field_nor_the_files_name(self, tmp_path: Path):
        result = results(1)[0]
        result = replace(result, field_of_view=FieldOfView(20, 10, 150, 120))
        saved = snapshot.save_snapshot(
            DisplayedFrame(result.frame, result), OverlayStyle(), tmp_path, "Jane Doe.mp4", NOW, blank=True
        )
        written = cv2.imread(str(saved.plain))[:128, :, ::-1]
        assert np.array_equal(written[10:120, 20:150], result.frame.image[10:120, 20:150])
        written[10:120, 20:150] = 0
        assert not written.any() and saved.plain.name.startswith("picture_")

    def test_blanked_without_a_result_shows_nothing_outside_the_field_that_was_named(self, tmp_path: Path):
        earlier, later = results(2)
        earlier = replace(earlier, field_of_view=FieldOfView(20, 10, 150, 120))
        saved = snapshot.save_snapshot(
            DisplayedFrame(later.frame, None), OverlayStyle(), tmp_path, "demo", NOW, blank=True, earlier=earlier
        )
        written = cv2.imread(str(saved.plain))[:128]
        written[10:120, 20:150] = 0
        assert not written.any()

    def test_says_so_where_there_is_no_overlay(self, tmp_path: Path):
        frame = results(1)[0].frame
        saved = snapshot.save_snapshot(DisplayedFrame(frame, None), OverlayStyle(), tmp_path, "demo", NOW)
        assert saved.annotated is None and "without overlay" in snapshot.saved_message(saved)

    def test_a_folder_that_was_named_from_the_current_one_is_said_in_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        saved = snapshot.save_snapshot(
            DisplayedFrame(results(1)[0].frame, None), OverlayStyle(), Path("shots"), "demo", NOW
        )
        assert f": {tmp_path / saved.plain} (" in snapshot.saved_message(saved)
        assert snapshot.error_message(OSError("full"), Path("shots")).endswith(f"({tmp_path / 'shots'})")

    def test_a_full_disk_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def full(self: Path, data: bytes) -> int:
            self.touch()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        frame = results(1)[0].frame
        with pytest.raises(OSError) as caught:
            snapshot.save_snapshot(DisplayedFrame(frame, None), OverlayStyle(), tmp_path, "demo", NOW)
        assert (
            snapshot.error_message(caught.value, tmp_path)
            == f"Snapshot not saved: No space left on device ({tmp_path})"
        )
        assert list(tmp_path.iterdir()) == []


class TestDisplay:
    def test_a_missing_display_is_reported(self, monkeypatch: pytest.MonkeyPatch):
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
            monkeypatch.delenv(name, raising=False)
        assert (qt_setup.display_problem() or "").startswith("no display: neither DISPLAY nor WAYLAND_DISPLAY is set")

    def test_a_display_that_does_not_answer_is_reported_and_aborts_nothing(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
        monkeypatch.setenv("DISPLAY", ":7351")
        assert "display" in (qt_setup.display_problem() or "")

    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            (
                "Traceback (most recent call last):\nImportError: libGL.so.1: cannot open shared object file: No such",
                "Qt lacks libGL.so.1: apt-get install libgl1 (Debian, Ubuntu)",
            ),
            (
                'qt.qpa.plugin: Could not load the Qt platform plugin "xcb" in "" even though it was found.\nNo Qt ...',
                "Qt lacks libxcb-icccm.so.4: apt-get install libxcb-icccm4 (Debian, Ubuntu)",
            ),
            (
                'qt.qpa.xcb: could not connect to display :3\nqt.qpa.plugin: Could not load the platform plugin "xcb"',
                "no screen answers at DISPLAY=:3; over ssh, connect with ssh -X",
            ),
            (
                "Traceback (most recent)\nModuleNotFoundError: No module named 'PyQt5'",
                "PyQt5 is not installed",
            ),
            ("The screen is on fire\nand more", "The screen is on fire"),
        ],
    )
    def test_what_qt_says_becomes_a_sentence_with_the_cure(
        self, monkeypatch: pytest.MonkeyPatch, said: str, sentence: str
    ):
        monkeypatch.setenv("DISPLAY", ":3")
        monkeypatch.setattr(qt_setup, "missing_libraries", lambda plugin: ["libxcb-icccm.so.4"])
        monkeypatch.setattr(system_packages, "_linux_kind", lambda: "debian")
        assert qt_setup.explain(said).startswith(sentence)

    @pytest.mark.parametrize(
        ("kind", "hint"),
        [
            ("debian", "apt-get install libgl1 libxcb-icccm4 (Debian, Ubuntu)"),
            ("fedora", "dnf install libglvnd-glx xcb-util-wm (Fedora)"),
        ],
    )
    def test_packages_are_named_for_the_system(self, monkeypatch: pytest.MonkeyPatch, kind: str, hint: str):
        monkeypatch.setattr(system_packages, "_linux_kind", lambda: kind)
        assert system_packages.install_hint(["libxcb-icccm.so.4", "libGL.so.1"]) == hint
        monkeypatch.setattr(system_packages, "_linux_kind", lambda: None)
        assert hint in system_packages.install_hint(["libxcb-icccm.so.4", "libGL.so.1"])

    def test_offscreen_needs_no_display(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
        assert qt_setup.display_problem() is None

    def test_only_cv2s_own_plugin_path_is_removed(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(Path(cv2.__file__).parent / "qt" / "plugins"))
        monkeypatch.setenv("QT_QPA_FONTDIR", "elsewhere")
        qt_setup.unset_cv2_plugin_paths()
        assert "QT_QPA_PLATFORM_PLUGIN_PATH" not in qt_setup.os.environ
        assert qt_setup.os.environ["QT_QPA_FONTDIR"] == "elsewhere"


def test_qt_is_imported_only_where_it_is_needed():
    modules = "qt_setup", "feed", "player", "condition", "snapshot"
    code = ";".join(f"import realtime_polyp.viewer.{name}" for name in modules)
    code += ";import sys; assert not [name for name in sys.modules if 'PyQt' in name]"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
