"""The timeline: which pixel is which time, what it draws, and what the mouse does on it."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from PyQt5.QtCore import QEvent, QPoint, QPointF, Qt
from PyQt5.QtGui import QColor, QMouseEvent, QWheelEvent

from realtime_polyp.field_of_view import whole as whole_field
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result
from realtime_polyp.review.look_ahead import Report
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.viewer import timeline_link
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.findings import Findings
from realtime_polyp.viewer.shown_alarms import ShownAlarms, Span
from realtime_polyp.viewer.theme import ACCENT, TONES
from realtime_polyp.viewer.timeline import Timeline
from realtime_polyp.viewer.timeline_content import TimelineContent, columns, levels_of, runs
from realtime_polyp.viewer.timeline_link import TimelineLink, join_alarms
from realtime_polyp.viewer.timeline_paint import gaps_between
from realtime_polyp.viewer.timeline_view import ticks, whole

HOUR_S = 3600.0


def data(seconds: int = 60, alarms=((10.0, 20.0, 3),), others=(), marks=()) -> TimelineData:
    """One frame per second with rising scores; blurred from 30 s to 40 s."""
    times_s = np.arange(seconds, dtype=np.float64)
    quality = np.where((times_s >= 30) & (times_s < 40), "blurred", "clear")
    scores = (times_s / seconds).astype(np.float32)
    return TimelineData(times_s, scores, quality, np.full(seconds, "ok"), alarms, marks, others)


class TestView:
    def test_zoom_keeps_the_time_under_the_mouse_where_it_is(self):
        view = whole(HOUR_S).zoom(4, 1000.0)
        assert view.length_s == 900 and view.to_px(1000.0, 720) == pytest.approx(1000 / HOUR_S * 720)

    def test_zoom_stays_within_the_recording(self):
        assert whole(HOUR_S).zoom(0.1, 5.0) == whole(HOUR_S)
        assert whole(HOUR_S).zoom(4, 0.0).start_s == 0 and whole(HOUR_S).zoom(4, HOUR_S).end_s == HOUR_S

    def test_after_some_zooming_neighbouring_pixels_of_an_hour_are_one_frame_or_less_apart(self):
        view = whole(HOUR_S, 30.0)
        for _ in range(20):
            view = view.zoom(1.6, 1800.0)
        frames = {view.frame_at(view.to_s(x, 1000)) for x in range(1000)}
        assert view.to_s(501, 1000) - view.to_s(500, 1000) < 1 / 30 and len(frames) == round(view.length_s * 30) + 1

    def test_a_click_within_a_frame_seeks_to_that_frame(self):
        view = whole(10.0, 30.0)
        for time_s in (100 / 30, 100.5 / 30, 100.99 / 30):
            assert 99 / 30 < view.frame_at(time_s) <= 100 / 30

    def test_pan_stops_at_the_ends(self):
        view = whole(HOUR_S).zoom(10, 0.0)
        assert view.pan(-5).start_s == 0 and view.pan(1e9).end_s == HOUR_S

    def test_the_page_is_turned_when_the_playhead_leaves(self):
        view = whole(HOUR_S).zoom(10, 0.0)
        assert view.follow(100.0) is view
        turned = view.follow(view.end_s)
        assert turned.start_s < view.end_s < turned.end_s

    def test_labels_do_not_touch(self):
        times_s = ticks(whole(HOUR_S), 1000, 90)
        assert times_s[1] - times_s[0] == 600 and times_s[0] == 0


class TestContent:
    def test_a_column_has_its_highest_score(self):
        best = columns(np.array([0.0, 0.4, 1.2]), np.float32([0.3, 0.8, 0.5]), np.array([0.0, 1.0, 1.1, 2.0]))
        assert best[0] == np.float32(0.8) and np.isnan(best[1]) and best[2] == np.float32(0.5)

    def test_runs_are_the_stretches_that_are_not_as_usual(self):
        assert runs(data().times_s, data().quality, "clear") == [(30.0, 40.0, "blurred")]

    def test_the_alarm_and_the_frame_at_a_time(self):
        content = TimelineContent(data())
        assert content.alarm_at(15.0) == (10.0, 20.0, 3) and content.alarm_at(25.0) is None
        assert content.frame_at(33.3) == 33 and content.frame_at(-1.0) is None

    def test_alarms_that_overlap_share_the_row_and_others_have_all_of_it(self):
        alone, chain = ((0.0, 5.0, 1), (5.0, 9.0, 2)), ((10.0, 20.0, 3), (15.0, 30.0, 4), (20.0, 25.0, 5))
        assert levels_of((*alone, *chain)) == ((0, 1), (0, 1), (0, 2), (1, 2), (0, 2))
        nested = ((0.0, 9.0, 1), (1.0, 9.0, 2), (2.0, 3.0, 3), (4.0, 5.0, 4))
        assert levels_of(nested) == ((0, 3), (1, 3), (2, 3), (2, 3))
        assert TimelineContent(data(alarms=(*alone, *chain), others=alone)).rows == (2, 1)
        assert TimelineContent(data(alarms=())).rows == (1,)

    def test_of_alarms_at_the_same_time_the_one_whose_bar_is_there_is_found(self):
        content = TimelineContent(data(alarms=((10.0, 20.0, 3), (15.0, 30.0, 4))))
        assert [content.alarm_at(16.0, share)[2] for share in (None, 0.2, 0.7, 1.5)] == [4, 3, 4, 4]
        assert content.alarm_at(25.0, 0.2) == (15.0, 30.0, 4), "the only one at a time is found anywhere in the row"

    def test_what_was_watched_counts_over_what_was_found_ahead(self):
        shown, ahead = ((10.0, 12.0, 1),), ((9.0, 13.0, 0), (20.0, 21.0, 0))
        assert join_alarms(shown, ahead, [(5.0, 15.0)]) == ((10.0, 12.0, 1), (20.0, 21.0, 0))

    def test_an_alarm_that_was_watched_from_its_middle_begins_where_it_was_found(self):
        assert join_alarms(((10.0, 12.0, 1),), ((7.0, 12.0, 0),), [(10.0, 12.0)]) == ((7.0, 12.0, 1),)

    def test_gaps_between_spans(self):
        assert gaps_between([(5.0, 6.0), (0.0, 2.0)], 10.0) == [(2.0, 5.0), (6.0, 10.0)]

    @pytest.mark.parametrize(("seconds", "text"), [(0.0, "00:00.0"), (59.96, "00:59.9"), (3661.25, "1:01:01.2")])
    def test_clock_in_tenths(self, seconds, text):
        assert clock_text(seconds, tenths=True) == text


@pytest.fixture
def timeline(qtbot):
    """A minute at 30 frames per second; `sought` has what was asked for."""
    sought: list[float] = []
    looped: list[tuple[float, float]] = []
    made = Timeline(60.0, 30.0, on_seek=sought.append, on_loop=lambda *span: looped.append(span))
    made.sought, made.looped = sought, looped
    qtbot.addWidget(made)
    made.resize(700, made.height())
    made.show()
    made.set_content(TimelineContent(data()))
    return made


def x_of(timeline: Timeline, time_s: float) -> int:
    return next(x for x in range(timeline.width()) if timeline.time_at(x) >= time_s)


def drag_to(timeline: Timeline, x: int) -> None:
    """Move the mouse with its left button pressed; QTest has no such movement."""
    event = QMouseEvent(QEvent.MouseMove, QPointF(x, 30), Qt.NoButton, Qt.LeftButton, Qt.NoModifier)
    timeline.mouseMoveEvent(event)


def colour_at(timeline: Timeline, time_s: float, colour: str) -> bool:
    """Whether a column of the timeline has a colour somewhere."""
    picture, x = timeline.grab().toImage(), x_of(timeline, time_s)
    wanted = QColor(colour).getRgb()
    found = (picture.pixelColor(x, y).getRgb() for y in range(picture.height()))
    return any(max(abs(a - b) for a, b in zip(one, wanted, strict=True)) < 60 for one in found)


def green_bars(timeline: Timeline, time_s: float) -> int:
    """How many bars of alarms lie below each other at a time."""
    picture, x = timeline.grab().toImage(), x_of(timeline, time_s)
    colours = [picture.pixelColor(x, y) for y in range(picture.height())]
    green = [one.green() > 150 and one.red() < 120 for one in colours]
    return sum(now and not before for before, now in pairwise([False, *green]))


def test_draws_alarms_where_they_are(timeline):
    assert colour_at(timeline, 19.0, ACCENT) and not colour_at(timeline, 25.0, ACCENT)


def test_bars_of_polyps_at_the_same_time_are_all_seen(timeline, qtbot):
    usual = timeline.height()
    alarms = ((10.0, 40.0, 1), *((18.0 + number, 40.0, number) for number in range(2, 9)))
    for count in (2, 8):
        timeline.set_content(TimelineContent(data(alarms=alarms[:count])))
        assert green_bars(timeline, 35.0) == count and green_bars(timeline, 15.0) == 1
    assert timeline.height() > usual, "eight bars would be too low"


def test_the_mouse_is_told_the_polyp_whose_bar_is_under_it(timeline, qtbot):
    timeline.set_content(TimelineContent(data(alarms=((10.0, 20.0, 3), (12.0, 20.0, 4)))))
    x, bars = x_of(timeline, 15.0), timeline._lanes().alarms
    for share, number in ((0.2, 3), (0.8, 4)):
        qtbot.mouseMove(timeline, QPoint(x, round(bars.top() + share * bars.height())))
        assert timeline._hover._text == f"Polyp {number}"


def test_an_alarm_that_the_other_analysis_lacks_is_amber_and_hollow(timeline):
    height = timeline.height()
    timeline.set_content(TimelineContent(data(others=((10.0, 12.0, 1), (50.0, 55.0, 2)))))
    assert timeline.height() > height
    assert colour_at(timeline, 19.0, ACCENT) and not colour_at(timeline, 53.0, ACCENT)
    assert colour_at(timeline, 53.0, TONES["warn"])


def test_a_click_seeks_to_the_frame_under_it(timeline, qtbot):
    qtbot.mouseClick(timeline, Qt.LeftButton, pos=QPoint(x_of(timeline, 42.0), 30))
    assert timeline.sought == [pytest.approx(42.0, abs=0.1)]


def test_the_wheel_zooms_around_the_mouse(timeline):
    x = x_of(timeline, 42.0)
    for _ in range(20):
        where = QPointF(x, 30)
        turn = QWheelEvent(
            where, where, QPoint(), QPoint(0, 120), Qt.NoButton, Qt.NoModifier, Qt.NoScrollPhase, False
        )  # fmt: skip
        timeline.wheelEvent(turn)
    assert timeline.view.length_s == 0.5 and timeline.time_at(x) == pytest.approx(42.0, abs=0.1)


def test_dragging_a_zoomed_timeline_shows_another_part_and_does_not_seek(timeline, qtbot):
    timeline.zoom(5, 30.0)
    start_s, time_s = timeline.view.start_s, timeline.time_at(400)
    qtbot.mousePress(timeline, Qt.LeftButton, pos=QPoint(400, 30))
    drag_to(timeline, 300)
    qtbot.mouseRelease(timeline, Qt.LeftButton, pos=QPoint(300, 30))
    assert timeline.view.start_s > start_s and timeline.time_at(300) == pytest.approx(time_s) and not timeline.sought


def test_shift_and_drag_loops(timeline, qtbot):
    first, last = x_of(timeline, 20.0), x_of(timeline, 30.0)
    qtbot.mousePress(timeline, Qt.LeftButton, Qt.ShiftModifier, QPoint(first, 30))
    drag_to(timeline, last)
    qtbot.mouseRelease(timeline, Qt.LeftButton, Qt.ShiftModifier, QPoint(last, 30))
    assert timeline.looped == [(pytest.approx(20.0, abs=0.1), pytest.approx(30.0, abs=0.1))] and not timeline.sought


def test_the_mouse_is_told_what_is_there(timeline, qtbot):
    qtbot.mouseMove(timeline, QPoint(x_of(timeline, 15.0), 30))
    assert (timeline._hover._time[:5], timeline._hover._text) == ("00:15", "Polyp 3")
    qtbot.mouseMove(timeline, QPoint(x_of(timeline, 35.0), 30))
    assert timeline._hover._text == "Blurred"


class TestLink:
    """The timeline of a recording that is watched. `link.player` is what the link knows of the player."""

    transport = SimpleNamespace(loop_s=None)

    @pytest.fixture
    def link(self, timeline) -> TimelineLink:
        info = SimpleNamespace(path=None, time_in_file=float)
        self.player = SimpleNamespace(
            info=info, feed=feed(), displayed=None, position_s=0.0, speed=1.0, step_s=0.0, is_behind=False
        )
        return TimelineLink(timeline, self.player, ShownAlarms())

    def watch(self, link: TimelineLink, *times_s: float) -> tuple[Span, ...]:
        """Show frames at these times; returns which parts count as analysed then."""
        image = np.zeros((4, 4, 3), np.uint8)
        for index, time_s in enumerate(times_s):
            link.watch(Result(Frame(index, time_s, 0.0, image), whole_field(image), NO_DETECTIONS, (), None))
        link.refresh(self.transport, 0.3)
        return link._findings.state(0.3).analysed

    def test_what_a_seek_jumps_over_was_not_watched(self, link):
        assert self.watch(link, 10.0, 10.1) == ((10.0, 10.1),)
        assert self.watch(link, 10.2, 10.3) == ((10.0, 10.3),)
        self.player.feed = feed()
        assert self.watch(link, 11.5, 11.6) == ((10.0, 10.3), (11.5, 11.6))

    def test_where_analysis_is_skipped_to_keep_pace_only_samples_were_analysed(self, link):
        self.player.feed = feed("paced")
        assert self.watch(link, 10.0, 10.1) == () and link._findings.state(0.3).sampled == ((10.0, 10.1),)

    def test_alarms_found_again_in_another_field_have_the_threshold_of_the_first_ones(self, link):
        link.refresh(self.transport, 0.3)
        link.use_field(None)
        link.refresh(self.transport, 0.7)
        link._findings.add(Report((0.0, 3.0), True, (1.0,), (0.5,), ("clear",), ("ok",), ((1.2, 1.9),)))
        assert link._findings.state(0.7).data.alarms == ()
        assert link._findings.state(0.3).data.alarms == ((1.2, 1.9, 0),)

    def test_a_part_that_could_not_be_analysed_ahead_is_said_once_and_stands_under_the_mouse(self, link):
        said: list[str] = []
        link._say = said.append
        link.refresh(self.transport, 0.3)
        link._findings.add(Report((10.0, 20.0), False, (), (), (), (), problem="the model failed at frame 300: NaN"))
        for threshold in (0.4, 0.5):
            link.refresh(self.transport, threshold)
        assert said == ["00:10 to 00:20 could not be analysed ahead: the model failed at frame 300: NaN"]
        assert link._timeline._text_at(15.0) == "Could not be analysed"
        assert link._timeline._text_at(25.0) == "Not analysed yet"

    def test_findings_are_joined_when_they_are_drawn_and_not_at_every_refresh(self, link, monkeypatch):
        asked: list[int] = []
        state = Findings.state
        monkeypatch.setattr(Findings, "state", lambda self, threshold: asked.append(1) or state(self, threshold))
        monkeypatch.setattr(timeline_link, "_REDRAW_S", float("inf"))
        for _ in range(4):
            link.refresh(self.transport, 0.3)
        assert len(asked) == 1
        link.refresh(self.transport, 0.4)
        assert len(asked) == 2


def feed(display: str = "synced") -> SimpleNamespace:
    return SimpleNamespace(display=display)
