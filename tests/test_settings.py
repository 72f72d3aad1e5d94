"""The settings' file: what is written is read, what is wrong is named, and nothing is lost."""

import os
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from realtime_polyp.folders import settings_folder
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.settings import Settings, SettingsError, read_settings, rgb_of, to_toml, write_settings
from realtime_polyp.temporal.config import TemporalConfig

FULL = Settings(
    threshold=0.45,
    confirm_s=0.2,
    hold_s=1.0,
    analyse_ahead=False,
    sound_on=False,
    sound_volume=0.25,
    snapshots=Path('a "quoted"\\folder\x7f'),
    sessions=Path("Sitzungen Ä"),
    remember_recent=False,
    blank_outside=True,
    blank_outside_events=False,
    shown_colour="#010203",
    held_colour="#ffd040",
    outline_colour="#40e0ff",
)


def test_every_setting_has_a_value_in_this_test() -> None:
    assert all(getattr(FULL, field.name) != field.default for field in fields(Settings))


@pytest.mark.parametrize("settings", [Settings(), FULL, replace(FULL, threshold=None)])
def test_what_is_written_is_read(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "new" / "settings.toml"
    assert write_settings(path, settings) is None
    assert read_settings(path) == settings
    assert path.stat().st_mode & 0o777 == 0o600
    assert [name.name for name in path.parent.iterdir()] == ["settings.toml"]


def test_the_defaults_are_written_as_comments_that_can_be_switched_on() -> None:
    lines = to_toml(Settings()).splitlines()
    enabled = "\n".join(line.removeprefix("# ") if " = " in line else line for line in lines)
    assert tomllib.loads(enabled)["detection"] == {
        "threshold": SCORE_THRESHOLD,
        "confirm_s": TemporalConfig().confirm_s,
        "hold_s": TemporalConfig().hold_s,
    }


def test_no_file_gives_the_defaults(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "settings.toml") == Settings()
    with pytest.raises(SettingsError, match="do not exist"):
        read_settings(tmp_path / "settings.toml", required=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[detection]\ntreshold = 0.5", r"unknown key 'treshold' in \[detection\]: use threshold, confirm_s, hold_s"),
        ("threshold = 0.5", r"unknown key 'threshold': use \[detection\], \[sound\]"),
        ("[detection]\nthreshold = 1.5", r"threshold = 1.5 in \[detection\]: use a number from 0 to 1"),
        ("[detection]\nthreshold = true", "use a number from 0 to 1"),
        ("[detection]\nhold_s = nan", "use a number from 0 to 60"),
        ("[detection]\nhold_s = inf", "use a number from 0 to 60"),
        pytest.param(f"[detection]\nthreshold = {'9' * 400}", "use a number from 0 to 1", id="400 digits"),
        pytest.param(f"[detection]\nthreshold = {'9' * 5000}", "not valid TOML", id="5000 digits"),
        ('[folders]\nsnapshots = "~nobody-of-this-name/snapshots"', "the home folder of that user is not known"),
        ("[sound]\non = 1", r"on = 1 in \[sound\]: use true or false"),
        ('[folders]\nsnapshots = ""', "use a folder in quotes"),
        ('[colours]\nshown = "green"', 'use a colour such as "#40ff80"'),
        ("sound = 3", r"need a section \[sound\]"),
        ("[detection", "not valid TOML"),
        ("\udcff", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=said) as error:
        read_settings(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_kept_when_settings_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[detection\n", encoding="utf-8")
    kept = write_settings(path, FULL)
    assert kept == tmp_path / "settings-unread-1.toml" and kept.read_text(encoding="utf-8") == "[detection\n"
    assert read_settings(path) == FULL


def test_a_file_with_options_that_the_settings_lack_is_kept_when_settings_are_saved(tmp_path: Path) -> None:
    path, text = tmp_path / "settings.toml", '[detection]\nthreshold = 0.6\n[options]\nlog = "log.jsonl"\n'
    path.write_text(text, encoding="utf-8")
    kept = write_settings(path, Settings())  # the user's own file: refused, so the window began with the defaults
    assert kept == tmp_path / "settings-unread-1.toml" and kept.read_text(encoding="utf-8") == text
    assert read_settings(path) == Settings()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_a_pipe_is_refused_because_it_could_not_be_read_again() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"[detection]\nthreshold = 0.6\n")
    os.close(writer)
    try:
        with pytest.raises(SettingsError, match="it is a pipe, which can be read only once; name a file"):
            read_settings(Path(f"/dev/fd/{reader}"), required=True)
    finally:
        os.close(reader)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be written to .*settings.toml: "):
        write_settings(tmp_path / "file" / "settings.toml", FULL)


def test_the_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings_folder() == tmp_path / "realtime-polyp"


def test_a_colour_is_three_numbers() -> None:
    assert rgb_of("#40ff80") == (64, 255, 128)
