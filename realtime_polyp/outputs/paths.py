"""Where outputs may be written, checked before any frame is analysed and before any file is emptied."""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from realtime_polyp.messages import printable
from realtime_polyp.outputs.base import OutputError, OutputSpec, reason_of
from realtime_polyp.outputs.video import container_of
from realtime_polyp.private_files import open_private, unusable_name

ALARM_PICTURES = "alarm-*.jpg"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_Identity = tuple[int, int]


def check_outputs(
    sources: Sequence[str], specs: Sequence[OutputSpec], others: Iterable[Path | None] = (), *, overwrite: bool = False
) -> None:
    """Check every output of a run. others: outputs of the run as a whole, such as the summary.

    Raises OutputError, and nothing else, for a path that is a source, another output (also through a hard or symbolic
    link) or where the program's own words go; a folder; a device, unless it is the null device or a full one; in no
    writable folder; that the system refuses for any other reason; or a file that exists unless `overwrite`; for a
    folder of pictures that holds those of another run unless `overwrite`, or is a source; and for a video whose name
    asks for a container that cannot be written.
    """
    files = [path for spec in specs for path in (spec.results, spec.save, spec.events)]
    check_paths(sources, [*files, *others], overwrite=overwrite)
    for spec in specs:
        if spec.save:
            container_of(spec.save)
        check_folder(spec.pictures, overwrite=overwrite, sources=sources)


def check_paths(sources: Sequence[str], paths: Sequence[Path | None], *, overwrite: bool = False) -> None:
    """As `check_outputs`, for files alone."""
    taken: dict[str | _Identity, str] = _standard_streams()
    for source in sources:
        with suppress(OSError):  # a source that cannot be looked for is refused when it is opened
            taken |= dict.fromkeys(_identities(Path(source)), "the source itself")
    for path in (path for path in paths if path is not None):
        try:
            _check_path(path, taken, overwrite=overwrite)
        except OSError as error:
            raise OutputError(f"cannot write to {printable(path)}: {reason_of(error)}") from error


def check_folder(folder: Path | None, *, overwrite: bool = False, sources: Sequence[str] = ()) -> None:
    """Raises OutputError for a folder of pictures that is a file, a source, cannot be written in, or holds another
    run's."""
    if folder is None:
        return
    if any(_is_same(folder, source) for source in sources) and folder.is_dir():
        raise OutputError(
            f"cannot write pictures to {printable(folder)}: it is the source, and they would be read as its pictures; "
            "name another folder"
        )
    try:
        old = _old_pictures(folder)
    except OSError as error:
        raise OutputError(f"cannot write pictures to {printable(folder)}: {reason_of(error)}") from error
    if old and not overwrite:
        raise OutputError(
            f"cannot write pictures to {printable(folder)}: it holds another run's ({old[0]}); name a new folder, "
            "or add --overwrite to replace them"
        )


def _check_path(path: Path, taken: dict[str | _Identity, str], *, overwrite: bool) -> None:
    _claim(path, _identities(path), taken)
    status = _status(path)
    if status is None:
        _claim(path, _check_new(path), taken)
    elif stat.S_ISDIR(status.st_mode):
        raise OutputError(f"cannot write to {printable(path)}: it is a folder; name a file in it")
    elif not stat.S_ISREG(status.st_mode):
        _check_special(path, status)
    elif not overwrite:
        raise OutputError(f"cannot write to {printable(path)}: it exists already; add --overwrite to replace it")
    else:
        os.close(os.open(path, os.O_WRONLY))  # the system gives its own reason


def _claim(path: Path, names: Iterable[str | _Identity], taken: dict[str | _Identity, str]) -> None:
    """Note that an output has these names. Raises OutputError if one of them is taken."""
    for name in names:
        if name in taken:
            raise OutputError(f"cannot write to {printable(path)}: it is {taken[name]}")
        taken[name] = "another output"


def _check_new(path: Path) -> list[str]:
    """Create the file and remove it again: only the system knows every reason why it cannot be.

    Returns the name that it shares with other spellings of it, if the file system ignores case.
    """
    folder = Path(os.path.realpath(path)).parent  # where a link leads
    status = _status(folder)
    if status is None or not stat.S_ISDIR(status.st_mode):
        missing = folder if path.is_symlink() else path.parent
        raise OutputError(f"cannot write to {printable(path)}: there is no folder {printable(missing)}")
    target = folder / os.path.basename(os.path.realpath(path))
    os.close(open_private(target, new=True))
    try:
        spelling = unicodedata.normalize("NFC", target.name).casefold()
        return [f"{folder}{os.sep}{spelling} in any case"] if _ignores_case(target) else []
    finally:
        os.unlink(target)


def _ignores_case(path: Path) -> bool:
    """Whether another spelling of a file's name leads to it, as on most disks of macOS and Windows."""
    other = path.with_name(path.name.swapcase())
    return other.name != path.name and _is_same(path, other)


def _is_same(path: Path, other: str | Path) -> bool:
    """Whether both lead to one file or folder; False where that cannot be found out."""
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def _check_special(path: Path, status: os.stat_result) -> None:
    """A pipe or the null device loses nothing. Neither is opened here: a pipe's reader would see its end."""
    if not (stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)):
        raise OutputError(f"cannot write to {printable(path)}: it is not an ordinary file; name a file")
    if not os.access(path, os.W_OK):
        raise OutputError(f"cannot write to {printable(path)}: permission denied")


def _old_pictures(folder: Path) -> list[str]:
    """The names of an earlier run's pictures in a folder that can be written in. Raises OSError, OutputError."""
    place, status = folder, _status(folder)
    if status is None and folder.is_symlink():
        raise OutputError(
            f"cannot write pictures to {printable(folder)}: it is a link that leads nowhere; name a folder"
        )
    while status is None and place.parent != place:
        place = place.parent
        status = _status(place)
    if status is None or not stat.S_ISDIR(status.st_mode):
        what = "it" if place == folder else printable(place)
        raise OutputError(f"cannot write pictures to {printable(folder)}: {what} is a file; name a folder")
    _check_new(place / f".checked-by-{os.getpid()}")
    return sorted(path.name for path in folder.glob(ALARM_PICTURES)) if place == folder else []


def _standard_streams() -> dict[str | _Identity, str]:
    """Standard output and error, where they are files or pipes: two writers would spoil both."""
    found: dict[str | _Identity, str] = {}
    for handle, name in ((1, "output"), (2, "error")):
        with suppress(OSError):
            status = os.fstat(handle)
            if not os.path.samestat(status, os.stat(os.devnull)):
                found[status.st_dev, status.st_ino] = f"the program's standard {name}; name a file"
    return found


def _identities(path: Path) -> list[str | _Identity]:
    """The resolved path and, for what exists, device and inode: a hard link has another path and the same inode.

    Raises OSError.
    """
    status = _status(path)
    return [os.path.realpath(path), *([(status.st_dev, status.st_ino)] if status else [])]


def _status(path: Path) -> os.stat_result | None:
    """None: nothing is there. Raises OSError where that cannot be found out, as for a loop of symbolic links."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    except ValueError as error:
        raise unusable_name(path, error) from error
