"""The times of alarms: each once, without overlaps, and not across a seek."""

from dataclasses import replace
from itertools import pairwise

import pytest
from fakes import RATE_HZ, results_of
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.viewer.shown_alarms import ShownAlarms, merge_spans


def test_a_black_picture_alarms_nobody() -> None:
    alarms = ShownAlarms()
    assert alarms.update(replace(results_of([{1: 0.9}])[0], signal="black"), 0.3) == 0 and not alarms.spans


def test_spans_are_when_something_was_shown() -> None:
    alarms = ShownAlarms()
    for result in results_of([{}] * RATE_HZ + [{1: 0.9}] * RATE_HZ + [{}] * (2 * RATE_HZ) + [{1: 0.9, 2: 0.4}] * 6):
        alarms.update(result, 0.5)
    period_s = 1 / RATE_HZ
    first, second = alarms.spans
    assert first == pytest.approx((1.0, 2.0)) and second == pytest.approx((4.0, 4 + 5 * period_s))


def test_what_is_watched_twice_is_marked_once() -> None:
    alarms, seen = ShownAlarms(), results_of([{}] * 3 + [{1: 0.9}] * 20)
    for result in [*seen[:12], *(replace(one) for one in seen)]:
        alarms.update(result, 0.5)
    assert alarms.spans == (pytest.approx((seen[3].frame.pts_s, seen[-1].frame.pts_s)),)


def test_nothing_was_shown_on_the_way_of_a_seek() -> None:
    alarms, seen = ShownAlarms(), results_of([{1: 0.9}] * 40)
    for result in seen[:6]:
        alarms.update(result, 0.5)
    alarms.on_seek()
    for result in seen[20:]:  # less than a second on, where the same number is shown
        alarms.update(result, 0.5)
    (_, first_end), (second, _) = alarms.spans
    assert first_end == pytest.approx(6 / RATE_HZ, abs=0.04) and second == seen[20].frame.pts_s


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6))))
def test_merged_spans_are_apart_and_cover_the_same(pairs: list[tuple[int, int]]) -> None:
    spans = tuple((float(start), float(start + length)) for start, length in pairs)
    found = merge_spans(spans)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    for half in range(100):
        inside = [any(start <= half / 2 <= end for start, end in some) for some in (spans, found)]
        assert inside[0] == inside[1]
