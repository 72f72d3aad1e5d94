"""Stills at model size in one file, so that several runs over the same images read and decode them once."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.atomic_write import replacing
from trainers.data.compose import Item

if sys.platform != "win32":
    import fcntl

_FORMAT = 1  # increment when the same stills become other pixels


def cached_items(
    items: Iterable[Item], files: Sequence[Path], size: tuple[int, int], folder: Path
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the items, read from a file in `folder` if they are there, else written there first.

    The pixels are mapped from the file: processes share the memory, and what one changes stays its own.

    items: images (h, w, 3) and label maps (h, w), only consumed if there is no file.
    files: images and masks that they come from. A file that changes makes another name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"items-{size[0]}x{size[1]}-{_key(files)}.npy"
    with _only_process(path.with_suffix(".lock")):
        if not path.exists():
            _remove_unfinished(path)
            _write(items, len(files) // 2, size, path)
    stored = np.load(path, mmap_mode="c")
    return [(one[..., :3], one[..., 3]) for one in stored]


def _key(files: Sequence[Path]) -> str:
    digest = hashlib.sha256(str(_FORMAT).encode())
    for path in files:
        state = path.stat()
        digest.update(f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed while they wrote have left, up to a gigabyte each.

    The caller holds the lock of this path; without locks, on Windows, another process may still be writing.
    """
    if sys.platform != "win32":
        for left in path.parent.glob(f".{path.stem}.writing-*{path.suffix}"):
            left.unlink(missing_ok=True)


def _write(items: Iterable[Item], count: int, size: tuple[int, int], path: Path) -> None:
    with replacing(path, sync=False) as temporary:
        # Under the name it is given: np.save would add a suffix.
        stored: Any = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, *size, 4))
        for place, (image, labels) in enumerate(items):
            stored[place, ..., :3], stored[place, ..., 3] = image, labels
        stored.flush()


@contextmanager
def _only_process(lock: Path) -> Iterator[None]:
    """Keep other processes out while one writes. Windows has no such lock: there, two may write the same file."""
    with lock.open("w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
