"""Settings stand in for what the command line leaves open."""

from pathlib import Path

import pytest
from conftest import Run

from realtime_polyp.cli.options import parse
from realtime_polyp.cli.preferences import apply_settings
from realtime_polyp.settings import Settings
from realtime_polyp.temporal.config import TemporalConfig

SETTINGS = Settings(
    threshold=0.7, confirm_s=0.2, hold_s=0.3, sound_on=True, blank_outside=True, outline_colour="#010203"
)


def test_settings_fill_what_is_left_open() -> None:
    options = apply_settings(parse(["a.mp4"]), SETTINGS)
    assert (options.score_threshold, options.confirm_s, options.hold_s, options.sound) == (0.7, 0.2, 0.3, True)
    assert options.output_specs[0].blank_outside is True
    assert options.output_specs[0].style.outline_colour == (1, 2, 3)


def test_the_command_line_wins() -> None:
    words = "a.mp4 --score-threshold 0 --confirm-s 0 --hold-s 0 --no-sound --no-blank-outside".split()
    options = apply_settings(parse(words), SETTINGS)
    assert (options.score_threshold, options.confirm_s, options.hold_s, options.sound) == (0, 0, 0, False)
    assert options.blank_outside is False


def test_a_calibration_brings_its_own_operating_point() -> None:
    options = apply_settings(parse(["a.mp4", "--calibration", "c.json"]), SETTINGS)
    assert options.score_threshold is options.confirm_s is options.hold_s is None and options.sound


@pytest.mark.parametrize(
    ("words", "times"), [([], (5.0, 5.0)), (["--release-s", "1"], (1.0, 1.0)), (["--hold-s", "2"], (2.0, None))]
)
def test_a_polyp_is_never_forgotten_while_it_is_shown(words: list[str], times: tuple[float, float | None]) -> None:
    assert TemporalConfig().release_s < 5
    options = apply_settings(parse(["a.mp4", *words]), Settings(hold_s=5.0))
    assert (options.hold_s, options.release_s) == times


@pytest.mark.parametrize(
    ("settings", "blank"),
    [(Settings(), None), (Settings(blank_outside=True), True), (Settings(blank_outside_events=False), False)],
)
def test_pictures_of_alarms_are_blanked_unless_that_is_switched_off(settings: Settings, blank: bool | None) -> None:
    assert apply_settings(parse(["a.mp4"]), settings).blank_outside is blank


@pytest.mark.parametrize(
    ("text", "said"), [("[detection]\ntreshold = 1", "unknown key 'treshold'"), (None, "not exist")]
)
def test_settings_that_are_named_and_wrong_end_the_program(
    run: Run, tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    code, _, problem = run("a.mp4", "--settings", path)
    assert code == 2 and said in problem and str(path) in problem and problem.count("\n") == 1


def test_a_source_is_named_once(run: Run) -> None:
    code, _, problem = run("a.mp4", "--source", "b.mp4")
    assert code == 2 and "name the source once" in problem
