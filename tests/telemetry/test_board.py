"""What the board says of a session: its state, accounts, delays and polyps; and what a deadline miss is."""

from fractions import Fraction
from typing import Any

import pytest
from fakes import ScriptedSource, pipeline_of, ran_on_board

from realtime_polyp.packets import Frame, Result
from realtime_polyp.session import Session
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.board import Board, Condition, Stream, condition_of, recent_delays
from realtime_polyp.telemetry.deadlines import limits_ms, misses_of
from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.ledger import Tally
from realtime_polyp.telemetry.totals import Totals
from realtime_polyp.watchdog import Trouble


def followed(source: ScriptedSource, board: Board) -> tuple[Session, list[Frame], list[Result]]:
    """A session that has ended, followed by the board's first stream."""
    frames: list[Frame] = []
    results: list[Result] = []
    return ran_on_board(board.stream(), source, results.append, frames.append), frames, results


def test_without_a_session_it_idles() -> None:
    (status,) = Board().snapshot()
    assert status.condition.name == "idle" and status.pictures.captured == 0


def test_a_session_is_counted_as_it_counts_itself_and_its_callbacks_are_called() -> None:
    board = Board()
    session, frames, results = followed(ScriptedSource(60), board)
    (status,) = board.snapshot()
    assert status.condition.name == "ended"
    assert status.pictures == session.tally() and status.pictures.captured == 60
    assert status.annotation_delay_ms.count == 60 and [one.index for one in frames] == list(range(60))
    visible = {track.id for result in results for track in result.tracks if track.visible}
    assert visible and status.polyps == len(visible) == len(status.shown)
    assert {one.number for one in status.shown} == visible
    assert all(0 < one.score <= 1 and one.first_s <= one.last_s for one in status.shown)


@pytest.mark.parametrize(
    ("failure", "live", "state"),
    [(OSError("out"), False, "decoder failed"), (SourceError("no cable"), True, "no signal")],
)
def test_a_failure_is_a_state_that_shows_no_overlay(failure: Exception, live: bool, state: str) -> None:
    board = Board()
    followed(ScriptedSource(9, live=live, rate_hz=200, fails_at=5, failure=failure), board)
    (status,) = board.snapshot()
    assert (status.condition.name, status.condition.tone, status.condition.blanks) == (state, "bad", True)
    assert status.failed_stage == "decoder" and status.failure == type(failure).__name__


def test_a_live_source_without_pictures_has_no_signal_and_a_recording_has() -> None:
    for live, state in ((True, "no signal"), (False, "ready")):
        session = Session(ScriptedSource(1, live=live), pipeline_of(), lambda result: None)
        session.state = "running"
        assert condition_of(session, None, 1.5).name == state


@pytest.mark.parametrize(("part", "state"), [("source", "reconnecting"), ("model", "model failed")])
def test_what_is_started_again_by_itself_is_a_bad_state(monkeypatch: pytest.MonkeyPatch, part: Any, state: str) -> None:
    monkeypatch.setattr(Session, "troubles", (Trouble(part, "why", 0.0),))
    session = Session(ScriptedSource(1, live=True), pipeline_of(), lambda result: None)
    session.state = "running"
    found = condition_of(session, None, 0.0)
    assert (found.name, found.tone, found.blanks) == (state, "bad", True)


def test_the_window_has_the_word_as_long_as_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("realtime_polyp.telemetry.board.time.monotonic", lambda: now_s[0])
    stream = Stream("1")
    stream.attach(Session(ScriptedSource(1), pipeline_of(), lambda result: None))
    stream.set_condition(Condition("paused", "busy"))
    assert stream.snapshot().condition.name == "paused"
    now_s[0] += 10  # the window hangs
    assert stream.snapshot().condition.name == "ready"


def test_another_source_begins_with_no_polyps_and_a_seek_keeps_them() -> None:
    board = Board()
    session, _, _ = followed(ScriptedSource(30), board)
    stream, before = board.stream(), board.snapshot()[0]
    from realtime_polyp.telemetry.totals import totals_of

    stream.attach(session, totals_of([session]))
    (status,) = board.snapshot()
    assert status.polyps == before.polyps > 0 and status.pictures.captured == 60
    stream.attach(session)
    assert stream.snapshot().polyps == 0


def test_delays_of_a_source_before_are_none_of_the_next_one() -> None:
    board = Board()
    followed(ScriptedSource(5), board)
    (before,) = board.snapshot()
    followed(ScriptedSource(60), board)
    (now,) = board.snapshot()
    assert now.source == before.source + 1
    assert recent_delays(now, before)[1].count == 60 and recent_delays(now, now)[1].count == 0


def test_what_is_added_to_the_stretches_before_later_is_not_counted_twice() -> None:
    board, before = Board(), Totals()
    session, _, _ = followed(ScriptedSource(10), board)
    board.stream().attach(session, before)
    before.add(session)
    assert board.snapshot()[0].pictures.captured == 10


def test_a_deadline_is_missed_by_what_is_late_and_by_what_never_comes() -> None:
    delays = Histogram()
    for delay_ms in (10, 20, 90, 150):
        delays.add(delay_ms)
    tally = Tally(12, 9, {"queue": {"newer frame": 2}, "analysis": {"stopped": 1}}, 1)
    limits = limits_ms(Fraction(25))
    assert limits == {"period": 40.0, "100 ms": 100.0}
    period = misses_of(tally, delays, limits["period"])
    assert (period.due, period.in_time, period.painted) == (10, 2, 4)
    assert period.share == pytest.approx(0.8) and period.share_of_painted == pytest.approx(0.5)
    assert misses_of(tally, delays, 100).share == pytest.approx(0.7)


def test_of_nothing_there_is_no_share() -> None:
    nothing = misses_of(Tally(0, 0, {}, 0), Histogram(), 100)
    assert nothing.share is None and nothing.share_of_painted is None
    assert limits_ms(None) == {"100 ms": 100.0}


def test_a_histogram_tells_what_came_since() -> None:
    from copy import deepcopy

    delays = Histogram()
    delays.add(500)
    earlier = deepcopy(delays)
    for delay_ms in (10, 20):
        delays.add(delay_ms)
    later = delays.since(earlier)
    assert later.count == 2 and later.total_ms == pytest.approx(30)
    assert later.percentile(100) == pytest.approx(20, rel=0.011)
    assert delays.count_within(20.3) == 2 and delays.count_within(1000) == 3


def test_the_status_is_json() -> None:
    import json

    board = Board()
    followed(ScriptedSource(3), board)
    content = board.snapshot()[0].to_dict()
    assert json.loads(json.dumps(content))["frames_captured"] == 3
    assert not any("scripted" in str(value) for value in content.values()), "the name of a source may name a patient"
