"""The polyp list: its entries, its rows, and what a click does."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, Qt
from PyQt5.QtGui import QColor
from recorded_toys import SIZE, make_session, picture, result

from realtime_polyp.review.actions import Action, Mark, Note, SamePolyp, Stretch, Verdict, judge
from realtime_polyp.review.alarms import find_alarms
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.tracks import recorded_tracks
from realtime_polyp.viewer.polyp_entries import MarkEntry, PolypEntry, ShownPolyps, crop, review_entries
from realtime_polyp.viewer.polyp_list import PolypList, times_of, tip_of, title_of
from realtime_polyp.viewer.polyp_pictures import PolypPictures
from realtime_polyp.viewer.theme import TONES

BOX = (10.0, 10.0, 40.0, 50.0)


def entry(polyp: int = 1, *, verdict: bool | None = None, at_s: float = 2.0) -> PolypEntry:
    return PolypEntry(polyp, ((at_s, at_s + 3.0),), 0.89, verdict, at_s, BOX)


def seen(number: int, score: float):
    one = result(number)
    frame = replace(one.frame, image=picture(number))
    return replace(one, frame=frame, tracks=tuple(replace(track, score=score) for track in one.tracks))


class TestEntries:
    def test_polyp_on_the_screen_is_listed_with_its_time_peak_and_picture(self):
        shown = ShownPolyps()
        for number in range(1, 31):
            shown.update(seen(number, 0.5 + number / 100), 0.3)
        (only,) = shown.listed([])
        assert isinstance(only, PolypEntry) and only.polyp == 1 and only.verdict is None
        assert only.spans == ((0.0, 29 / 25),) and only.peak == pytest.approx(0.8, abs=0.15)
        small = shown.picture(1)
        assert small is not None and small.shape == (72, 96, 3) and shown.picture(2) is None
        exact = crop(picture(1), only.box)
        assert np.abs(small.astype(int) - exact).mean() < 16  # compressed

    def test_peak_is_the_highest_score_also_where_no_better_picture_was_made(self):
        shown = ShownPolyps()
        for number, score in ((1, 0.5), (5, 0.95), (9, 0.6)):
            shown.update(seen(number, score), 0.3)
        (only,) = shown.listed([])
        assert isinstance(only, PolypEntry) and (only.peak, only.at_s) == (0.95, 0.0)

    def test_polyp_below_the_threshold_is_not_listed(self):
        shown = ShownPolyps()
        shown.update(seen(1, 0.2), 0.3)
        assert shown.listed([]) == ()

    def test_polyp_that_returns_has_two_spans_and_marks_stand_in_time(self):
        shown = ShownPolyps()
        for number in (1, 2, 3, 100, 101):
            shown.update(seen(number, 0.9), 0.3)
        listed = shown.listed([MarkEntry(2.0), MarkEntry(0.0)])
        assert [type(one).__name__ for one in listed] == ["PolypEntry", "MarkEntry", "MarkEntry"]
        assert len(listed[0].spans) == 2 and listed[1].at_s == 0.0

    def test_review_lists_alarms_verdicts_marked_polyps_and_marks(self, tmp_path):
        session = RecordedSession(make_session(tmp_path, 40))
        alarms = find_alarms(session.frames, recorded_tracks(session))
        said = [Mark(0.5), Stretch(-1, (3, 5), tuple((number, BOX) for number in (3, 4, 5))), Note(1.5, "fold")]
        judgement = judge(Action(number, "", "a", one) for number, one in enumerate(said, 1))
        listed = review_entries(alarms, judgement, session.frames, {alarms[0].number: False})
        names = [one.name if isinstance(one, PolypEntry) else one.text for one in listed]
        assert names == ["1", "M1", "look at this later", "fold"]
        assert [one.verdict for one in listed if isinstance(one, PolypEntry)] == [False, True]

    def test_two_numbers_of_one_polyp_are_one_row(self, tmp_path):
        session = RecordedSession(make_session(tmp_path, 40))
        alarms = find_alarms(session.frames, recorded_tracks(session))
        said = [Stretch(-1, (3,), ((3, BOX),)), SamePolyp(-1, 1), Verdict(1, True)]
        judgement = judge(Action(number, "", "a", one) for number, one in enumerate(said, 1))
        (only,) = review_entries(alarms, judgement, session.frames, {alarms[0].number: True})
        assert only.name == "1" and only.verdict is True

    def test_small_picture_stays_in_the_picture(self):
        assert crop(picture(1), (-5.0, -5.0, 9.0, 9.0)).shape == (72, 96, 3)
        assert crop(picture(1), (0.0, 0.0, *map(float, SIZE))).shape == (72, 96, 3)


def test_pictures_that_were_asked_for_are_not_made_once_the_window_is_closed(monkeypatch):
    begun, may_end, asked_s = threading.Event(), threading.Event(), list[float]()

    class File:
        """Takes its time for a picture."""

        def __init__(self, path: Path, **options: object) -> None:
            self.path = path

        def shown_at(self, time_s: float) -> None:
            asked_s.append(time_s)
            begun.set()
            may_end.wait(20)

        def close(self) -> None:
            pass

    monkeypatch.setattr("realtime_polyp.viewer.polyp_pictures.PictureFile", File)
    pictures = PolypPictures(Path("a.mp4"), lambda: None)
    for polyp in (1, 2, 3):
        pictures.at(entry(polyp, at_s=float(polyp)))
    assert begun.wait(20)
    pictures.close()
    may_end.set()
    pictures._thread.join(20)
    assert asked_s == [1.0]


class TestList:
    @pytest.fixture
    def jumps(self) -> list[float]:
        return []

    @pytest.fixture
    def shown(self, qtbot, jumps) -> PolypList:
        made = PolypList(jumps.append)
        qtbot.addWidget(made)
        made.resize(230, 400)
        made.fit(1280, 1.0)
        made.show()
        made.show_entries((entry(1, verdict=True), entry(2, verdict=False), MarkEntry(9.0)), lambda one: None)
        return made

    def test_click_goes_to_the_row(self, qtbot, shown, jumps):
        for row in range(3):
            qtbot.mouseClick(shown.rows, Qt.LeftButton, pos=QPoint(20, 34 + 62 * row + 30))
        qtbot.mouseClick(shown.rows, Qt.LeftButton, pos=QPoint(20, 10))
        assert jumps == [2.0, 2.0, 9.0]

    def test_verdicts_are_signs_in_clear_colours(self, shown):
        image = shown.rows.grab().toImage()
        column = range(image.width() // 2, image.width())
        for row, tone in ((0, "good"), (1, "bad")):
            lines = range(34 + 62 * row, 34 + 62 * (row + 1))
            found = sum(image.pixelColor(x, y) == QColor(TONES[tone]) for x in column for y in lines)
            assert found > 100

    def test_it_takes_at_most_a_fifth_of_the_window(self, shown):
        for width, scale in ((800, 1.0), (1280, 1.0), (1920, 1.5), (3840, 3.0)):
            shown.fit(width, scale)
            assert 150 < shown.width() <= 0.22 * width

    def test_texts(self):
        assert title_of(entry(3)) == "3   89 %" and title_of(replace(entry(-2), peak=None)) == "M2   marked"
        assert times_of(entry()) == "00:02\u201300:05"
        assert times_of(replace(entry(), spans=((2.0, 2.5), (70.0, 71.0)))) == "00:02  2\u00d7"
        assert tip_of(entry(verdict=False)) == "Polyp 1   89 %, rejected, 00:02\u201300:05: click to go there"

    def test_of_many_polyps_only_those_in_view_are_painted(self, qtbot, shown):
        """A long procedure has hundreds: painting them all took the time of the picture."""
        asked: list[int] = []

        def picture_of(one):
            asked.append(one.polyp)
            return None

        shown.show_entries(tuple(entry(number) for number in range(1, 501)), picture_of)
        shown.rows.repaint()
        in_view = set(asked)
        assert 1 in in_view and len(in_view) < 20
        asked.clear()
        shown.show_entries(tuple(entry(number, at_s=3.0) for number in range(1, 501)), picture_of)
        assert not asked
        shown.verticalScrollBar().setValue(shown.verticalScrollBar().maximum())
        asked.clear()
        shown.rows.repaint()
        assert 500 in asked and not in_view & set(asked)

    def test_nothing_is_painted_again_where_nothing_changed(self, qtbot, shown, monkeypatch):
        entries, small = (entry(1),), np.zeros((72, 96, 3), np.uint8)
        shown.show_entries(entries, lambda one: small)
        updates: list[int] = []
        monkeypatch.setattr(shown.rows, "update", lambda: updates.append(1))
        shown.show_entries(entries, lambda one: small)
        assert not updates
        shown.show_entries((entry(1, verdict=True),), lambda one: small)
        assert updates
