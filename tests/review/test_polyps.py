import numpy as np
import pytest
from test_session_alarms import random_session

from realtime_polyp.review.actions import Action, Judgement, PolypFields, SamePolyp, Stretch, Verdict, judge
from realtime_polyp.review.alarms import find_alarms
from realtime_polyp.review.compare import compare_alarms, comparison_table
from realtime_polyp.review.polyps import list_polyps, match_numbers, renumber
from realtime_polyp.review.tracks import NO_TRACKS, table_of

PERIOD_S = 1 / 25


def rows_of(track: int, first: int, last: int, x1: float = 10.0, score: float = 0.8) -> np.ndarray:
    """A track that is shown from one frame to another, as rows of a table."""
    return np.array([(number, track, x1, 20, x1 + 30, 50, score, 1, 0, 0) for number in range(first, last + 1)])


def quiet_session():
    frames, _ = random_session(0)
    count = len(frames)
    times_s = np.arange(count) * PERIOD_S
    return type(frames)(
        frames.number, frames.source_index, times_s, times_s, times_s, np.arange(count) > 0, frames.analysed,
        np.full(count, "ok"), np.full(count, "clear"), frames.best_score,
    )  # fmt: skip


def test_polyps_are_grouped_by_what_a_person_said():
    frames = quiet_session()
    rows = np.concatenate([rows_of(1, 10, 40), rows_of(2, 100, 130, score=0.9), rows_of(3, 200, 210, score=0.6)])
    alarms = find_alarms(frames, table_of(rows))
    assert [one.number for one in list_polyps(frames, alarms)] == [1, 2, 3]
    box = (1.0, 2.0, 3.0, 4.0)
    said = (
        SamePolyp(2, 1),
        Verdict(3, False),
        PolypFields(1, {"site": "caecum"}),
        Stretch(-1, (300,), ((300, box), (301, box))),
    )
    polyps = list_polyps(frames, alarms, judge(Action(place, "", "me", one) for place, one in enumerate(said)))
    assert [(one.name, one.verdict) for one in polyps] == [("1", None), ("3", False), ("M1", True)]
    first = polyps[0]
    assert first.spans == ((9 * PERIOD_S, 40 * PERIOD_S), (99 * PERIOD_S, 130 * PERIOD_S))
    assert first.peak_score == 0.9 and 100 <= first.best <= 130 and first.fields == {"site": "caecum"}
    assert polyps[2].peak_score is None and polyps[2].box == box and polyps[2].first_s == pytest.approx(299 * PERIOD_S)


def test_tracks_of_another_threshold_are_known_by_the_recorded_numbers():
    recorded = table_of(np.concatenate([rows_of(1, 10, 40), rows_of(2, 100, 130)]))
    found = table_of(np.concatenate([rows_of(1, 50, 60, x1=70), rows_of(2, 12, 40), rows_of(3, 90, 130, x1=15)]))
    assert match_numbers(found, recorded) == {1: 3, 2: 1, 3: 2}
    assert renumber(found, {1: 3, 2: 1, 3: 2}).at(12)[0].id == 1
    at_once = table_of(np.repeat(rows_of(1, 10, 40), 2, axis=0))
    at_once.id[1::2] = 2
    assert match_numbers(at_once, recorded) == {1: 1, 2: 3}, "two in the same frame are not the same polyp"
    frames = quiet_session()
    polyps = list_polyps(frames, find_alarms(frames, found), Judgement(), match_numbers(found, recorded))
    assert [one.number for one in polyps] == [1, 3, 2]


def test_alarms_of_two_analyses_match_by_time_and_place():
    frames = quiet_session()
    a = table_of(np.concatenate([rows_of(1, 10, 60), rows_of(2, 200, 220)]))
    b = np.concatenate([rows_of(1, 12, 50, x1=14), rows_of(2, 55, 70, x1=12), rows_of(3, 205, 215, x1=80)])
    b = table_of(b[np.argsort(b[:, 0], kind="stable")])
    alarms_a, alarms_b = find_alarms(frames, a), find_alarms(frames, b)
    found = compare_alarms(alarms_a, a, alarms_b, b)
    assert [(one.track, other.track) for one, other in found.both] == [(1, 1), (1, 2)]
    assert [one.track for one in found.only_a] == [2] and [one.track for one in found.only_b] == [3]
    assert "only in A: 1   only in B: 1   in both: 1 of A, 2 of B" in comparison_table(found)
    nothing = compare_alarms(alarms_a, a, (), NO_TRACKS)
    assert nothing.only_a == alarms_a and not nothing.both


def test_polyp_ends_with_the_last_of_its_spans():
    frames, box = quiet_session(), (10.0, 20.0, 40.0, 50.0)
    alarms = find_alarms(frames, table_of(rows_of(1, 10, 60)))
    said = (Stretch(-1, (20,), ((20, box), (21, box))), SamePolyp(-1, 1))
    (polyp,) = list_polyps(frames, alarms, judge(Action(place, "", "me", one) for place, one in enumerate(said)))
    assert (polyp.first_s, polyp.last_s) == (9 * PERIOD_S, 60 * PERIOD_S)


def test_polyp_that_was_marked_beyond_the_frames_that_were_read_is_left_out():
    """Another window, which was opened later, knows more of a session that is still recorded."""
    frames = quiet_session()
    beyond = Stretch(-1, (len(frames) + 1,), ((len(frames) + 1, (1.0, 2.0, 3.0, 4.0)),))
    assert list_polyps(frames, (), judge([Action(1, "", "me", beyond)])) == ()
