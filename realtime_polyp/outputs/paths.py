"""Where outputs may be written, checked before any frame is analysed and before any file is emptied."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from realtime_polyp.outputs.base import OutputError, OutputSpec

ALARM_PICTURES = "alarm-*.jpg"
_Identity = tuple[int, int]


def check_outputs(
    sources: Sequence[str], specs: Sequence[OutputSpec], others: Iterable[Path | None] = (), *, overwrite: bool = False
) -> None:
    """Check every output of a run. others: outputs of the run as a whole, such as the summary.

    Raises OutputError for a path that is a source or another output (also through a hard or symbolic link), a folder,
    in no writable folder, or a file that exists unless `overwrite`; and for a folder of pictures that holds those of
    another run unless `overwrite`.
    """
    files = [path for spec in specs for path in (spec.results, spec.save, spec.events)]
    check_paths(sources, [*files, *others], overwrite=overwrite)
    for spec in specs:
        check_folder(spec.pictures, overwrite=overwrite)


def check_paths(sources: Sequence[str], paths: Sequence[Path | None], *, overwrite: bool = False) -> None:
    """As `check_outputs`, for files alone."""
    taken: dict[Path | _Identity, str] = {}
    for source in sources:
        taken |= dict.fromkeys(_identities(Path(source)), "the source itself")
    for path in (path for path in paths if path is not None):
        names = _identities(path)
        for name in names:
            if name in taken:
                raise OutputError(f"cannot write to {path}: it is {taken[name]}")
        taken |= dict.fromkeys(names, "another output")
        _check_place(path)
        if not overwrite and _is_file(path):
            raise OutputError(f"cannot write to {path}: it exists already; add --overwrite to replace it")


def check_folder(folder: Path | None, *, overwrite: bool = False) -> None:
    """Raises OutputError for a folder of pictures that is a file, cannot be written in, or holds another run's."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write pictures to {folder}: it is a file; name a folder")
    existing = next(place for place in (folder, *folder.resolve().parents) if place.is_dir())
    if not os.access(existing, os.W_OK):
        raise OutputError(f"cannot write pictures to {folder}: permission denied")
    if not overwrite and (old := next(iter(sorted(folder.glob(ALARM_PICTURES))), None)):
        raise OutputError(
            f"cannot write pictures to {folder}: it holds another run's ({old.name}); name a new folder, or add "
            "--overwrite to replace them"
        )


def _identities(path: Path) -> list[Path | _Identity]:
    """The resolved path and, for what exists, device and inode: a hard link has another path and the same inode."""
    try:
        found = path.stat()
    except OSError:
        return [_resolve(path)]
    return [_resolve(path), (found.st_dev, found.st_ino)] if stat.S_ISREG(found.st_mode) else [_resolve(path)]


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of symbolic links
        raise OutputError(f"cannot use {path}: {error}") from error


def _is_file(path: Path) -> bool:
    """A regular file; a pipe or /dev/stdout loses nothing."""
    return path.is_file()


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"cannot write to {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write to {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"cannot write to {path}: permission denied")
