"""The viewer before a clip that comes as a camera would send it: every frame accounted for, on whatever screen."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs
from fakes import picture, tried_again
from media import write_clip

from realtime_polyp.bench import paced
from realtime_polyp.runtime import RuntimeConfig

needs_qt = needs("qt")


@needs_qt
@tried_again
def test_a_clip_is_watched_until_its_time_is_over(tmp_path: Path, fake_engines: object) -> None:
    from realtime_polyp.bench.watching import watch

    clip = write_clip(tmp_path / "clip.mp4", count=12, size=(96, 72), rate=30, draw=picture)
    told = watch(RuntimeConfig("fake", "fake", "openvino"), clip, 1.0)
    assert told["frames_captured"] == 30, "the clip of 12 frames goes round until a second is over"
    dropped = sum(count for reasons in told["dropped"].values() for count in reasons.values())
    assert told["frames_shown"] + dropped == 30 and told["frames_pending"] == 0 and told["state"] == "ended"
    assert told["frames_shown"] > 0 and told["overlays_painted"] > 0
    assert told["video_delay_ms"]["p50"] > 0 and told["annotation_delay_ms"]["jitter"] >= 0
    assert told["memory_mb"][0][1] > 10 and told["cores_busy"] > 0


def test_the_screen_that_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    with paced.screen() as (name, environment):
        assert name == "Qt's offscreen" and environment == {}


def test_without_display_and_xvfb_memory_is_painted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with paced.screen() as (name, environment):
        assert environment == {"QT_QPA_PLATFORM": "offscreen"} and "neither" in name


@needs_qt
@needs("xvfb")
def test_without_display_a_virtual_one_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    script = (
        "from PyQt5.QtWidgets import QApplication; app = QApplication([]);"
        "size = app.primaryScreen().size(); print(app.platformName(), size.width(), size.height())"
    )
    with paced.screen() as (name, environment):
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=False
        )
    assert done.stdout.split() == ["xcb", "1920", "1080"], done.stderr
    assert "1920x1080" in name
