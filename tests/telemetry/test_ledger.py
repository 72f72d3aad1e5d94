"""The books: captured = shown + dropped + pending, and no frame counted twice."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.telemetry.ledger import Ledger, Tally


@given(st.lists(st.sampled_from(["capture", "show", "drop queue", "drop screen", "end"]), max_size=80))
def test_the_books_balance_after_every_entry(entries: list[str]) -> None:
    ledger, waiting, next_index = Ledger(), list[int](), 0
    expected = {"shown": 0, "queue": 0, "screen": 0, "over": 0}
    for entry in entries:
        if entry == "capture":
            ledger.captured(next_index)
            waiting.append(next_index)
            next_index += 1
        elif entry == "end":
            expected["over"] += len(waiting)
            waiting.clear()
            ledger.drop_pending("over", "stopped")
        elif waiting and entry == "show":
            ledger.shown(waiting.pop(0))
            expected["shown"] += 1
        elif waiting:
            stage = entry.removeprefix("drop ")
            ledger.dropped(waiting.pop(), stage, "newer frame")
            expected[stage] += 1
        tally = ledger.tally()
        assert tally.balanced
        assert (tally.captured, tally.shown, tally.pending) == (next_index, expected["shown"], len(waiting))
        assert {stage: sum(reasons.values()) for stage, reasons in tally.dropped.items()} == {
            stage: count for stage, count in expected.items() if count and stage != "shown"
        }


def test_an_entry_that_cannot_be_is_refused() -> None:
    ledger = Ledger()
    ledger.captured(1)
    with pytest.raises(KeyError, match="captured twice"):
        ledger.captured(1)
    with pytest.raises(KeyError):
        ledger.shown(2)
    ledger.shown(1)
    with pytest.raises(KeyError):
        ledger.shown(1)
    with pytest.raises(KeyError):
        ledger.dropped(1, "queue", "newer frame")
    assert ledger.tally() == Tally(1, 1, {}, 0)


def test_drops_are_counted_by_stage_and_reason() -> None:
    ledger = Ledger()
    for index in range(4):
        ledger.captured(index)
    ledger.dropped(0, "queue", "newer frame")
    ledger.dropped(1, "queue", "newer frame")
    ledger.dropped(2, "queue", "stopped")
    assert ledger.tally().dropped == {"queue": {"newer frame": 2, "stopped": 1}}
    assert ledger.tally().dropped_total == 3


def test_a_tally_is_a_moment_and_does_not_change_later() -> None:
    ledger = Ledger()
    ledger.captured(0)
    before = ledger.tally()
    ledger.dropped(0, "queue", "stopped")
    assert before == Tally(1, 0, {}, 1)


def test_an_unbalanced_tally_says_so() -> None:
    assert not Tally(5, 2, {"queue": {"stopped": 1}}, 1).balanced


def test_threads_do_not_disturb_the_books() -> None:
    ledger = Ledger()

    def work(first: int) -> None:
        for index in range(first, first + 2000):
            ledger.captured(index)
            ledger.shown(index) if index % 2 else ledger.dropped(index, "queue", "stopped")

    threads = [threading.Thread(target=work, args=(10_000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert ledger.tally().balanced
    assert ledger.tally() == Tally(8000, 4000, {"queue": {"stopped": 4000}}, 0)
