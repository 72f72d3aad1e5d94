"""A few fixed sequences of a bad day; the random ones are `python -m realtime_polyp.bench --bad-day N`."""

import random

import pytest
from fakes import tried_again

from realtime_polyp.bench import bad_day_runs
from realtime_polyp.bench.bad_day import Day, play_day
from realtime_polyp.bench.bad_day_faults import STOPPED, random_script, script_of
from realtime_polyp.bench.bad_day_runs import bad_day_table, run_bad_days


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("device", {"unplugged": 1.2, "model gives NaN": 0.3}),
        ("tcp", {"server killed": 0.4, "model hangs": 1.2}),
        ("device", {"60 frames/s": 0.5, "full disk": 0.5, "clock jumps back": 0.2}),
        ("tcp", {"slow consumer": 1.0, "clock jumps ahead": 0.3}),
    ],
)
@tried_again
def test_after_every_fault_the_picture_is_back_and_nothing_is_left(kind: str, script: dict[str, float]) -> None:
    day = play_day(kind, script_of(*script.items()))
    assert day.problems == []
    assert [name for name, _ in day.back_s] == list(script)


def test_random_sequences_are_the_same_for_a_seed() -> None:
    scripts = [random_script(random.Random(3), "udp", stops=True) for _ in range(2)]
    assert scripts[0] == scripts[1] and 2 <= len(scripts[0]) <= 4
    assert STOPPED not in [fault for fault, _ in random_script(random.Random(3), "tcp", stops=False)]


def test_a_sequence_that_went_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bad_day_runs, "play_day", lambda kind, script, seed=0: Day(kind, [], [], ["late"] * seed))
    monkeypatch.setattr(bad_day_runs, "FIXED", (("tcp", script_of(("silent", 1.0))),))
    with pytest.raises(RuntimeError, match="1 of 2 sequences went wrong"):
        run_bad_days(1, seed=0)
    assert "2 (device: ): late" in capsys.readouterr().out


def test_the_table_tells_each_fault() -> None:
    text = bad_day_table([Day("tcp", [], [("black", 0.5)]), Day("udp", [], [("black", 1.5)], ["late"])])
    assert "black" in text and "1.00 s" in text and "1 of 2 sequences" in text
