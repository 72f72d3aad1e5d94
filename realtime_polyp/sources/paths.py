"""Checks paths that a user typed; they may be too long, unreadable, or on a disk that is gone."""

import errno
import os
import stat
from pathlib import Path

from realtime_polyp.messages import shorten_path
from realtime_polyp.sources.addresses import hide_secrets
from realtime_polyp.sources.base import SourceError

_CAUSES = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENAMETOOLONG: "does not exist: its name is longer than the file system allows",
    errno.EACCES: "may not be read by this user",
    errno.EPERM: "may not be read by this user",
    errno.ENXIO: "is a socket or a device, not a video file",
}


def is_folder(text: str) -> bool:
    """Whether the text is the path of a folder; False if it cannot be checked."""
    mode = _mode(text)
    return mode is not None and stat.S_ISDIR(mode)


def exists(text: str) -> bool:
    """Whether something exists at this path, even if it cannot be read."""
    return _mode(text) is not None


def check_file(path: Path) -> Path:
    """Return the path of a regular file that can be read. Raises SourceError for anything else."""
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise SourceError(f"{shorten_path(path)} is a folder, not a video file.")
        if not stat.S_ISREG(info.st_mode):
            raise SourceError(f"{shorten_path(path)} is a pipe, a socket or a device, not a video file.")
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise path_error(path, error) from None
    if info.st_size == 0:
        raise SourceError(f"{shorten_path(path)} is empty (0 bytes).")
    return path


def path_error(path: Path, error: OSError | ValueError) -> SourceError:
    """Return the SourceError for an error of the operating system. A ValueError means a NUL character in the path."""
    shown = shorten_path(hide_secrets(str(path)))  # it may be a mistyped address
    if not isinstance(error, OSError):
        return SourceError(f"{shown} does not exist: a name cannot contain a NUL character.")
    cause = _CAUSES.get(error.errno or 0)
    if cause is None:
        cause = f"cannot be read; is its disk or share still there? ({error.strerror or error})"
    return SourceError(f"{shown} {cause}.")


def _mode(text: str) -> int | None:
    try:
        return os.stat(text).st_mode
    except (OSError, ValueError):
        pass
    try:
        return os.lstat(text).st_mode  # a broken or circular link
    except (OSError, ValueError):
        return None
