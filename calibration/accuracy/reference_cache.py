"""The reference remembers its answers: in float32 on a CPU it takes a minute a set, and every gate asks the same."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines.base import BaseEngine, Engine, Pixels, RawPredictions
from realtime_polyp.engines.gate import cache_folder


class RememberedEngine(BaseEngine):
    """An engine that answers pixels it has seen before from a file, kept under the engine's key.

    Only the model's own answers are kept: field, prepare and postprocess run anew, so a change there needs no new file.
    """

    def __init__(self, engine: Engine, folder: Path | None = None) -> None:
        self.name, self.model, self.task, self.size = engine.name, engine.model, engine.task, engine.size
        self.device, self.key = engine.device, engine.key
        self.path = (folder or cache_folder()) / f"reference-{engine.model}-{engine.key}.npz"
        self._engine = engine
        self._known = _read(self.path)
        self._saved = len(self._known)

    def __call__(self, pixels: Pixels) -> RawPredictions | NDArray[np.float32]:
        """A batch of one, as stills are evaluated."""
        sight = hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()
        if sight not in self._known:
            self._known[sight] = self._asked(pixels)
        columns = self._known[sight]
        return (columns[0], columns[1]) if self.task == "detector" else columns[0]

    def _asked(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        answer = self._engine(pixels)  # type: ignore[operator]
        return list(answer) if self.task == "detector" else [answer]

    def save(self) -> None:
        """Write what was learnt since the last time, under its name only when complete."""
        if len(self._known) == self._saved:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        columns = [np.stack(column) for column in zip(*self._known.values(), strict=True)]
        with replacing(self.path) as temporary:
            np.savez(temporary, sights=np.array(list(self._known)), **{f"answer{i}": c for i, c in enumerate(columns)})
        self._saved = len(self._known)


def _read(path: Path) -> dict[str, list[NDArray[np.float32]]]:
    """{checksum of the pixels: answers}; nothing where the file is missing or harmed, and the engine is asked again."""
    try:
        with np.load(path) as content:
            columns = [content[name] for name in sorted(content.files) if name.startswith("answer")]
            return {str(sight): list(row) for sight, *row in zip(content["sights"], *columns, strict=True)}
    except (OSError, ValueError, KeyError, EOFError):
        return {}
