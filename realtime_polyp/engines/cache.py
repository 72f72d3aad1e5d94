"""The cache of engines built on this machine: one file per engine, named by the key of everything it depends on."""

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


def engines_folder() -> Path:
    """Return the folder of built engines; it may not exist yet."""
    return cache_folder() / "engines"


def is_cached(spec: EngineSpec) -> bool:
    """Whether the engine's file exists; it is not verified."""
    return (engines_folder() / spec.file_name).is_file()


def get_or_build(spec: EngineSpec, build: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """Load the engine from its file. If the file is missing or damaged, build it first.

    build: writes the engine to the path it is given. load: reads it back. Raises EngineError if the folder is not
    writable, and whatever `build` raises, or `load` on a new file.
    """
    path = engines_folder() / spec.file_name
    if path.is_file():
        try:
            _check(path)
            return load(path)
        except _LOAD_ERRORS as error:
            print(f"engine file {path} is not usable ({first_line(error)}): building it again", file=sys.stderr)
    _write(path, spec, build)
    return load(path)


def _check(path: Path) -> None:
    """Raise ValueError if the checksum of the file is not the one recorded when it was written."""
    if sha256_of(path) != json.loads(_sidecar(path).read_text())["sha256"]:
        raise ValueError("checksum mismatch")


def _write(path: Path, spec: EngineSpec, build: Callable[[Path], None]) -> None:
    """Build into a temporary file and rename it when complete, which is safe with concurrent or killed processes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise EngineError(
            f"cannot write to the folder of built engines, {path.parent} ({error.strerror}): set XDG_CACHE_HOME to a "
            "writable folder"
        ) from error
    with replacing(_sidecar(path)) as sidecar, replacing(path) as temporary:  # the engine is renamed first
        build(temporary)
        sidecar.write_text(json.dumps(asdict(spec) | {"sha256": sha256_of(temporary)}, indent=1, sort_keys=True) + "\n")


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
