"""Options in a settings file: section [options], with the names of the command line, which wins over them."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from realtime_polyp.messages import printable, quoted
from realtime_polyp.settings import (
    OPTIONS_SECTION,
    Settings,
    SettingsError,
    read_settings,
    settings_path,
    to_toml,
    to_value,
)
from realtime_polyp.sources.addresses import hide_secrets

_ONLY_TYPED = ("help", "version", "settings", "print-config")
_NAMES_A_SOURCE = ("place", "source", "review")
_PLAIN = (None, int, float, Path)


def with_settings_file(parser: argparse.ArgumentParser, arguments: list[str]) -> list[str]:
    """Return the arguments with those of the file that --settings names before them.

    What the arguments say themselves is left out of the file's. Raises SettingsError.
    """
    path = parser.parse_args(arguments).settings  # --help and mistakes end here
    if path is None:
        return arguments
    settings = read_settings(path, required=True)
    if not settings.options:
        return arguments
    named = set(_typed(parser, arguments))
    if named & set(_NAMES_A_SOURCE):
        named |= set(_NAMES_A_SOURCE)
    tokens: list[str] = []
    for name, value in settings.options.items():
        action = _action_of(parser, name, path)
        words = _tokens(action, name, value, path)
        tokens += words if action.dest not in named else []
    return [*tokens, *arguments]


def config_text(parser: argparse.ArgumentParser, arguments: list[str]) -> str:
    """What --print-config prints: a settings file with every option as it is now, and the other settings.

    Passwords in addresses are hidden. An option without a value stands behind #.
    """
    found = _as_written(parser, arguments)
    settings = _settings_of(found["settings"], is_window=not found["headless"])
    lines = [f"[{OPTIONS_SECTION}]"]
    for action in _settable(parser):
        name, value = _name(action), found[action.dest]
        value = found["place"] or value if name == "source" else value
        if isinstance(action, argparse._StoreFalseAction):
            value = not value if isinstance(value, bool) else None
        lines.append(f"# {name} =" if value in (None, []) else f"{name} = {to_value(_hidden(value))}")
    return f"{to_toml(replace(settings, options={}))}\n" + "\n".join(lines)


def _settings_of(path: Path | None, *, is_window: bool) -> Settings:
    """Those of the file, else what a window would use: the user's own, or the defaults where they cannot be read."""
    if path:
        return read_settings(path, required=True)
    try:
        return read_settings(settings_path()) if is_window else Settings()
    except SettingsError:
        return Settings()


def _as_written(parser: argparse.ArgumentParser, arguments: list[str]) -> Mapping[str, Any]:
    """What the arguments come to, with values of kinds of our own as they were written."""
    kinds = {action: action.type for action in parser._actions}
    try:
        for action in parser._actions:
            action.type = action.type if action.type in _PLAIN else None
        return vars(parser.parse_args(arguments))
    finally:
        for action, kind in kinds.items():
            action.type = kind


def _typed(parser: argparse.ArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """What the arguments say, without any default."""
    defaults = {action: action.default for action in parser._actions}
    try:
        for action in parser._actions:
            action.default = argparse.SUPPRESS
        return vars(parser.parse_args(arguments))
    finally:
        for action, default in defaults.items():
            action.default = default


def _settable(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [one for one in parser._actions if one.option_strings and _name(one) not in _ONLY_TYPED]


def _name(action: argparse.Action) -> str:
    return next(text for text in action.option_strings if text.startswith("--")).removeprefix("--")


def _action_of(parser: argparse.ArgumentParser, name: str, path: Path) -> argparse.Action:
    for action in _settable(parser):
        if f"--{name}" in action.option_strings:
            return action
    raise SettingsError(
        f"the settings {printable(path)} have an unknown key {quoted(name)} in [{OPTIONS_SECTION}]: "
        "use the long options of realtime-polyp --help, without their dashes"
    )


def _tokens(action: argparse.Action, name: str, value: Any, path: Path) -> list[str]:
    """The value as the command line would say it. Raises SettingsError for one of another kind."""
    option = f"--{name}"
    if isinstance(action, argparse._StoreTrueAction | argparse._StoreFalseAction | argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise _wrong(path, name, value, "true or false")
        if isinstance(action, argparse.BooleanOptionalAction) and not value:
            return [next(other for other in action.option_strings if other != option)]
        return [option] if value else []
    if action.nargs == "+":
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str) for one in values):
            raise _wrong(path, name, value, 'one or more texts, such as ["a.mp4", "b.mp4"]')
        return [option, *values]
    if action.type in (int, float):
        is_number = isinstance(value, int if action.type is int else int | float) and not isinstance(value, bool)
        if not is_number:
            raise _wrong(path, name, value, "a whole number" if action.type is int else "a number")
        return [f"{option}={value}"]
    if action.type not in _PLAIN and isinstance(value, int | float) and not isinstance(value, bool):
        return [f"{option}={value}"]
    if not isinstance(value, str) or "\0" in value:
        raise _wrong(path, name, value, "a text in quotes")
    if action.choices and value not in action.choices:
        raise _wrong(path, name, value, f"one of {', '.join(action.choices)}")
    return [f"{option}={value}"]


def _wrong(path: Path, name: str, value: Any, allowed: str) -> SettingsError:
    return SettingsError(
        f"the settings {printable(path)} have {name} = {quoted(value)} in [{OPTIONS_SECTION}]: use {allowed}"
    )


def _hidden(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_hidden(one) for one in value]
    return value if isinstance(value, bool | int | float) else hide_secrets(str(value))
