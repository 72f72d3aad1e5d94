"""The field of view in the window: drawn with the mouse, remembered for the source, asked for where it is doubtful."""

import time
from pathlib import Path

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, Qt
from viewer_fakes import FakeDetector, FakeSegmenter, FakeSource, Feeds, picture

from realtime_polyp.field_memory import recall_field, remember_field
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.field_control import FieldControl, place_of
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions

PATIENCE_S = 20.0
SIZE, FIELD = (160, 128), FieldOfView(20, 16, 140, 112)


def pipeline() -> Pipeline:
    return Pipeline(FakeDetector(), FakeSegmenter())  # type: ignore[arg-type]


def two_pictures(index: int) -> np.ndarray:
    """Two pictures in colours of mucosa, side by side."""
    image = np.zeros((128, 160, 3), np.uint8)
    image[:, :72] = image[:, 88:] = (180, 110, 90)
    image[:20, :20] = index % 200 + 40
    return image


def shown_window(qtbot, line: Pipeline, control: FieldControl | None, image_of=picture) -> ViewerWindow:  # type: ignore[no-untyped-def]
    feeds = Feeds(lambda start_s: FakeSource(4000, start_s, image_of=image_of))
    feeds.pipeline = line
    options = ViewerOptions("A test", field_control=control, sound=False)
    window = ViewerWindow(feeds, SourceInfo("clip.mp4", False, 100.0), options)
    qtbot.addWidget(window)
    window.start()
    until_s = time.monotonic() + PATIENCE_S
    while window.player.displayed is None and time.monotonic() < until_s:
        qtbot.wait(10)
    return window


def drag(qtbot, window: ViewerWindow, field: FieldOfView) -> None:  # type: ignore[no-untyped-def]
    area = window.canvas.picture_rect()
    scale = area.width() / window.player.displayed.frame.image.shape[1]
    start, end = (
        QPoint(round(area.x() + x * scale), round(area.y() + y * scale))
        for x, y in ((field.x1, field.y1), (field.x2, field.y2))
    )
    qtbot.mousePress(window.canvas, Qt.LeftButton, pos=start)
    qtbot.mouseMove(window.canvas, end)
    qtbot.mouseRelease(window.canvas, Qt.LeftButton, pos=end)


def near(field: FieldOfView | None, expected: FieldOfView) -> bool:
    return field is not None and bool(np.abs(np.array(field.box) - expected.box).max() <= 2)


def test_a_drawn_field_is_what_the_models_see_and_is_remembered(qtbot, tmp_path: Path) -> None:
    line, memory = pipeline(), tmp_path / "fields.toml"
    window = shown_window(qtbot, line, FieldControl(line, "clip.mp4", SIZE, memory))
    qtbot.keyClick(window, Qt.Key_V)
    assert window.status.message.startswith("Draw a box around the endoscope's picture")
    drag(qtbot, window, FIELD)
    assert near(line.config.field, FIELD) and "remembered for this source" in window.status.message
    assert recall_field(memory, "clip.mp4", SIZE) == line.config.field
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        qtbot.wait(10)
        displayed = window.player.displayed
        if displayed and displayed.result and near(displayed.result.field_of_view, FIELD):
            break
    else:
        pytest.fail("no frame was analysed in the field that was drawn")
    window.close()
    again = pipeline()
    FieldControl(again, "clip.mp4", SIZE, memory)
    assert again.config.field == line.config.field


def test_v_again_finds_it_and_esc_leaves_it(qtbot, tmp_path: Path) -> None:
    line, memory = pipeline(), tmp_path / "fields.toml"
    window = shown_window(qtbot, line, FieldControl(line, "clip.mp4", SIZE, memory))
    line.set_field(FIELD)
    qtbot.keyClick(window, Qt.Key_V)
    qtbot.keyClick(window, Qt.Key_Escape)
    assert line.config.field == FIELD
    drag(qtbot, window, FieldOfView(0, 0, 100, 100))  # the tool was left: the mouse draws nothing
    assert line.config.field == FIELD
    qtbot.keyClick(window, Qt.Key_V)
    drag(qtbot, window, FieldOfView(10, 10, 20, 20))
    assert line.config.field == FIELD and "at least 32 px" in window.status.message
    qtbot.keyClick(window, Qt.Key_V)
    assert line.config.field is None and recall_field(memory, "clip.mp4", SIZE) is None
    assert window.status.message == "The field of view is found again"
    window.close()


def test_a_badge_asks_which_of_two_pictures_is_the_endoscope_s(qtbot) -> None:
    line = pipeline()
    window = shown_window(qtbot, line, FieldControl(line, "clip.mp4", SIZE), two_pictures)
    until_s = time.monotonic() + PATIENCE_S
    while not window.field.badges() and time.monotonic() < until_s:
        qtbot.wait(10)
    assert window.field.badges() == ("Two pictures \u2013 press V, draw the endoscope's",)
    window.refresh()
    assert window.field.badges()[0] in window.canvas._notes.mutes
    line.set_field(FIELD)
    assert window.field.badges() == ()
    window.close()


def test_a_recorded_session_keeps_its_field(qtbot) -> None:
    window = shown_window(qtbot, pipeline(), None)
    qtbot.keyClick(window, Qt.Key_V)
    assert "stays as it was recorded" in window.status.message
    window.close()


def test_the_memory_is_private_and_survives_damage(tmp_path: Path) -> None:
    memory = tmp_path / "settings" / "fields.toml"
    remember_field(memory, "a.mp4", (640, 480), FIELD)
    remember_field(memory, 'b "\t\x7f.mp4', (640, 480), FieldOfView(0, 0, 64, 64))
    assert recall_field(memory, "a.mp4", (640, 480)) == FIELD
    assert recall_field(memory, 'b "\t\x7f.mp4', (640, 480)) == FieldOfView(0, 0, 64, 64)
    assert recall_field(memory, "a.mp4", SIZE) is None
    assert memory.stat().st_mode & 0o077 == 0
    remember_field(memory, "rtsp://user:secret@scope/1", (640, 480), FIELD)
    assert "secret" not in memory.read_text()
    remember_field(memory, "a.mp4", (640, 480), None)
    assert recall_field(memory, "a.mp4", (640, 480)) is None
    for text in (
        "no toml",
        "[[field]]\nplace = 1\n",
        '[[field]]\nplace="a"\nwidth=1\nheight=1\nbox="9,9,1,1"\n',
        "\xff",
    ):
        memory.write_text(text)
        assert recall_field(memory, "a", (1, 1)) is None


def test_a_field_beyond_the_picture_and_one_of_the_command_line_win_over_the_memory(tmp_path: Path) -> None:
    memory = tmp_path / "fields.toml"
    remember_field(memory, "a.mp4", (100, 100), FIELD)
    line = pipeline()
    FieldControl(line, "a.mp4", (100, 100), memory)
    assert line.config.field is None
    remember_field(memory, "a.mp4", SIZE, FIELD)
    line.set_field(FieldOfView(0, 0, 160, 100))
    FieldControl(line, "a.mp4", SIZE, memory)
    assert line.config.field == FieldOfView(0, 0, 160, 100)


def test_a_path_is_remembered_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert place_of("a.mp4") == str(tmp_path / "a.mp4")
    assert place_of("rtsp://scope/1") == "rtsp://scope/1" and place_of("\0") == "\0"
