"""The window's settings, in one TOML file that a person can read and edit. The command line wins over them.

Only the window reads the user's file by itself: a headless run depends on its command line alone, unless --settings
names a file.
"""

import json
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.folders import settings_folder
from realtime_polyp.messages import printable, quoted
from realtime_polyp.private_files import make_private_folder

SETTINGS_FILE = "settings.toml"
OPTIONS_SECTION = "options"
"""Options of the command line, by their long names: `cli/config_file.py`. Only in a file that --settings names."""
_BYTES_LIMIT = 1 << 20
_HEADER = (
    "# Settings of realtime-polyp. The settings window (Ctrl+,) writes this file; edit it while no window is open.\n"
    "# Options of the command line win. A key behind # has its default.\n"
)


class SettingsError(ValueError):
    """The settings cannot be read or written; one sentence with the file, the key and the cure."""


@dataclass(frozen=True)
class Settings:
    """What the window starts with. None: the calibration's value, else the default.

    Attributes:
        threshold: lowest score of a box that is shown, 0..1.
        confirm_s: show a polyp after detections for this long, s.
        hold_s: keep showing it for this long without a detection, s.
        analyse_ahead: analyse a recording ahead of the player, for the alarms on its timeline.
        sound_on: a sound for each new alarm; None: for live sources only.
        sound_volume: 0..1.
        snapshots, sessions: folders for snapshots and recorded sessions.
        remember_recent: keep a list of the sources that were opened last.
        blank_outside: leave everything outside the field of view out of snapshots and saved video.
        blank_outside_events: and out of the pictures of alarms.
        shown_colour, held_colour, outline_colour: of a box, of a box without a detection in this frame, and of the
            outline, "#rrggbb"; None: the default.
        options: the section [options], as it is in the file.
    """

    threshold: float | None = None
    confirm_s: float | None = None
    hold_s: float | None = None
    analyse_ahead: bool = True
    sound_on: bool | None = None
    sound_volume: float = 1.0
    snapshots: Path | None = None
    sessions: Path | None = None
    remember_recent: bool = True
    blank_outside: bool = False
    blank_outside_events: bool = True
    shown_colour: str | None = None
    held_colour: str | None = None
    outline_colour: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Key:
    """One line of the file.

    Attributes:
        section, name: where it stands.
        field: of `Settings`.
        comment: what it does, above the line.
        read: converts the TOML value; raises ValueError with what is allowed.
    """

    section: str
    name: str
    field: str
    comment: str
    read: Callable[[Any], Any]


def _number(low: float, high: float) -> Callable[[Any], float]:
    allowed = f"a number from {low:g} to {high:g}"

    def read(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and low <= value <= high):  # also not of NaN
            raise ValueError(allowed)
        return float(value)

    return read


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _folder(value: Any) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError('a folder in quotes, such as "snapshots"')
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a folder without ~: the home folder of that user is not known") from None


def _colour(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError('a colour such as "#40ff80"')
    return value.lower()


_KEYS = (
    _Key("detection", "threshold", "threshold", "Lowest score of a box that is shown, 0 to 1.", _number(0, 1)),
    _Key("detection", "confirm_s", "confirm_s", "Show a polyp after detections for this long, s.", _number(0, 60)),
    _Key("detection", "hold_s", "hold_s", "Keep showing it for this long without a detection, s.", _number(0, 60)),
    _Key("sound", "on", "sound_on", "A sound for each new alarm. By default for live sources only.", _switch),
    _Key("sound", "volume", "sound_volume", "0 to 1.", _number(0, 1)),
    _Key("folders", "snapshots", "snapshots", "Where snapshots are saved.", _folder),
    _Key("folders", "sessions", "sessions", "Where sessions are recorded.", _folder),
    _Key("folders", "remember_recent", "remember_recent", "Keep a list of what was opened last.", _switch),
    _Key(
        "pictures",
        "blank_outside",
        "blank_outside",
        "Leave everything outside the field of view, such as names, out of snapshots and saved video.",
        _switch,
    ),
    _Key("pictures", "blank_outside_events", "blank_outside_events", "And out of the pictures of alarms.", _switch),
    _Key("colours", "shown", "shown_colour", "Of a box.", _colour),
    _Key("colours", "held", "held_colour", "Of a box without a detection in this frame.", _colour),
    _Key("colours", "outline", "outline_colour", "Of the outline.", _colour),
    _Key(
        "recordings",
        "analyse_ahead",
        "analyse_ahead",
        "Analyse a recording ahead of the player, in the background, for the alarms on its timeline.",
        _switch,
    ),
)
_EXAMPLES = {"threshold": "0.3", "confirm_s": "0.065", "hold_s": "0.1", "sound_on": "true"}
_EXAMPLES |= {"snapshots": '"snapshots"', "sessions": '"sessions"'}
_EXAMPLES |= {"shown_colour": '"#40ff80"', "held_colour": '"#ffd040"', "outline_colour": '"#40e0ff"'}


def settings_path() -> Path:
    """Return the path of the user's settings; nothing need be there."""
    return settings_folder() / SETTINGS_FILE


def read_settings(path: Path, *, required: bool = False) -> Settings:
    """Read the settings; a file that is missing gives the defaults, unless it is required.

    required: --settings names the file, so that it may hold options too.
    Raises SettingsError for a file that cannot be read, is no TOML, or holds an unknown key or a wrong value.
    """
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # the second reading would find nothing, and give the defaults
            raise ValueError("it is a pipe, which can be read only once; name a file")
        with path.open("rb") as file:
            data = file.read(_BYTES_LIMIT + 1)
    except FileNotFoundError as error:
        if required:
            raise SettingsError(f"the settings {printable(path)} do not exist") from error
        return Settings()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"the settings {printable(path)} cannot be read: {reason}") from error
    if len(data) > _BYTES_LIMIT:
        raise SettingsError(f"the settings {printable(path)} are larger than 1 MiB: this is not a file of settings")
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, or a number of too many digits
        raise SettingsError(f"the settings {printable(path)} are not valid TOML: {error}") from error
    options = content.pop(OPTIONS_SECTION, {})
    if not isinstance(options, dict):
        raise SettingsError(f"the settings {printable(path)} need a section [{OPTIONS_SECTION}], not a value")
    if options and not required:
        raise SettingsError(
            f"the settings {printable(path)} have a section [{OPTIONS_SECTION}], which holds only where the command "
            "line names the file: --settings FILE.toml"
        )
    return replace(_settings_of(content, path), options=options)


def write_settings(path: Path, settings: Settings) -> Path | None:
    """Replace the file at once. A file that could not be read, or has options that the settings lack, is renamed first;
    returns its new name.

    Raises SettingsError.
    """
    try:
        data = to_toml(settings).encode("utf-8")
        make_private_folder(path.parent)
        kept = _keep_broken(path, may_have_options=bool(settings.options))
        atomic_write_bytes(path, data, private=True)
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or "a name is not valid UTF-8"
        raise SettingsError(f"the settings cannot be written to {printable(path)}: {reason}") from error
    return kept


def to_toml(settings: Settings) -> str:
    """Write all keys with a comment each; those that have no value stand behind #."""
    lines, section = [_HEADER], ""
    for key in _KEYS:
        if key.section != section:
            section = key.section
            lines.append(f"[{section}]")
        value = getattr(settings, key.field)
        lines.append(f"# {key.comment}")
        lines.append(f"# {key.name} = {_EXAMPLES[key.field]}" if value is None else f"{key.name} = {to_value(value)}")
    if settings.options:
        lines += [f"[{OPTIONS_SECTION}]", *(f"{name} = {to_value(value)}" for name, value in settings.options.items())]
    return "\n".join(lines).replace("\n[", "\n\n[") + "\n"


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Convert "#rrggbb" to red, green and blue, 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _settings_of(content: dict[str, Any], path: Path) -> Settings:
    known = {(key.section, key.name): key for key in _KEYS}
    values: dict[str, Any] = {}
    for section, table in content.items():
        names = [key.name for key in _KEYS if key.section == section]
        if not names:
            sections = ", ".join(f"[{one}]" for one in (*dict.fromkeys(key.section for key in _KEYS), OPTIONS_SECTION))
            raise SettingsError(f"the settings {printable(path)} have an unknown key {quoted(section)}: use {sections}")
        if not isinstance(table, dict):
            raise SettingsError(f"the settings {printable(path)} need a section [{section}], not a value")
        for name, value in table.items():
            if name not in names:
                raise SettingsError(
                    f"the settings {printable(path)} have an unknown key {quoted(name)} in [{section}]: "
                    f"use {', '.join(names)}"
                )
            key = known[section, name]
            try:
                values[key.field] = key.read(value)
            except ValueError as allowed:
                raise SettingsError(
                    f"the settings {printable(path)} have {name} = {quoted(value)} in [{section}]: use {allowed}"
                ) from None
    return replace(Settings(), **values)


def _keep_broken(path: Path, *, may_have_options: bool) -> Path | None:
    """Rename a file that cannot be read as settings, so that it is not lost; returns its new name."""
    try:
        read_settings(path, required=may_have_options)
    except SettingsError:
        if not path.exists():
            return None
    else:
        return None
    names = (path.with_name(f"{path.stem}-unread-{number}{path.suffix}") for number in range(1, 1000))
    kept = next(name for name in names if not name.exists())
    path.rename(kept)
    return kept


def to_value(value: Any) -> str:
    """Write a value, or a list of values, as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(to_value(one) for one in value)}]"
    # A JSON string is a TOML string, but for one control character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
