"""Cache the reference engine's outputs: in float32 on a CPU a set of stills takes a minute, and every gate needs it."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.array_files import read_arrays
from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines.base import BaseEngine, Engine, Pixels, as_answer
from realtime_polyp.folders import cache_folder


class CachedEngine(BaseEngine):
    """Wraps an engine and returns cached outputs for pixels that it has run on before.

    The cache file is named by the engine's key and holds raw outputs only; changes of pre- or postprocessing do not
    invalidate it. folder: where it lies; None: the cache folder.
    """

    def __init__(self, engine: Engine, folder: Path | None = None) -> None:
        self.name, self.model, self.task, self.size = engine.name, engine.model, engine.task, engine.size
        self.device, self.key = engine.device, engine.key
        self.path = (folder or cache_folder()) / f"reference-{engine.model}-{engine.key}.npz"
        self._engine = engine
        self._known = _read(self.path)
        self._saved = len(self._known)

    def __call__(self, pixels: Pixels) -> Any:
        """Run a batch of one image."""
        checksum = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
        if checksum not in self._known:
            self._known[checksum] = self._run(pixels)
        return as_answer(self._known[checksum])

    def _run(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        outputs = self._engine(pixels)  # type: ignore[operator]
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    def save(self) -> None:
        """Write new outputs to the cache file, atomically."""
        if len(self._known) == self._saved:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        columns = [np.stack(column) for column in zip(*self._known.values(), strict=True)]
        with replacing(self.path) as temporary:
            np.savez(temporary, sights=np.array(list(self._known)), **{f"answer{i}": c for i, c in enumerate(columns)})  # type: ignore[arg-type]
        self._saved = len(self._known)


def _read(path: Path) -> dict[str, list[NDArray[np.float32]]]:
    """Return {checksum of the pixels: outputs}; empty where the file is missing or damaged."""
    try:
        content = read_arrays(path)
        columns = [content[name] for name in sorted(content) if name.startswith("answer")]
        return {str(sight): list(row) for sight, *row in zip(content["sights"], *columns, strict=True)}
    except (OSError, ValueError, LookupError):
        return {}
