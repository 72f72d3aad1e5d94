"""The command that times a training step, at toy width."""

from dataclasses import replace

import pytest
from toys import toy

from trainers import step_time
from trainers.data.augment import STRONG
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


def test_it_compares_the_places_of_augmentation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "lowrank-lite2", replace(toy(RECIPES["lowrank-lite2"]), augment=STRONG))
    monkeypatch.setattr(step_time, "_IMAGES", 24)
    step_time.main(["--augment", "--steps", "1", "--workers", "0"])
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].startswith("lowrank-lite2, batch 4, 64x96") and lines[1].startswith("0 workers")
    assert lines[1].endswith("1.00 x") and lines[2].startswith("on cpu") and float(lines[2].split()[-2]) > 0
