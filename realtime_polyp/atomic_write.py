"""Write files atomically: after a crash or a kill, a path holds the old content or the new, never part of it."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and move the file written there to `path` when the block ends.

    For libraries that write files themselves. The temporary path is hidden and has the suffix of `path`; for two paths
    that differ in suffix only, so do their temporary paths. It belongs to the calling thread, so several processes may
    write the same path. When the block raises, `path` stays as it was and the temporary file is removed.

    sync: flush the file to the disk before the move, so that the content also survives a power failure.

    Raises:
        OSError: the folder is missing or not writable, the disk is full, or the block has written no file.
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.stem}.writing-{writer}{path.suffix}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace the content of `path` by `data`. Raises OSError like `replacing`."""
    with replacing(path, sync=sync) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8. Raises OSError like `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
