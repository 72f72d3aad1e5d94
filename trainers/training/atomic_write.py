"""Files that are either the old ones or the new ones, whenever a run is killed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place when all is written and on the disk."""
    temporary = path.with_name(f".{path.stem}.writing{path.suffix}")
    yield temporary
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, path)
