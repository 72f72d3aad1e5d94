"""The weights that come with the project: which there are, where they lie, and that they are unharmed."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.engines.base import EngineError, Task
from realtime_polyp.folders import asset

WEIGHTS_FOLDER = asset("weights")
MANIFEST = "manifest.json"
DEFAULT_DETECTOR = "gflv2-lite0"
DEFAULT_SEGMENTER = "lowrank-lite2"


@dataclass(frozen=True)
class Weights:
    """One trained model. size: input (h, w) px. files: {"safetensors" | "int8-xml" | "int8-bin" | "ranges": file name};
    checksums: sha256 of each file."""

    model: str
    task: Task
    size: tuple[int, int]
    folder: Path
    files: dict[str, str]
    checksums: dict[str, str]

    def path(self, kind: str) -> Path:
        """A file of this kind, its checksum verified. Raises EngineError when absent or harmed."""
        if kind not in self.files:
            raise EngineError(f"{self.model} has no {kind} weights: it has {', '.join(sorted(self.files))}")
        path = self.folder / self.files[kind]
        if not path.is_file():
            raise EngineError(f"weights file {path} is missing: restore it with git checkout")
        if sha256_of(path) != self.checksums[self.files[kind]]:
            raise EngineError(f"weights file {path} fails its checksum: restore it with git checkout")
        return path


def find_weights(model: str, task: Task | None = None, folder: Path = WEIGHTS_FOLDER) -> Weights:
    """The weights named `model`, of this task or of any. Raises EngineError that lists what there is."""
    known = read_manifest(folder)
    names = sorted(name for name, entry in known.items() if task in (None, entry["task"]))
    if model not in names:
        choice = ", ".join(names) or "none installed"
        raise EngineError(f"unknown {task or 'model'} {model!r}: choose from {choice}{', or none' if task else ''}")
    entry = known[model]
    height, width = entry["size"]
    return Weights(model, entry["task"], (height, width), folder, entry["files"], entry["sha256"])


def read_manifest(folder: Path = WEIGHTS_FOLDER) -> dict[str, Any]:
    """{model: {"task", "size", "files", "sha256"}}. Raises EngineError when unreadable."""
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    except (OSError, json.JSONDecodeError) as error:
        raise EngineError(f"cannot read the list of weights {path}: {error}") from error


def add_to_manifest(model: str, task: Task, size: tuple[int, int], files: dict[str, str], folder: Path) -> None:
    """Add files of a model, or replace them, with their checksums. Keeps the model's files of other kinds."""
    known = read_manifest(folder) if (folder / MANIFEST).exists() else {}
    entry = known.setdefault(model, {"task": task, "size": list(size), "files": {}, "sha256": {}})
    entry["files"] |= files
    entry["sha256"] |= {name: sha256_of(folder / name) for name in files.values()}
    (folder / MANIFEST).write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


GRAPH = 2  # raised whenever the same weights compile to another graph: `to_deployable`, `convert` or a model's forward


def engine_key(name: str, weights: Weights, kinds: Iterable[str], **parts: str) -> str:
    """Return 16 hex digits that identify an engine; gate records and cached files are valid for this key only.

    name: the engine. kinds: the kinds of weight files that it is made from. parts: versions, device and the like.
    """
    files = {kind: weights.checksums[weights.files[kind]] for kind in kinds if kind in weights.files}
    made_of = {"engine": name, "graph": GRAPH, "size": weights.size, "files": files, **parts}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
