"""Timelines made by hand, one for every edge of METRICS 4."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.metrics.events import SeenFrame, event_figures, video_record
from realtime_polyp.metrics.overlaps import false_boxes, matches

NTSC_S = float(Fraction(1001, 30000))
HERE, THERE = [10, 10, 50, 50], [100, 100, 140, 140]


def box(*corners: float) -> np.ndarray:
    return np.array(corners, np.float32)


def timeline(
    story: str, *, period_s: float = 0.1, cuts: tuple[int, ...] = (), difficult: str = "", true_box: list[int] = HERE
) -> list[SeenFrame]:
    """One frame a letter: H polyp 1 there and shown, M there and missed, F a false box, B both, x nothing, - no polyp
    but its place is shown, h / m: difficult, shown or not."""
    frames = []
    for index, letter in enumerate(story):
        polyps = {1: box(*true_box)} if letter in "HMB" else {}
        pale = {1: box(*true_box)} if letter in "hm" else {}
        shown = [true_box] * (letter in "HBh-") + [THERE] * (letter in "FB")
        shown_boxes = np.array(shown, np.float32).reshape(-1, 4)
        frames.append(SeenFrame(index * period_s, polyps, pale, shown_boxes, index in cuts))
    return frames


def alarms(story: str, *, period_s: float = 0.1, cuts: tuple[int, ...] = ()) -> list[float]:
    record = video_record(timeline(story, period_s=period_s, cuts=cuts), period_s=period_s)
    return [round(run.duration_s, 6) for run in record.false_alarms]


# what is false


def test_a_box_that_just_reaches_iou_02_is_true() -> None:
    true = np.array([[0, 0, 10, 10]], np.float32)
    assert matches(np.array([[0, 0, 10, 2]], np.float32), true).tolist() == [[True]]
    assert matches(np.array([[0, 0, 10, 1.99]], np.float32), true).tolist() == [[False]]


def test_boxes_without_area_or_contact_reach_nothing() -> None:
    true = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
    assert not matches(np.array([[5, 5, 5, 5], [10, 0, 20, 10]], np.float32), true).any()


def test_without_true_boxes_every_shown_box_is_false() -> None:
    shown = np.array([HERE, THERE], np.float32)
    assert false_boxes(shown, np.zeros((0, 4), np.float32)).tolist() == [True, True]


# false alarms


def test_a_false_alarm_is_a_run_of_frames() -> None:
    assert alarms("xFFxFx") == [0.2, 0.1]


def test_a_false_box_beside_a_true_one_is_an_alarm_too() -> None:
    assert alarms("HBBH") == [0.2]


def test_an_alarm_goes_on_from_beside_a_polyp_to_an_empty_picture() -> None:
    assert alarms("HBFFx") == [0.3]


def test_where_a_polyp_was_is_false_once_it_is_gone() -> None:
    assert alarms("HH--x") == [0.2]


def test_a_box_on_a_faint_polyp_is_no_alarm() -> None:
    assert alarms("hhhmm") == []


def test_an_alarm_ends_at_a_cut_and_begins_again() -> None:
    assert alarms("FFFF", cuts=(2,)) == [0.2, 0.2]


def test_an_alarm_ends_where_the_clock_jumps() -> None:
    early, late = timeline("FF"), timeline("FF")
    later = [SeenFrame(frame.pts_s + 60, shown=frame.shown) for frame in late]
    back = [*later, *early]
    for frames in ([*early, *later], back):
        record = video_record(frames, period_s=0.1)
        assert [run.duration_s for run in record.false_alarms] == pytest.approx([0.2, 0.2])
        assert record.duration_s == pytest.approx(0.4)  # the minute between was not watched


def test_a_step_of_one_second_goes_on_however_its_times_are_rounded() -> None:
    """In float64, 8.3 - 7.3 is more than 1."""
    frames = [SeenFrame(pts_s, shown=np.array([THERE], np.float32)) for pts_s in (7.3, 8.3)]
    assert [run.duration_s for run in video_record(frames, period_s=0.1).false_alarms] == pytest.approx([1.1])


def test_a_dropped_frame_leaves_the_one_before_on_the_screen() -> None:
    frames = [frame for index, frame in enumerate(timeline("FFFFx")) if index != 2]
    assert [run.duration_s for run in video_record(frames, period_s=0.1).false_alarms] == pytest.approx([0.4])


def test_fifteen_frames_at_2997_are_half_a_second_and_fourteen_are_not() -> None:
    """15 * 1001 / 30000 = 0.5005 s. At a rate rounded to 30, 15 frames are exactly the limit, and count too."""
    for period_s in (NTSC_S, 1 / 30):
        long = video_record(timeline("x" + 15 * "F" + "x", period_s=period_s), period_s=period_s)
        short = video_record(timeline("x" + 14 * "F" + "x", period_s=period_s), period_s=period_s)
        assert long.false_alarms[0].lasts(0.5) and not short.false_alarms[0].lasts(0.5)


def test_alarms_are_counted_by_class_and_minute() -> None:
    story = "F" + "x" + 5 * "F" + "x" + 12 * "F" + 40 * "x"  # 0.1, 0.5 and 1.2 s in 6 s
    figures = event_figures([video_record(timeline(story), period_s=0.1)])
    assert figures.minutes == pytest.approx(0.1)
    assert figures.false_alarms_per_minute == pytest.approx({0.0: 30, 0.5: 20, 1.0: 10, 2.0: 0})


# polyps


def test_the_first_detection_is_timed_from_appearance() -> None:
    (polyp,) = video_record(timeline("xxMMMHHMH"), period_s=0.1).polyps
    assert polyp.first_shown_s == pytest.approx(0.3) and polyp.in_view_s == pytest.approx(0.7)
    assert [run.duration_s for run in polyp.shown] == pytest.approx([0.2, 0.1])


def test_time_out_of_view_is_not_held_against_it() -> None:
    (polyp,) = video_record(timeline("MM" + 50 * "x" + "MH"), period_s=0.1).polyps
    assert polyp.first_shown_s == pytest.approx(0.3)


def test_half_a_second_with_a_gap_is_not_half_a_second() -> None:
    (whole,) = video_record(timeline("HHHHH"), period_s=0.1).polyps
    (broken,) = video_record(timeline("HHHMHHH"), period_s=0.1).polyps
    assert whole.found() and not broken.found() and broken.found(for_s=0.3)


def test_a_cut_breaks_the_showing() -> None:
    (polyp,) = video_record(timeline("HHHHHH", cuts=(3,)), period_s=0.1).polyps
    assert not polyp.found()


def test_what_is_shown_after_the_first_three_seconds_comes_too_late() -> None:
    (late,) = video_record(timeline(31 * "M" + 20 * "H"), period_s=0.1).polyps
    (just,) = video_record(timeline(30 * "M" + 20 * "H"), period_s=0.1).polyps
    assert not late.found() and late.found(within_s=3.1) and just.found()


def test_a_faint_moment_is_no_interruption_and_no_demand() -> None:
    (missed,) = video_record(timeline("HHHmmHH"), period_s=0.1).polyps
    assert missed.found() and missed.in_view_s == pytest.approx(0.5)
    (shown,) = video_record(timeline("mhHHH"), period_s=0.1).polyps
    assert shown.first_shown_s == 0 and [run.duration_s for run in shown.shown] == pytest.approx([0.4])


def test_two_polyps_at_once_each_need_a_box() -> None:
    both = {1: box(*HERE), 2: box(*THERE)}
    frames = [SeenFrame(index / 10, both, shown=np.array([HERE], np.float32)) for index in range(6)]
    first, second = video_record(frames, period_s=0.1).polyps
    assert first.found() and not second.found() and second.first_shown_s is None


def test_a_polyp_that_is_only_ever_faint_is_not_demanded() -> None:
    assert video_record(timeline("hmhm"), period_s=0.1).polyps == ()


def test_figures_pool_videos_and_count_what_was_missed_apart() -> None:
    stories = ["HHHHHH", "MMMMMM", "MMHHHHHH"]
    figures = event_figures([video_record(timeline(story), period_s=0.1) for story in stories])
    assert (figures.polyps, figures.missed) == (3, 1)
    assert figures.sensitivity == pytest.approx(2 / 3) and figures.first_shown_s == pytest.approx(0.1)


def test_nothing_at_all_has_no_figures() -> None:
    figures = event_figures([video_record([], period_s=0.1)])
    assert figures.sensitivity is None and figures.first_shown_s is None and figures.false_alarms_per_minute == {}
    with pytest.raises(ValueError, match="period must be above 0 s, not 0"):
        video_record([], period_s=0)


@given(st.text("HMFBx-hm", max_size=60), st.sets(st.integers(0, 59)), st.sampled_from([0.02, NTSC_S, 0.1]))
def test_whatever_happens_time_adds_up(story: str, cuts: set[int], period_s: float) -> None:
    record = video_record(timeline(story, period_s=period_s, cuts=tuple(cuts)), period_s=period_s)
    assert record.duration_s == pytest.approx(len(story) * period_s)
    false_s = sum(letter in "FB-" for letter in story) * period_s
    assert sum(run.duration_s for run in record.false_alarms) == pytest.approx(false_s)
    for polyp in record.polyps:
        assert polyp.in_view_s == pytest.approx(sum(letter in "HMB" for letter in story) * period_s)
        shown_s = sum(letter in "HBh" for letter in story) * period_s
        assert sum(run.duration_s for run in polyp.shown) == pytest.approx(shown_s)
