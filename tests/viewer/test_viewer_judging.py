"""Judging a recorded session in the window: keys, mouse, undo, two frames, outlines, blind mode, fields, marks."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from media import write_clip
from PyQt5.QtCore import QPoint, Qt
from PyQt5.QtWidgets import QPushButton
from recorded_toys import RATE_HZ, SIZE, make_session, picture, true_box
from viewer_fakes import FakeSource, Feeds

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.run_lengths import decode, encode
from realtime_polyp.packets import Frame
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review.action_log import ActionLog
from realtime_polyp.review.actions import (
    NEW_POLYP,
    Box,
    DrawnBox,
    Mark,
    PolypFields,
    SamePolyp,
    Stretch,
    Verdict,
)
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.viewer import judging
from realtime_polyp.viewer.blind import BlindMode
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.editing_tools import BrushMask, drag, grab, polygon_outline, span_box
from realtime_polyp.viewer.judge_link import record_said
from realtime_polyp.viewer.judging import Judging, PolypBox
from realtime_polyp.viewer.polyp_entries import MarkEntry, PolypEntry
from realtime_polyp.viewer.review_session import ReviewSession
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions

COUNT, MISSED = 40, range(12, 29)
BOX = (20.0, 30.0, 60.0, 80.0)


class TestTools:
    @pytest.mark.parametrize(
        ("point", "handle"),
        [((20, 30), (-1, -1)), ((60, 55), (1, 0)), ((40, 55), (0, 0)), ((61, 81), (1, 1)), ((70, 55), None)],
    )
    def test_mouse_holds_a_side_a_corner_or_all(self, point, handle):
        assert grab(BOX, point, 4.0) == handle

    def test_box_is_moved_and_resized_within_the_picture(self):
        assert drag(BOX, (0, 0), (-50.0, 5.0), SIZE) == (0.0, 35.0, 40.0, 85.0)
        assert drag(BOX, (1, 0), (500.0, 9.0), SIZE) == (20.0, 30.0, 160.0, 80.0)
        assert drag(BOX, (-1, -1), (100.0, 100.0), SIZE) == (54.0, 74.0, 60.0, 80.0)

    def test_small_drag_is_no_box(self):
        assert span_box((10.0, 10.0), (13.0, 40.0), SIZE) is None
        assert span_box((40.0, 50.0), (-5.0, 10.0), SIZE) == (0.0, 10.0, 40.0, 50.0)

    def test_brush_adds_and_removes(self):
        start = np.zeros(SIZE[::-1], np.bool_)
        start[40:60, 40:60] = True
        brush = BrushMask(SIZE, encode(start))
        brush.paint((60.0, 50.0), 8.0, erase=False)
        brush.lift()
        brush.paint((40.0, 50.0), 8.0, erase=True)
        outline = brush.outline()
        assert outline is not None
        mask = decode(outline)
        assert mask[50, 66] and not mask[50, 42] and mask[50, 55]

    def test_polygon_needs_three_corners(self):
        assert polygon_outline([(1.0, 1.0), (9.0, 9.0)], SIZE) is None
        outline = polygon_outline([(10.0, 10.0), (30.0, 10.0), (10.0, 30.0)], SIZE)
        assert outline is not None and decode(outline).sum() == pytest.approx(200, rel=0.15)


def test_blind_mode_counts_from_the_moment_the_person_goes_on():
    now, number = [10.0], [3]
    blind = BlindMode(lambda: number[0], clock=lambda: now[0])
    assert not blind.hides
    blind.toggle()
    now[0] = 12.5
    decision = blind.decide(polyp_seen=True)
    assert decision is not None and (decision.number, decision.took_s) == (3, 2.5) and blind.hides
    blind.reveal()
    assert not blind.hides
    number[0], now[0] = 4, 20.0
    assert blind.hides
    blind.refresh()
    now[0] = 21.0
    decision = blind.decide(polyp_seen=False)
    assert decision is not None and decision.took_s == 1.0


class User:
    """A person at the window of a recorded session."""

    def __init__(self, qtbot, folder: Path) -> None:
        self.bot, self.folder = qtbot, folder
        self.review = ReviewSession(folder)
        self.judging = Judging(self.review.session, lambda: self.review.tracks.state, self.review.pictures.path)
        options = ViewerOptions("A session", timeline=self.review.timeline, judging=self.judging, sound=False)
        self.window = ViewerWindow(self.review.open_feed, self.review.info, options)
        qtbot.addWidget(self.window)
        self.window.resize(900, 700)
        self.window.start()
        self.wait(lambda: self.review.tracks.state.is_complete and self.window.player.displayed is not None)
        self.key(Qt.Key_Space)

    def wait(self, condition: Callable[[], bool]) -> None:
        self.bot.waitUntil(condition, timeout=20_000)

    def key(self, key: int, modifier: int = Qt.NoModifier) -> None:
        self.bot.keyClick(self.window, key, modifier)

    def go_to(self, number: int) -> None:
        self.window.seek(float(self.review.session.frames.session_s[number - 1]))
        self.wait(lambda: self.window.judge.editor.number == number)

    def at(self, x: float, y: float) -> QPoint:
        area, scale = self.window.canvas.picture_rect(), 1 / self.window.canvas.source_px(1.0)
        return QPoint(round(area.x() + x * scale), round(area.y() + y * scale))

    def drag(self, box: Box | np.ndarray, button: int = Qt.LeftButton) -> None:
        start, end, canvas = self.at(*box[:2]), self.at(*box[2:]), self.window.canvas
        self.bot.mousePress(canvas, button, pos=start)
        self.bot.mouseMove(canvas, (start + end) / 2)
        self.bot.mouseMove(canvas, end)
        self.bot.mouseRelease(canvas, button, pos=end)

    def mark_by_two_frames(self) -> None:
        """Draw both boxes of the missed polyp; what lies between is being filled in then."""
        self.go_to(MISSED[0])
        self.key(Qt.Key_J)
        self.drag(true_box(MISSED[0]))
        self.go_to(MISSED[-1])
        self.drag(true_box(MISSED[-1]))

    @property
    def is_filling(self) -> bool:
        return self.window.judge.editor.is_filling

    @property
    def judgement(self):
        return self.judging.judgement

    @property
    def said(self) -> str:
        return self.window.status.message

    def close(self) -> None:
        self.window.close()
        self.review.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A session in which the disc is missed in the middle for more than a second."""
    folder = tmp_path_factory.mktemp("recorded")
    video = write_clip(
        folder / "disc.mp4",
        count=COUNT,
        size=SIZE,
        rate=RATE_HZ,
        options={"crf": "14", "preset": "ultrafast"},
        draw=lambda index, _: picture(index + 1),
    )
    return make_session(folder / "session", COUNT, unseen=MISSED, video=video)


@pytest.fixture
def user(qtbot, recorded, tmp_path) -> Iterator[User]:
    copy = tmp_path / "session"
    copy.mkdir()
    for file in recorded.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    one = User(qtbot, copy)
    yield one
    one.close()


def overlap(a, b) -> float:
    return float(iou_matrix(np.array([a], np.float64), np.array([b], np.float64))[0, 0])


def test_a_persons_minute(user):
    """Accept, take it back, reject, mark a missed polyp by two frames, and find all of it in the session."""
    user.go_to(5)
    user.key(Qt.Key_Y)
    assert user.judgement.verdict(1) is True and user.said.startswith("Polyp 1 accepted")
    user.key(Qt.Key_Z, Qt.ControlModifier)
    assert user.judgement.verdict(1) is None and user.said == "Taken back: polyp 1 accepted"
    user.key(Qt.Key_Z, Qt.ControlModifier | Qt.ShiftModifier)
    assert user.judgement.verdict(1) is True
    user.key(Qt.Key_Delete)
    assert user.judgement.accepts(1, 5) is False
    user.go_to(MISSED[0])
    user.key(Qt.Key_J)
    assert "step 1 of 2" in user.window.judge._prompt.text()
    user.drag(true_box(MISSED[0]))
    assert "Step 2 of 2" in user.window.judge._prompt.text()
    user.go_to(MISSED[-1])
    user.drag(true_box(MISSED[-1]))
    user.wait(lambda: not user.window.judge.editor.is_filling and -1 in user.judgement.stretches)
    (stretch,) = user.judgement.stretches[-1]
    assert (stretch.first, stretch.last, stretch.clicks) == (MISSED[0], MISSED[-1], 2)
    assert min(overlap(box, true_box(number)) for number, box in stretch.boxes) > 0.5
    names = [one.name for one in user.window.judge.entries() if isinstance(one, PolypEntry)]
    assert names == ["1", "M1"] and len(ActionLog(user.folder).actions) == 5


def test_mark_of_another_window_meanwhile_has_another_number(user):
    user.mark_by_two_frames()
    with ActionLog(user.folder, author="ben") as other:
        other.add(Stretch(NEW_POLYP, (3,), ((3, BOX),)))
    user.wait(lambda: not user.is_filling)
    assert {polyp: len(one.boxes) for polyp, (one,) in user.judgement.stretches.items()} == {-1: 1, -2: len(MISSED)}
    assert "Marked as M2" in user.said and user.window.judge.editor.selected == -2


def test_escape_cancels_filling_in(user):
    user.mark_by_two_frames()
    assert user.is_filling and "Esc: cancel" in user.window.judge._prompt.text()
    user.key(Qt.Key_Escape)
    assert not user.is_filling and user.said == "Filling in was cancelled: nothing was changed"
    user.wait(lambda: not any(thread.name == "fill" for thread in threading.enumerate()))
    user.window.refresh()
    assert not user.judgement.stretches
    user.drag((5.0, 5.0, 30.0, 40.0))  # the mouse draws again
    assert list(user.judgement.boxes) == [-1]


def test_closing_the_window_ends_filling_in(user, monkeypatch):
    closed = threading.Event()
    monkeypatch.setattr(judging, "PictureFile", lambda *file, **how: closed.wait() and PictureFile(*file, **how))
    user.mark_by_two_frames()
    filling = user.window.judge.editor._filling
    assert filling is not None
    user.window.close()
    closed.set()
    assert filling._future.cancelled() and not user.is_filling
    user.wait(lambda: not any(thread.name == "fill" for thread in threading.enumerate()))


def test_what_is_drawn_while_a_polyp_is_filled_in_again_is_not_lost(user):
    user.mark_by_two_frames()
    user.wait(lambda: not user.is_filling)
    user.go_to(MISSED[8])
    (before,) = user.window.judge.editor.boxes()
    x, y = (before.box[0] + before.box[2]) / 2, (before.box[1] + before.box[3]) / 2
    user.drag((x, y, x + 10, y + 6))
    assert user.is_filling
    with ActionLog(user.folder, author="ben") as other:
        other.add(DrawnBox(-1, MISSED[3], None))
    user.wait(lambda: not user.is_filling)
    assert user.judgement.boxes[-1][MISSED[3]] is None and user.judgement.boxes[-1][MISSED[8]] == before.box
    assert "what was drawn of polyp M1 has changed meanwhile" in user.said


@pytest.mark.parametrize(("key", "modifier"), [(Qt.Key_Y, Qt.NoModifier), (Qt.Key_Delete, Qt.ControlModifier)])
def test_judging_key_stands_still_on_the_picture_that_it_means(user, key, modifier):
    user.go_to(5)
    user.key(Qt.Key_Space)
    assert not user.window.player.paused
    user.key(key, modifier)
    (action,) = ActionLog(user.folder).actions
    assert isinstance(action.said, Verdict | DrawnBox) and user.said.endswith("Space: play on")
    number = action.said.at if isinstance(action.said, Verdict) else action.said.number
    assert user.window.player.paused and number == user.window.judge.editor.number


def test_keys_act_on_the_largest_box_and_not_on_the_widest(user, monkeypatch):
    boxes = (PolypBox(1, "1", (0, 0, 100, 10), False, None), PolypBox(2, "2", (0, 0, 90, 90), False, None))
    monkeypatch.setattr(user.window.judge.editor, "boxes", lambda: boxes)
    assert user.window.judge.editor.current() == boxes[1]


def test_box_is_moved_drawn_and_deleted_with_the_mouse(user):
    user.go_to(5)
    (before,) = user.window.judge.editor.boxes()
    x, y = (before.box[0] + before.box[2]) / 2, (before.box[1] + before.box[3]) / 2
    user.drag((x, y, x + 10, y + 6))
    moved = user.judgement.boxes[1][5]
    assert moved is not None and moved[0] == pytest.approx(before.box[0] + 10, abs=1.5)
    assert [one.drawn for one in user.window.judge.editor.boxes()] == [True]
    assert not user.window.canvas.shapes().boxes  # the program's box is not shown beside it
    user.key(Qt.Key_Delete, Qt.ControlModifier)
    assert user.judgement.boxes[1][5] is None and not user.window.judge.editor.boxes()
    user.drag((5.0, 5.0, 30.0, 40.0))
    assert user.judgement.boxes[-1][5] == pytest.approx((5, 5, 30, 40), abs=1.0)


def test_outline_is_corrected_by_brush_and_by_polygon(user):
    user.go_to(5)
    box = true_box(5)
    user.key(Qt.Key_E)
    user.drag((box[2], box[3], box[2] + 12, box[3]))
    user.key(Qt.Key_Return)
    painted = decode(user.judgement.outlines[1][5])
    assert (
        painted[round(box[3]), round(box[2]) + 10]
        and painted[round((box[1] + box[3]) / 2), round((box[0] + box[2]) / 2)]
    )
    user.key(Qt.Key_E)
    user.key(Qt.Key_E)
    for x, y in ((20, 20), (60, 20), (60, 60)):
        user.bot.mouseClick(user.window.canvas, Qt.LeftButton, pos=user.at(x, y))
    user.key(Qt.Key_Return)
    assert decode(user.judgement.outlines[1][5]).sum() == pytest.approx(800, rel=0.1)
    user.key(Qt.Key_E)
    user.key(Qt.Key_Escape)
    assert len(ActionLog(user.folder).actions) == 2 and user.window.judge.editor.mouse.draft.is_idle


def test_an_outline_belongs_to_the_picture_that_it_was_begun_in(user):
    user.go_to(5)
    user.key(Qt.Key_E)
    user.go_to(9)
    user.wait(lambda: user.window.judge.editor.mouse.draft.is_idle)
    assert "another picture is shown" in user.said
    user.key(Qt.Key_E)
    user.window.judge.editor.mouse.draft.number = 4  # the picture changed since the last refresh
    user.key(Qt.Key_Return)
    assert not user.judgement.outlines and "Nothing was changed" in user.said


def test_a_still_picture_shows_the_tracks_of_the_moment_and_its_verdict_is_about_their_alarm(user):
    user.go_to(30)  # the disc is seen again from 29 on
    user.review.set_times(9.0, None)
    user.wait(lambda: user.review.tracks.state.is_complete and not user.window.judge.editor.boxes())
    user.review.set_times(0.0, None)
    user.wait(lambda: user.review.tracks.state.is_complete and bool(user.window.judge.editor.boxes()))
    user.key(Qt.Key_Y)
    (verdict,) = user.judgement.verdicts
    assert any(
        (one.track, one.first, one.last) == (verdict.polyp, verdict.first, verdict.last) for one in user.judging.alarms
    )


def test_no_verdict_while_polyps_are_being_looked_for(user, monkeypatch):
    user.go_to(5)
    unfinished = replace(user.review.tracks.state, is_complete=False)
    monkeypatch.setattr(user.judging, "_tracks", lambda: unfinished)
    user.key(Qt.Key_Y)
    assert not user.judgement.verdicts and "in a moment" in user.said


def test_correcting_a_filled_box_keeps_what_was_done_by_hand(user):
    user.mark_by_two_frames()
    user.wait(lambda: -1 in user.judgement.stretches)
    user.go_to(18)
    user.key(Qt.Key_Delete, Qt.ControlModifier)
    assert user.judgement.boxes[-1][18] is None
    user.go_to(24)
    box = user.judgement.boxes[-1][24]
    user.drag((box[2], box[3], box[2] + 8, box[3] + 8))
    user.wait(lambda: not user.is_filling and 24 in user.judgement.stretches[-1][0].keys)
    assert user.judgement.boxes[-1][18] is None and user.judgement.boxes[-1][24][2] > box[2] + 4


def test_return_on_the_button_cancel_stores_nothing(user):
    user.go_to(5)
    user.key(Qt.Key_F2)
    form = user.window.judge.form
    form.edits["site"].setText("sigmoid")
    cancel = next(one for one in form.findChildren(QPushButton) if "Cancel" in one.text())
    cancel.setFocus()
    user.bot.keyClick(cancel, Qt.Key_Return)
    assert not form.isVisible() and not user.judgement.fields


def test_blind_mode_counts_from_the_frame_that_stands_on_the_screen():
    now, number = [10.0], [3]
    blind = BlindMode(lambda: number[0], clock=lambda: now[0])
    blind.toggle()
    number[0], now[0] = 9, 20.0  # left without a decision
    blind.refresh()
    now[0] = 20.5
    decision = blind.decide(polyp_seen=True)
    assert decision is not None and (decision.number, decision.took_s) == (9, 0.5)


def test_blind_mode_hides_the_program_until_the_person_has_decided(user):
    user.go_to(5)
    user.key(Qt.Key_B, Qt.ControlModifier)
    assert not user.window.canvas.shapes().boxes and user.window.judge.entries() == ()
    assert user.window.judge.timeline(user.review.timeline()).alarms == ()
    user.key(Qt.Key_Y)
    (decision,) = user.judgement.blind
    assert decision.number == 5 and decision.polyp_seen and 0 <= decision.took_s < 20
    assert user.window.canvas.shapes().boxes and not user.judgement.verdicts
    user.go_to(8)
    assert not user.window.canvas.shapes().boxes


def test_fields_note_and_another_number_come_from_a_form(user):
    user.go_to(5)
    user.key(Qt.Key_F2)
    form = user.window.judge.form
    assert form is not None and form.isVisible()
    for name, text in (("site", "sigmoid"), ("size_mm", "8 mm"), ("note", "behind a fold"), ("same_as", "M1")):
        user.bot.keyClicks(form.edits[name], text)
    user.bot.keyClick(form.edits["note"], Qt.Key_Return)
    assert user.judgement.fields == {-1: {"site": "sigmoid", "size_mm": "8"}} and not form.isVisible()
    assert user.judgement.notes[0][1].text == "behind a fold"
    said = [action.said for action in ActionLog(user.folder).actions]
    assert PolypFields(1, {"site": "sigmoid", "size_mm": "8"}) in said and SamePolyp(1, -1) in said


def test_a_form_with_a_number_that_is_none_loses_nothing_else(user):
    user.go_to(5)
    user.key(Qt.Key_F2)
    form = user.window.judge.form
    for name, text in (("site", "cecum"), ("note", "behind a fold"), ("same_as", "the first")):
        user.bot.keyClicks(form.edits[name], text)
    user.bot.keyClick(form.edits["note"], Qt.Key_Return)
    assert user.judgement.fields == {1: {"site": "cecum"}} and not user.judgement.same_as
    assert [note.text for _, note in user.judgement.notes] == ["behind a fold"]
    assert "the first is no polyp's number" in user.said


def test_marks_and_withdrawal_enter_the_session(user):
    user.go_to(10)
    user.key(Qt.Key_M)
    user.key(Qt.Key_W)
    user.go_to(35)
    user.key(Qt.Key_W)
    assert [mark.session_s for _, mark in user.judgement.marks] == [pytest.approx(9 / RATE_HZ)]
    assert user.judgement.withdrawal_s == (pytest.approx(9 / RATE_HZ), pytest.approx(34 / RATE_HZ))
    assert any(isinstance(one, MarkEntry) for one in user.window.judge.entries())
    assert user.said.endswith("W again moves its end")
    user.go_to(38)
    user.key(Qt.Key_W)
    assert user.judgement.withdrawal_s == (pytest.approx(9 / RATE_HZ), pytest.approx(37 / RATE_HZ))


def test_list_is_hidden_by_its_key_and_in_full_screen(user):
    shown = user.window.judge.list
    assert shown.isVisible() and shown.width() <= 0.22 * user.window.width()
    user.key(Qt.Key_C)
    assert not shown.isVisible()
    user.key(Qt.Key_C)
    user.key(Qt.Key_F)
    assert not shown.isVisible()
    user.key(Qt.Key_C)
    assert shown.isVisible()


def test_source_that_plays_is_listed_and_marked_in_memory(qtbot):
    window = ViewerWindow(
        Feeds(lambda start_s: FakeSource(60, start_s)),
        SourceInfo("fake.mp4", False, 1.2),
        ViewerOptions("A video", sound=False),
    )
    qtbot.addWidget(window)
    window.start()
    qtbot.waitUntil(lambda: bool(window.judge.shown.entries), timeout=20_000)
    qtbot.keyClick(window, Qt.Key_M)
    assert "Nothing is recorded" in window.status.message
    qtbot.keyClick(window, Qt.Key_Y)
    assert "Polyps are judged in a recorded session" in window.status.message
    assert [type(one) for one in window.judge.entries()] == [PolypEntry, MarkEntry]
    assert window.controls.timeline is not None
    assert [text for _, text in window.controls.timeline.content.data.marks] == ["look at this later"]
    window.close()


class Recorder:
    """What the window needs of a `SessionRecorder`."""

    def time_of(self, frame: Frame) -> float:
        return frame.captured_s - 7.5

    def __init__(self, store: SessionStore) -> None:
        self.store, self.database = store, store.database

    def submit(self, work: Callable[[], object]) -> None:
        self.store.begin()
        work()


SHOWN = Frame(3, 50.0, 10.0, np.zeros((4, 4, 3), np.uint8))


def test_mark_enters_the_session_that_is_being_recorded(tmp_path):
    store = SessionStore(tmp_path)
    record_said(Recorder(store), Mark(99.0), SHOWN)  # the player's clock is another one
    store.close()
    (action,) = ActionLog(tmp_path).actions
    assert action.said == Mark(2.5) and not verify_chain(RecordedSession(tmp_path))


def test_mark_of_an_account_without_a_name_is_stored(tmp_path, monkeypatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    store = SessionStore(tmp_path)
    record_said(Recorder(store), Mark(99.0), SHOWN)
    store.close()
    (action,) = ActionLog(tmp_path, author="reader").actions
    assert action.said == Mark(2.5) and action.author == "unknown"
