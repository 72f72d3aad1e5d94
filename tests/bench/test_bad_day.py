"""A few fixed sequences of a bad day; the random ones are `python -m realtime_polyp.bench --bad-day N`."""

import random

import pytest
from fakes import tried_again

from realtime_polyp.bench.bad_day import ALWAYS, FAULTS, STOPPED, Day, bad_day_table, play_day, random_script

NAMED = {one.name: one for one in (*FAULTS["device"], *FAULTS["tcp"], *ALWAYS)}


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("device", {"unplugged": 1.2, "model gives NaN": 0.3}),
        ("tcp", {"server killed": 0.4, "model hangs": 1.2}),
    ],
)
@tried_again
def test_after_every_fault_the_picture_is_back_and_nothing_is_left(kind: str, script: dict[str, float]) -> None:
    day = play_day(kind, [(NAMED[name], seconds) for name, seconds in script.items()])
    assert day.problems == []
    assert [name for name, _ in day.back_s] == list(script)


def test_random_sequences_are_the_same_for_a_seed() -> None:
    scripts = [random_script(random.Random(3), "udp", stops=True) for _ in range(2)]
    assert scripts[0] == scripts[1] and 2 <= len(scripts[0]) <= 4
    assert STOPPED not in [fault for fault, _ in random_script(random.Random(3), "tcp", stops=False)]


def test_the_table_tells_each_fault() -> None:
    text = bad_day_table([Day("tcp", [], [("black", 0.5)]), Day("udp", [], [("black", 1.5)], ["late"])])
    assert "black" in text and "1.00 s" in text and "1 of 2 sequences" in text
