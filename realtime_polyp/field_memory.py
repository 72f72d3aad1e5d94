"""The fields of view that a person drew, by source, in a file beside the settings that only the user can read."""

import json
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.field_of_view import FieldOfView, parse_field
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.sources.addresses import hide_secrets

FIELDS_FILE = "fields.toml"
_MOST = 200
_MOST_BYTES = 1 << 20
_HEADER = (
    "# Fields of view that were drawn in the window of realtime-polyp, newest first. Delete the file to forget them.\n"
)


@dataclass(frozen=True)
class RememberedField:
    """A field of view, source px.

    Attributes:
        place: the source: path of a file or folder, device, or address. size: (width, height) of its picture, px.
    """

    place: str
    size: tuple[int, int]
    field: FieldOfView


def recall_field(path: Path, place: str, size: tuple[int, int]) -> FieldOfView | None:
    """Return the field that was drawn for a source with pictures of this size; None if none was."""
    return next((one.field for one in _read(path) if (one.place, one.size) == (place, size)), None)


def remember_field(path: Path, place: str, size: tuple[int, int], field: FieldOfView | None) -> None:
    """Store the field of a source; None forgets it. An address with a password is not stored.

    A disk that refuses loses the entry, no more.
    """
    if hide_secrets(place) != place:
        return
    others = [one for one in _read(path) if (one.place, one.size) != (place, size)]
    newest = [RememberedField(place, size, field)] if field else []
    with suppress(OSError, UnicodeEncodeError):
        make_private_folder(path.parent)
        data = _to_toml([*newest, *others][:_MOST]).encode("utf-8")
        atomic_write_bytes(path, data, sync=False, private=True)


def _read(path: Path) -> list[RememberedField]:
    """Return all fields; none where the file cannot be read, is too large or was changed by hand to something else."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        entries = tomllib.loads(content.decode("utf-8"))["field"] if len(content) <= _MOST_BYTES else []
        return [_from_entry(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _from_entry(entry: dict[str, object]) -> RememberedField:
    place, width, height, box = entry["place"], entry["width"], entry["height"], entry["box"]
    if not (isinstance(place, str) and isinstance(width, int) and isinstance(height, int) and isinstance(box, str)):
        raise TypeError("no field")
    return RememberedField(place, (width, height), parse_field(box))


def _to_toml(fields: Iterable[RememberedField]) -> str:
    parts = []
    for one in fields:
        width, height = one.size
        lines = (f"place = {_quote(one.place)}", f"width = {width}", f"height = {height}", f'box = "{one.field}"')
        parts.append("\n".join(("", "[[field]]", *lines, "")))
    return _HEADER + "".join(parts)


def _quote(text: str) -> str:
    """A JSON string is a TOML string, but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
