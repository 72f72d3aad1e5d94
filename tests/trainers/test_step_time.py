"""The command that times a training step, at toy width."""

import pytest
from toys import toy

from trainers import step_time
from trainers.recipes import RECIPES


def test_it_tells_four_ways_and_their_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "lowrank-lite2", toy(RECIPES["lowrank-lite2"]))
    step_time.main(["--config", "lowrank-lite2", "--steps", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[1].endswith("1.00 x") and all(float(line.split()[-2]) > 0 for line in lines[1:])


def test_no_step_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        step_time.main(["--steps", "0"])
    assert end.value.code == 2 and "--steps must be at least 1, got 0" in capsys.readouterr().err
