"""FROC and the withholding curve: one comparison with the truth against doing it anew at every level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.metrics.events import SeenFrame, event_figures, records_by_level, video_record
from realtime_polyp.metrics.frames import count_frames
from realtime_polyp.metrics.levels import CONFIRM_TIMES_S, SCORES, ages, by_age, by_score, pool_levels, price

HERE, THERE = [10, 10, 50, 50], [100, 100, 140, 140]


def timeline(letters: str, *, cuts: tuple[int, ...] = (), period_s: float = 0.1) -> list[SeenFrame]:
    """H polyp there and shown, M there and missed, F a false box, B both, x nothing, f difficult and not shown."""
    frames = []
    for index, letter in enumerate(letters):
        polyps = {1: np.array(HERE, np.float32)} if letter in "HMB" else {}
        difficult = {1: np.array(HERE, np.float32)} if letter == "f" else {}
        boxes = np.array([HERE] * (letter in "HB") + [THERE] * (letter in "FB"), np.float32).reshape(-1, 4)
        frames.append(SeenFrame(index * period_s, polyps, difficult, boxes, index in cuts))
    return frames


letters = st.text("HMFBx", max_size=40)


@given(letters, st.sets(st.integers(0, 39)), st.integers(0, 2**32 - 1))
def test_levels_are_what_the_boxes_left_would_have_made(story: str, cuts: set[int], seed: int) -> None:
    chance = np.random.default_rng(seed)
    frames = timeline(story, cuts=tuple(cuts))
    values = [chance.integers(0, 3, len(frame.shown)).astype(np.float64) for frame in frames]
    levels = records_by_level(frames, values, (0.0, 1.0, 2.0), period_s=0.1)
    for level, record in levels.items():
        left = [
            SeenFrame(frame.pts_s, frame.polyps, frame.difficult, frame.shown[value >= level], frame.cut)
            for frame, value in zip(frames, values, strict=True)
        ]
        assert record == video_record(left, period_s=0.1)


def test_a_froc_falls_with_the_score_demanded() -> None:
    frames = timeline(10 * "B" + 5 * "x")
    scores = [np.array([0.8, 0.35], np.float32)[: len(frame.shown)] for frame in frames]
    levels = {level: event_figures(records) for level, records in by_score(frames, scores, period_s=0.1).items()}
    assert set(levels) == set(SCORES)
    assert levels[0.35].sensitivity == 1 and levels[0.35].false_alarms_per_minute[0.0] == pytest.approx(40)
    assert levels[0.4].sensitivity == 1 and levels[0.4].false_alarms_per_minute[0.0] == 0
    assert levels[0.8].sensitivity == 1 and levels[0.85].sensitivity == 0


def test_a_box_grows_older_until_it_is_gone_a_cut_or_elsewhere() -> None:
    assert [one.tolist() for one in ages(timeline("HHxHH"))] == [
        [0],
        [pytest.approx(0.1)],
        [],
        [0],
        [pytest.approx(0.1)],
    ]
    assert [one.tolist() for one in ages(timeline("HHH", cuts=(1,)))] == [[0], [0], [pytest.approx(0.1)]]
    assert [one.tolist() for one in ages(timeline("HF"))] == [[0], [0]]
    assert [one.tolist() for one in ages(timeline("HB"))] == [[0], [pytest.approx(0.1), 0]]


def test_withholding_removes_bursts_and_costs_its_time() -> None:
    """Six frames at 30 Hz are there for 0.2 s, and the seventh is shown once 0.2 s are confirmed."""
    period_s = 1 / 30
    frames = timeline(15 * "M" + 30 * "H" + 9 * "x" + 6 * "F" + 9 * "x" + 7 * "F" + "x", period_s=period_s)
    levels = by_age(frames, period_s=period_s)
    paid = {level: price(levels[0.0], records) for level, records in levels.items()}
    assert set(paid) == set(CONFIRM_TIMES_S)
    assert paid[0.15].removed[0.0] == 0 and paid[0.2].removed[0.0] == 0.5 and paid[0.3].removed[0.0] == 1
    assert paid[0.2].delay_s == pytest.approx(0.2) and paid[0.2].lost == 0
    assert paid[1.0].delay_s is None and paid[1.0].lost == 1
    assert paid[0.2].removed[0.5] is None  # there was none so long


@given(letters, st.sets(st.integers(0, 39)))
def test_withholding_longer_never_finds_more_or_sooner(story: str, cuts: set[int]) -> None:
    levels = by_age(timeline(story, cuts=tuple(cuts)), period_s=0.1)
    told = [price(levels[0.0], levels[level]) for level in CONFIRM_TIMES_S]
    assert told[0].delay_s in (0, None) and told[0].lost == 0
    assert [one.lost for one in told] == sorted(one.lost for one in told)
    false_s = [sum(run.duration_s for run in levels[level][0].false_alarms) for level in CONFIRM_TIMES_S]
    assert all(later <= sooner + 1e-9 for sooner, later in zip(false_s, false_s[1:], strict=False))


def test_a_price_is_of_the_same_videos_and_levels_are_pooled() -> None:
    one, other = (by_age(timeline(story), period_s=0.1) for story in ("HHHHHFF", "xxFF"))
    both = pool_levels([one, other])
    assert both[0.0] == (*one[0.0], *other[0.0]) and event_figures(both[0.0]).polyps == 1
    with pytest.raises(ValueError, match="of the same videos"):
        price(one[0.0], other[0.0])


def test_frames_are_counted_one_by_one() -> None:
    counts = count_frames(timeline("HHMBFxxf"))
    assert (counts.positive, counts.reached, counts.negative, counts.silent) == (4, 3, 3, 2)
    assert counts.sensitivity == 0.75 and counts.specificity == pytest.approx(2 / 3)
    assert count_frames([]).sensitivity is None and count_frames([]).specificity is None
    assert count_frames(timeline("H")) + count_frames(timeline("x")) == count_frames(timeline("Hx"))
