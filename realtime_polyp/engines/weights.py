"""The shipped weights: the manifest that lists them, their paths and their checksums."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines.base import EngineError, Task
from realtime_polyp.folders import asset
from realtime_polyp.json_files import check_json, read_json
from realtime_polyp.messages import quoted

WEIGHTS_FOLDER = asset("weights")
MANIFEST = "manifest.json"
DEFAULT_DETECTOR = DEFAULT_SEGMENTER = "polyp-lite2"  # a joint model: both in one
NO_MODEL = "none"  # in place of a name on a command line
_CURE = "restore it with git checkout"
_LONGEST_REASON = 200  # characters of a loader's message that are quoted
_Px = Annotated[int, msgspec.Meta(ge=1, le=8192)]
# Letters, digits and _ . + - only: a name never leads out of the folder.
_FileName = Annotated[str, msgspec.Meta(pattern=r"^\w[\w.+-]*\Z", max_length=255)]
_Checksum = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ManifestEntry(TypedDict):
    """What the manifest says about one model: `Weights` describes the same."""

    task: Task
    size: Annotated[list[_Px], msgspec.Meta(min_length=2, max_length=2)]
    files: dict[str, _FileName]
    sha256: dict[str, _Checksum]


@dataclass(frozen=True)
class Weights:
    """The files of one trained model.

    Attributes:
        model: name of the weights.
        task: "detector", "segmenter" or "joint", which is both.
        size: input (h, w), px.
        folder: where the files are.
        files: {kind: file name}; kinds are "safetensors", "int8-xml", "int8-bin" and "ranges".
        checksums: {file name: SHA-256, hexadecimal}.
    """

    model: str
    task: Task
    size: tuple[int, int]
    folder: Path
    files: dict[str, str]
    checksums: dict[str, str]

    def path(self, kind: str) -> Path:
        """Return the path of the file of this kind. Raises EngineError if it is missing or fails its checksum."""
        if kind not in self.files:
            raise EngineError(f"{self.model} has no {kind} weights: it has {', '.join(sorted(self.files))}")
        path = self.folder / self.files[kind]
        try:
            if not path.is_file():
                raise EngineError(f"weights file {path} is missing: {_CURE}")
            if sha256_of(path) != self.checksums[self.files[kind]]:
                raise EngineError(f"weights file {path} fails its checksum: {_CURE}")
        except OSError as error:
            raise EngineError(f"cannot read the weights file {path} ({error.strerror}): {_CURE}") from error
        return path

    def refuse(self, kind: str, problem: object) -> EngineError:
        """Return the error for a file that passes its checksum but cannot be loaded.

        problem: the error of the loader; its first line is quoted.
        """
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0][:_LONGEST_REASON]
        return EngineError(
            f"weights file {self.folder / self.files[kind]} is not of the {self.task} {self.model} ({reason}): {_CURE}"
        )


def find_weights(model: str, task: Task | None = None, folder: Path = WEIGHTS_FOLDER) -> Weights:
    """Return the weights named `model`. Raises EngineError that lists the choices if there are none.

    task: the required task, which a joint model has too; None accepts all.
    """
    known = read_manifest(folder)
    names = sorted(name for name, entry in known.items() if task in (None, entry["task"]) or entry["task"] == "joint")
    if model not in names:
        choice = (", ".join(names) or "none installed") + (f", or {NO_MODEL}" if task else "")
        raise EngineError(f"unknown {task or 'model'} {model!r}: choose from {choice}")
    entry = known[model]
    height, width = entry["size"]
    return Weights(model, entry["task"], (height, width), folder, entry["files"], entry["sha256"])


def read_manifest(folder: Path = WEIGHTS_FOLDER) -> dict[str, ManifestEntry]:
    """Return {model: entry}. Raises EngineError if the manifest is not readable or not complete."""
    path, what = folder / MANIFEST, "a list of weights"
    known = read_json(path, dict[str, Any], what=what, error=EngineError, cure=_CURE)
    return {model: _parse_entry(entry, model, path) for model, entry in known.items()}


def _parse_entry(content: Any, model: str, path: Path) -> ManifestEntry:
    where, what = f"model {quoted(model)} in {path}", "an entry of a list of weights"
    entry = check_json(content, ManifestEntry, where, what, EngineError, _CURE)
    if missing := sorted(set(entry["files"].values()) - set(entry["sha256"])):
        raise EngineError(f"{where} is not {what}: {missing[0]} has no checksum; {_CURE}")
    return entry


def add_to_manifest(model: str, task: Task, size: tuple[int, int], files: dict[str, str], folder: Path) -> None:
    """Add or replace files of a model, with their checksums.

    New weights begin a new entry: what was made from the old ones, such as an INT8 graph, leaves the list. Other kinds
    of files join the entry. files: {kind: name of a file in `folder`}. Raises EngineError for another task or size than
    that of the weights that they were made from.
    """
    known = read_manifest(folder) if (folder / MANIFEST).exists() else {}
    entry: ManifestEntry = {"task": task, "size": list(size), "files": {}, "sha256": {}}
    if "safetensors" not in files and model in known:
        entry = known[model]
        if (entry["task"], tuple(entry["size"])) != (task, size):
            raise EngineError(
                f"{model} in {folder / MANIFEST} is a {entry['task']} at {entry['size'][0]}x{entry['size'][1]}, not a "
                f"{task} at {size[0]}x{size[1]}: install its weights first"
            )
    entry["files"] |= files
    entry["sha256"] |= {name: sha256_of(folder / name) for name in files.values()}
    write_json(folder / MANIFEST, known | {model: entry}, sort_keys=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Increment when the same weights compile to a different graph: `to_deployable`, `convert` or a model's `forward`.
GRAPH = 2


def engine_key(name: str, weights: Weights, kinds: Iterable[str], **parts: str) -> str:
    """Return 16 hex digits that identify an engine; gate records and cached files are valid for this key only.

    name: of the engine. kinds: kinds of weight files that it is built from. parts: versions, device and similar.
    """
    files = {kind: weights.checksums[weights.files[kind]] for kind in kinds if kind in weights.files}
    made_of = {"engine": name, "graph": GRAPH, "size": weights.size, "files": files, **parts}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
