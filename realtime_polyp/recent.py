"""The sources that were opened last, in a file beside the settings that only the user can read."""

import json
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.folders import settings_folder
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.sources.addresses import hide_secrets

RECENT_FILE = "recent.toml"
_LONGEST = 10
_HEADER = "# What realtime-polyp opened last, newest first. Delete the file to forget it.\n"
Kind = Literal["source", "session"]


@dataclass(frozen=True)
class Recent:
    """A video, device or address ("source") or the folder of a recorded session ("session")."""

    kind: Kind
    place: str


def recent_path() -> Path:
    return settings_folder() / RECENT_FILE


def read_recent(path: Path) -> list[Recent]:
    """Return the list, newest first; empty where there is none or it cannot be read."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["recent"]
        found = [Recent(entry["kind"], entry["place"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [one for one in found if one.kind in ("source", "session") and isinstance(one.place, str)][:_LONGEST]


def add_recent(path: Path, new: Recent) -> None:
    """Put one at the top. An address with a password is not stored. A disk that refuses loses the entry, no more."""
    if hide_secrets(new.place) != new.place:
        return
    others = [one for one in read_recent(path) if one != new]
    with suppress(OSError, UnicodeEncodeError):
        _write(path, [new, *others][:_LONGEST])


def forget_recent(path: Path) -> None:
    """Delete the list."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _write(path: Path, entries: list[Recent]) -> None:
    parts = [f"\n[[recent]]\nkind = {_quote(one.kind)}\nplace = {_quote(one.place)}\n" for one in entries]
    make_private_folder(path.parent)
    atomic_write_bytes(path, (_HEADER + "".join(parts)).encode("utf-8"), sync=False, private=True)


def _quote(text: str) -> str:
    """A JSON string is a TOML string, but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
