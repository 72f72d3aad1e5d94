"""Where outputs may be written, asked before an hour of video is analysed and before any file is emptied."""

import os
from collections.abc import Sequence
from pathlib import Path

from realtime_polyp.outputs.base import OutputError


def check_paths(source: str, paths: Sequence[Path | None]) -> None:
    """Raises OutputError for a path that is the source, another output, a folder, or in no writable folder."""
    taken = {Path(source).resolve(): "the source itself"}
    for path in (path for path in paths if path is not None):
        place = path.resolve()
        if place in taken:
            raise OutputError(f"cannot write to {path}: it is {taken[place]}")
        taken[place] = "another output"
        _check_place(path)


def check_folder(folder: Path | None) -> None:
    """Raises OutputError for a folder that is a file, or in which nothing can be written."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write pictures to {folder}: it is a file; name a folder")
    standing = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    if not os.access(standing, os.W_OK):
        raise OutputError(f"cannot write pictures to {folder}: permission denied")


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"cannot write to {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write to {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"cannot write to {path}: permission denied")
