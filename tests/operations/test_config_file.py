"""Options in a settings file: the names of the command line, which wins; what is wrong with them is one sentence."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from realtime_polyp.cli.options import Options, parse
from realtime_polyp.settings import Settings, SettingsError, read_settings, settings_path, write_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "kiosk.toml"
    path.write_text(text)
    return path


def parsed(folder: Path, text: str, *arguments: str) -> Options:
    return parse(["--settings", str(written(folder, text)), *arguments])


def test_every_kind_of_option_is_read(tmp_path: Path) -> None:
    options = parsed(
        tmp_path,
        '[options]\nsource = ["a.mp4", "b.mp4"]\nheadless = true\nscore-threshold = 0.4\nno-fusion = true\n'
        'device = "cpu"\nblank-outside = false\nmetrics = 9464\nlog = "log.jsonl"\nloop = false\n',
    )
    assert options.sources == ("a.mp4", "b.mp4") and options.headless and not options.fusion and not options.loop
    assert (options.score_threshold, options.device, options.blank_outside) == (0.4, "cpu", False)
    assert options.metrics == 9464 and options.log == Path("log.jsonl")


@pytest.mark.parametrize(
    ("line", "sound"),
    [("sound = true", True), ("sound = false", False), ("no-sound = true", False), ("no-sound = false", True)],
)
def test_a_switch_has_two_names_and_two_values(tmp_path: Path, line: str, sound: bool) -> None:
    assert parsed(tmp_path, f"[options]\n{line}\n", "v.mp4").sound is sound


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    text = '[options]\nsource = "file.mp4"\nconfirm-s = 0.2\nsound = true\n'
    options = parsed(tmp_path, text, "typed.mp4", "--confirm-s", "0.5", "--no-sound")
    assert (options.sources, options.confirm_s, options.sound) == (("typed.mp4",), 0.5, False)
    assert parsed(tmp_path, text).sources == ("file.mp4",)


def test_a_session_that_is_typed_takes_the_place_of_the_file_s_source(tmp_path: Path) -> None:
    options = parsed(tmp_path, '[options]\nsource = "file.mp4"\n', "--review", "session")
    assert options.sources == () and options.review == Path("session")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("threshold = 0.4", "unknown key 'threshold' in [options]"),
        ('settings = "other.toml"', "unknown key 'settings'"),
        ("headless = 1", "headless = 1 in [options]: use true or false"),
        ('metrics = "9464"', "use a whole number"),
        ("metrics = 9464.5", "use a whole number"),
        ("score-threshold = true", "use a number"),
        ("source = []", "use one or more texts"),
        ("log = 3", "use a text in quotes"),
        ('display = "fast"', "use one of synced, immediate"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(tmp_path, f"[options]\n{line}\n", "v.mp4")
    error = capsys.readouterr().err
    assert ended.value.code == 2 and says in error and "kiosk.toml" in error and error.count("\n") == 1


def test_a_value_out_of_range_is_refused_as_if_it_were_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(tmp_path, "[options]\nmetrics = 70000\n", "v.mp4")
    assert "--metrics must be a port from 0 to 65535, got 70000" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["v.mp4", "--headless", "--no-smooth", "--streams", "3", "--detector", "none"],
        ["--review", "dir", "--report", "--no-ahead", "--full-screen"],
        ["--source", 'a "b".mp4', "--blank-outside", "--record", "sessions", "--pre-roll", "5", "--sound"],
    ],
)
def test_what_is_printed_is_a_file_that_gives_the_same_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*arguments, "--print-config"])
    assert ended.value.code == 0
    again = parsed(tmp_path, capsys.readouterr().out)
    assert dataclasses.replace(again, settings=None) == parse(arguments)


def test_the_printed_file_holds_the_settings_too_and_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, '[colours]\nshown = "#ff0000"\n[options]\nsource = "rtsp://anna:secret@host/1"\n')
    with pytest.raises(SystemExit):
        parse(["--settings", str(path), "--print-config"])
    printed = capsys.readouterr().out
    assert 'shown = "#ff0000"' in printed and 'source = ["rtsp://host/1"]' in printed and "secret" not in printed


def test_a_window_s_settings_are_printed_and_a_headless_run_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write_settings(settings_path(), Settings(threshold=0.45))
    for arguments, is_there in (([], True), (["--headless"], False)):
        with pytest.raises(SystemExit):
            parse(["v.mp4", "--print-config", *arguments])
        assert ("\nthreshold = 0.45" in capsys.readouterr().out) == is_there


def test_saving_the_settings_keeps_the_options(tmp_path: Path) -> None:
    path = written(tmp_path, '[options]\nsource = ["a.mp4"]\nlog = "x.jsonl"\nmetrics = 1\n')
    settings = read_settings(path, required=True)
    assert write_settings(path, dataclasses.replace(settings, threshold=0.6)) is None
    again: dict[str, Any] = dict(read_settings(path, required=True).options)
    assert again == {"source": ["a.mp4"], "log": "x.jsonl", "metrics": 1}


def test_the_user_s_own_settings_hold_no_options(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--settings FILE.toml"):
        read_settings(written(tmp_path, "[options]\nheadless = true\n"))
