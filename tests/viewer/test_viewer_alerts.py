"""The window cannot be mistaken: badges, legend, edge signal, count, sound, and bars that leave the picture free."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, QRectF, Qt
from viewer_fakes import ScriptedFeed

from realtime_polyp.field_of_view import whole
from realtime_polyp.metrics.contrast import ENOUGH, contrasts_of
from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.packets import NO_DETECTIONS, Frame, Mask, Result, Track
from realtime_polyp.viewer import bars
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.condition import RUNNING, Condition
from realtime_polyp.viewer.displayed import DisplayedFrame, SourceInfo
from realtime_polyp.viewer.edge_signal import bar_of, side_of
from realtime_polyp.viewer.legend import Legend
from realtime_polyp.viewer.sound import AlarmSound
from realtime_polyp.viewer.theme import MARK, TONES, scale_of
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions

SIZE = (320, 240)
PINK = np.full((SIZE[1], SIZE[0], 3), (226, 142, 132), np.uint8)
BOX = (200.0, 60.0, 300.0, 160.0)


def result(index: int, *boxes: tuple[float, ...], mask: bool = False) -> Result:
    tracks = tuple(Track(n + 1, np.float32(box), 0.89, "shown", 1.0, 0.0) for n, box in enumerate(boxes))
    map_ = np.zeros((60, 80), np.float32)
    map_[18:38, 52:72] = 0.95
    image = PINK  # shared, as nothing draws on it
    return Result(Frame(index, index / 30, index / 30, image), whole(image), NO_DETECTIONS, tracks,
                  Mask(map_, whole(image)) if mask else None)  # fmt: skip


@pytest.fixture
def window(qtbot) -> Iterator[Callable[..., ViewerWindow]]:
    made = []

    def make(results: list[Result], *, live: bool = False, size: tuple[int, int] = (900, 640), **options):
        feed = ScriptedFeed(results)
        info = SourceInfo("fake.mp4", live, None if live else 10.0)
        one = ViewerWindow(lambda start_s: feed, info, ViewerOptions("A test", **{"sound": False} | options))
        heard: list[float] = []
        one.alerting.sound = AlarmSound(lambda: heard.append)
        one.heard = heard
        qtbot.addWidget(one)
        made.append(one)
        one.resize(*size)
        one.start()
        return one

    yield make
    for one in made:
        one.close()


def badges(one: ViewerWindow) -> tuple[str, ...]:
    return one.canvas._notes.mutes


class TestBadges:
    def test_o_and_d_undo_themselves_and_say_so(self, window, qtbot):
        one = window([result(i, BOX) for i in range(400)])
        qtbot.keyClick(one, Qt.Key_O)
        assert badges(one) == ("Overlay off \u2013 press O",) and "O brings it back" in one.status.right.text()
        qtbot.keyClick(one, Qt.Key_O)
        assert badges(one) == () and one.status.right.text() == "Overlay on"
        qtbot.keyClick(one, Qt.Key_Plus)
        assert badges(one) == ("Threshold 35 %, usual 30 % \u2013 press D",)
        qtbot.keyClick(one, Qt.Key_D)
        assert badges(one) == () and one.alerting.style.min_score == 0.3
        qtbot.keyClick(one, Qt.Key_D)
        assert one.alerting.style.min_score == 0.35

    def test_a_threshold_that_the_user_asked_for_is_marked_as_well(self, window):
        assert badges(window([result(0)], style=OverlayStyle(min_score=0.95), usual_score=0.3)) == (
            "Threshold 95 %, usual 30 % \u2013 press D",
        )

    def test_no_label_lies_under_a_badge_or_over_a_polyp(self, window, qtbot):
        one = window([result(i, BOX, (2, 2, 150, 110)) for i in range(400)], live=True)
        qtbot.waitUntil(lambda: one.player.displayed is not None)
        qtbot.keyClick(one, Qt.Key_U)
        one.grab()
        taken = one.canvas._badges.update(*one.canvas._badges._key)
        labels = [place.rect for place in one.canvas._placer._before.values()]
        assert len(taken) >= 2 and len(labels) == 2
        for (x1, y1, x2, y2), (u1, v1, u2, v2) in product(labels, taken):
            assert x2 <= u1 or u2 <= x1 or y2 <= v1 or v2 <= y1


class TestLive:
    def test_the_sound_is_on_and_its_badge_comes_when_it_is_muted(self, window, qtbot):
        one = window([result(i, *[BOX] * (i > 2)) for i in range(400)], live=True, sound=None)
        assert badges(one) == () and one.alerting.sound.on
        qtbot.waitUntil(lambda: one.heard == [1.0])
        for _ in range(3):
            qtbot.keyClick(one, Qt.Key_Down)
        assert one.alerting.sound.volume == 0.7 and one.heard[-1] == 0.7
        qtbot.keyClick(one, Qt.Key_A)
        assert badges(one) == ("Sound muted \u2013 press A",)

    def test_a_sound_at_volume_zero_has_a_badge_whose_key_ends_it(self, window, qtbot):
        one = window([result(i) for i in range(400)], live=True, sound=None)
        one.alerting.set_volume(0.0)
        assert one.alerting.sound.on and badges(one) == ("Volume 0 \u2013 press \u2191",)
        qtbot.keyClick(one, Qt.Key_Up)
        assert badges(one) == ()

    def test_polyps_are_counted_by_their_numbers(self, window, qtbot):
        one = window([result(i, BOX, (10, 10, 60, 60)) for i in range(400)], live=True)
        qtbot.waitUntil(lambda: one.status.labels["polyps"].text() == "polyps so far 2")
        assert one.alarms.polyps == 2


class TestFullScreen:
    def test_the_picture_has_the_whole_screen_and_the_bars_come_with_the_mouse(self, window, qtbot, monkeypatch):
        monkeypatch.setattr(bars, "SHOWN_MS", 50)
        one = window([result(i, BOX) for i in range(400)])
        qtbot.keyClick(one, Qt.Key_O)
        qtbot.keyClick(one, Qt.Key_F)
        qtbot.waitUntil(lambda: one.canvas.size() == one.size())
        qtbot.waitUntil(lambda: not one.controls.isVisible())
        assert badges(one) == ("Overlay off \u2013 press O",) and one.canvas._covered == (0, 0)
        assert "polyps so far" in one.canvas._notes.status and "Research use" in one.canvas._notes.corner
        monkeypatch.setattr(bars, "SHOWN_MS", 60_000)
        qtbot.mouseMove(one.canvas, QPoint(100, 200))
        qtbot.mouseMove(one.canvas, QPoint(120, 220))
        qtbot.waitUntil(lambda: one.controls.isVisible())
        assert one.canvas.size() == one.size() and one.canvas._covered[1] > 0
        qtbot.keyClick(one, Qt.Key_Escape)
        qtbot.waitUntil(lambda: one.controls.isVisible() and one.canvas.height() < one.height())


class TestLegend:
    def test_it_opens_at_the_first_start_until_it_is_closed(self, window, qtbot):
        closed = []
        one = window([result(i) for i in range(400)], legend=True, on_legend_closed=lambda: closed.append(1))
        qtbot.waitUntil(one.panels.legend.isVisible)  # with the first picture
        assert not closed
        qtbot.keyClick(one, Qt.Key_L)
        assert not one.panels.legend.isVisible() and closed == [1]

    def test_it_makes_way_for_a_polyp(self, window, qtbot):
        one = window([result(i, (20, 150, 90, 230)) for i in range(400)], legend=True)  # in the lower left corner
        qtbot.waitUntil(lambda: one.canvas.boxes_on_widget() != [])
        (box,) = one.canvas.boxes_on_widget()
        qtbot.waitUntil(lambda: not QRectF(one.panels.legend.geometry()).intersects(box))
        assert one.panels.legend.isVisible()

    def test_it_covers_no_badge(self, window, qtbot):
        one = window([result(i, (20, 150, 90, 230)) for i in range(400)], legend=True)
        qtbot.keyClick(one, Qt.Key_O)  # the badge lies in the upper left corner, the polyp in the lower left one

        def is_clear() -> bool:
            legend = QRectF(one.panels.legend.geometry())
            return (
                one.panels.legend.isVisible()
                and bool(badges(one))
                and not any(legend.intersects(area) for area in one.canvas.areas_to_see())
            )

        qtbot.waitUntil(is_clear)

    def test_it_is_hidden_while_a_condition_is_written_over_the_picture(self, window, qtbot):
        one = window([result(i) for i in range(400)], legend=True)
        qtbot.waitUntil(one.panels.legend.isVisible)
        one.canvas.set_condition(
            Condition("reconnecting", "Reconnecting", "No picture for 6 s", blanks=True, covers=True)
        )
        one.panels.legend.make_way()
        assert not one.panels.legend.isVisible()
        one.canvas.set_condition(RUNNING)
        one.panels.legend.make_way()
        assert one.panels.legend.isVisible()

    def test_where_polyps_are_judged_it_has_the_signs_of_verdicts_too(self, qtbot):
        canvas = Canvas(OverlayStyle())
        qtbot.addWidget(canvas)
        canvas.resize(800, 600)
        canvas.set_condition(RUNNING)
        canvas.show()
        shown = {}
        for judges in (False, True):
            legend = Legend(canvas, lambda: None, judges=judges)
            legend.open()
            picture = legend.grab().toImage()
            assert canvas.rect().contains(legend.geometry())
            points = product(range(0, picture.width(), 2), range(0, picture.height(), 2))
            shown[judges] = {picture.pixelColor(*point).name() for point in points}
            legend.hide()
        assert MARK in shown[False] & shown[True]  # the flag
        assert TONES["bad"] in shown[True] - shown[False]  # the cross

    @pytest.mark.parametrize("size", [(800, 600), (1280, 800)])
    def test_it_fits_on_the_picture(self, window, size):
        one = window([result(0)], size=size, legend=True)
        assert one.canvas.rect().contains(one.panels.legend.geometry())


class TestLayout:
    @pytest.mark.parametrize("live", [False, True])
    def test_everything_fits_into_800_by_600(self, window, live):
        one = window([result(i) for i in range(400)], live=live, size=(800, 600))
        assert (one.width(), one.height()) == (800, 600)
        for widget in (one.canvas, one.controls, one.status, one.status.labels["state"]):
            corner = widget.mapTo(one, QPoint(0, 0))
            assert corner.x() >= 0 and corner.x() + widget.width() <= 800
            assert widget.isVisible() and corner.y() + widget.height() <= 600
        assert one.canvas.height() > 380

    def test_texts_that_change_move_nothing(self, window, qtbot):
        one = window([result(i) for i in range(400)])
        places = {name: label.geometry() for name, label in one.status.labels.items()}
        for text in ("1", "a message that is longer than the whole line is wide " * 9):
            one.show_message(text)
            one.status.labels["state"].setText(text)
            qtbot.wait(20)
            assert {name: label.geometry() for name, label in one.status.labels.items()} == places

    def test_large_windows_have_larger_letters(self):
        sizes = ((800, 600), (1280, 800), (1920, 1080), (3840, 2160), (1080, 1920))
        assert [scale_of(*size) for size in sizes] == [1.0, 1.0, 1.25, 2.5, 1.0]


class TestEdgeSignal:
    PICTURE = QRectF(0, 0, 320, 240)

    @pytest.mark.parametrize(
        ("box", "side"),
        [((5, 90, 60, 150), "left"), ((250, 90, 310, 150), "right"), ((130, 4, 190, 60), "top"),
         ((130, 170, 190, 236), "bottom")],
    )  # fmt: skip
    def test_it_is_on_the_polyps_side(self, box, side):
        assert side_of(box, self.PICTURE) == side
        rect, _ = bar_of(box, self.PICTURE)
        assert self.PICTURE.contains(rect) and getattr(rect, side)() == getattr(self.PICTURE, side)()

    def test_it_ends(self, qtbot):
        now = [0.0]
        canvas = Canvas(OverlayStyle())
        canvas.signals._clock = lambda: now[0]
        canvas.signals.start([BOX])
        assert canvas.signals.boxes() == [BOX]
        now[0] = 2.0
        assert canvas.signals.boxes() == []


def test_what_the_window_paints_stands_out_from_mucosa(qtbot):
    canvas = Canvas(OverlayStyle())
    qtbot.addWidget(canvas)
    canvas.resize(*SIZE)
    canvas.set_condition(RUNNING)
    canvas.show()
    one = result(0, BOX, mask=True)
    canvas.show_frame(DisplayedFrame(one.frame, one))
    grabbed = canvas.grab().toImage().convertToFormat(13)  # RGB888
    rows = np.frombuffer(grabbed.constBits().asstring(grabbed.sizeInBytes()), np.uint8)
    drawn = rows.reshape(SIZE[1], grabbed.bytesPerLine())[:, : 3 * SIZE[0]].reshape(SIZE[1], SIZE[0], 3)
    assert contrasts_of(PINK, drawn, 5).best.min() >= ENOUGH
