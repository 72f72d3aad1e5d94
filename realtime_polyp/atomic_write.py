"""Write files atomically: after a crash or a kill, a path holds the old content or the new, never part of it."""

import contextlib
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from realtime_polyp.private_files import open_private

_LONGEST_NAME = 200  # bytes; with the mark of its writer a temporary name stays below the usual 255


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and move the file written there to `path` when the block ends.

    For libraries that write files themselves. The temporary path is hidden and has the suffix of `path`; for two paths
    that differ in suffix only, so do their temporary paths. It belongs to the calling thread, so several processes may
    write the same path. When the block raises, `path` stays as it was and the temporary file is removed.

    sync: flush the file to the disk before the move, so that the content also survives a power failure.
    private: only the owner can read the file, also while it is written.

    Raises:
        OSError: the folder is missing or not writable, the disk is full, or the block has written no file.
    """
    temporary = _temporary(path)
    try:
        if private:
            temporary.unlink(missing_ok=True)  # left by a killed process with the same id
            os.close(open_private(temporary, new=True))
        yield temporary
        if sync:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # a share that is gone: the first error is the one to report
            temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes, *, sync: bool = True, private: bool = False) -> None:
    """Replace the content of `path` by `data`. Raises OSError like `replacing`."""
    with replacing(path, sync=sync, private=private) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in UTF-8. Raises OSError like `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object, *, sort_keys: bool = False) -> None:
    """Replace the content of `path` by JSON, and create its folder. A pipe or device is written to directly.

    Raises OSError like `replacing`.
    """
    text = json.dumps(content, indent=1, sort_keys=sort_keys) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
    else:
        atomic_write_text(path, text)


def write_private(path: Path, data: bytes) -> None:
    """Write an output that only its owner can read: a file atomically, also through a link; a pipe or device at once.

    A file in a folder that cannot hold a temporary file is written directly too. Raises OSError.
    """
    try:
        ordinary = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        ordinary = True
    if ordinary:
        with contextlib.suppress(PermissionError):
            # The resolved path: renaming onto a link would replace the link, not its target.
            atomic_write_bytes(Path(os.path.realpath(path)), data, private=True)
            return
    with os.fdopen(open_private(path), "wb", buffering=0) as file:
        _write_all(file.fileno(), data)


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _temporary(path: Path) -> Path:
    """The hidden path beside `path`; a long name is replaced by its digest."""
    stem, suffix = path.stem, path.suffix
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:32]
        suffix = suffix if len(os.fsencode(suffix)) <= 32 else ""
    return path.with_name(f".{stem}.writing-{os.getpid()}-{threading.get_ident()}{suffix}")
