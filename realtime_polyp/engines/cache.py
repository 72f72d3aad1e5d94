"""Engines that this machine built for itself, one file each, kept under the key of all that they were made of."""

import json
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.static import first_line
from realtime_polyp.engines.weights import sha256_of
from realtime_polyp.folders import cache_folder

_SUFFIX = ".pt2"
# What a file that is no engine, or one of another version, may raise when it is loaded.
_HARM = (
    *(RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError),
    zipfile.BadZipFile,
)
T = TypeVar("T")


@dataclass(frozen=True)
class EngineSpec:
    """What one engine file is made of. key: `weights.engine_key`. bucket: its batch size. made_of: versions and
    machine, for the person who looks into the folder."""

    model: str
    engine: str
    key: str
    bucket: int
    made_of: dict[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return f"{self.model}-{self.engine}-{self.key}-batch{self.bucket}{_SUFFIX}"


def engines_folder() -> Path:
    return cache_folder() / "engines"


def is_cached(recipe: EngineSpec) -> bool:
    return (engines_folder() / recipe.file_name).is_file()


def get_or_build(recipe: EngineSpec, build: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """The engine from its file, which is built first where it is missing or harmed.

    build: writes the engine to the path it is given. load: reads it back. Raises what they raise of a fresh file.
    """
    path = engines_folder() / recipe.file_name
    if path.is_file():
        try:
            _check(path)
            return load(path)
        except _HARM as error:
            print(f"engine file {path} cannot be used ({first_line(error)}): building it again", file=sys.stderr)
    _write(path, recipe, build)
    return load(path)


def _check(path: Path) -> None:
    """ValueError when the file is not the one that was written."""
    if sha256_of(path) != json.loads(_note(path).read_text())["sha256"]:
        raise ValueError("its checksum differs")


def _write(path: Path, recipe: EngineSpec, build: Callable[[Path], None]) -> None:
    """Under its name only when complete: a second process, or one that is killed, harms nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise EngineError(
            f"the folder for built engines, {path.parent}, cannot be written ({error.strerror}): set XDG_CACHE_HOME to "
            "a folder that can"
        ) from error
    with replacing(_note(path)) as note, replacing(path) as temporary:  # the engine first, then its note
        build(temporary)
        note.write_text(json.dumps(asdict(recipe) | {"sha256": sha256_of(temporary)}, indent=1, sort_keys=True) + "\n")


def _note(path: Path) -> Path:
    return path.with_suffix(".json")
