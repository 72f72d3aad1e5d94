"""The cache of engines built on this machine: one file per engine, named by the key of everything it depends on."""

import contextlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.static import first_line
from realtime_polyp.engines.weights import sha256_of
from realtime_polyp.folders import cache_folder, private_folder, require_private
from realtime_polyp.json_files import read_json

_SUFFIX = ".pt2"
# What loading raises if a file is damaged or was written by another version.
_LOAD_ERRORS = (
    *(RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError),
    zipfile.BadZipFile,
)
T = TypeVar("T")


@dataclass(frozen=True)
class EngineSpec:
    """What identifies one engine file.

    Attributes:
        model: name of the weights.
        engine: name of the engine.
        key: `weights.engine_key`.
        bucket: batch size.
        made_of: versions and machine; written beside the engine for information only.
    """

    model: str
    engine: str
    key: str
    bucket: int
    made_of: dict[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return f"{self.model}-{self.engine}-{self.key}-batch{self.bucket}{_SUFFIX}"


class _Sidecar(msgspec.Struct, frozen=True):
    """The file beside an engine: an `EngineSpec` and the checksum."""

    sha256: str


def engines_folder() -> Path:
    """Return the folder of built engines; it may not exist yet."""
    return cache_folder() / "engines"


def is_cached(spec: EngineSpec) -> bool:
    """Whether the engine's file exists; it is not verified."""
    return (engines_folder() / spec.file_name).is_file()


def get_or_build(spec: EngineSpec, build: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """Load the engine from its file. If the file is missing or damaged, build it first.

    build: writes the engine to the path it is given. load: reads it back. Raises EngineError if the folder is not
    writable, or is not private, as an engine file holds code; and whatever `build` raises, or `load` on a new file.
    """
    path = engines_folder() / spec.file_name
    if path.is_file():
        with _folder_problems(path.parent):
            require_private(path.parent)
        try:
            _check(path)
            return load(path)
        except _LOAD_ERRORS as error:
            print(f"engine file {path} is not usable ({first_line(error)}): building it again", file=sys.stderr)
    _write(path, spec, build)
    return load(path)


@contextlib.contextmanager
def _folder_problems(folder: Path) -> Iterator[None]:
    """Turn OSError into an EngineError with the cure."""
    try:
        yield
    except OSError as error:
        raise EngineError(
            f"cannot use the folder of built engines, {error.filename or folder} ({error.strerror}): "
            "set XDG_CACHE_HOME to a folder that only you can write"
        ) from error


def _check(path: Path) -> None:
    """Raise ValueError if the checksum of the file is not the one recorded when it was written."""
    if sha256_of(path) != read_json(_sidecar(path), _Sidecar, what="a description of an engine file").sha256:
        raise ValueError("checksum mismatch")


def _write(path: Path, spec: EngineSpec, build: Callable[[Path], None]) -> None:
    """Build into a temporary file and rename it when complete, which is safe with concurrent or killed processes."""
    with _folder_problems(path.parent):
        private_folder(path.parent)
    try:
        with replacing(_sidecar(path)) as sidecar, replacing(path) as temporary:  # the engine is renamed first
            build(temporary)
            noted = asdict(spec) | {"sha256": sha256_of(temporary)}
            sidecar.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n")
    except OSError as error:  # a full disk, a folder in the file's place
        raise EngineError(f"cannot write the engine {path} ({error.strerror or error})") from error


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
