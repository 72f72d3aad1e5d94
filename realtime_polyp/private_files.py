"""Files and folders that only their owner can read, because pictures and results are medical data."""

import contextlib
import errno
import os
import stat
from pathlib import Path

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


def open_private(path: Path, *, new: bool = False) -> int:
    """Open a file for writing, truncate it and return its descriptor.

    The file has mode 0600 before its first byte, whatever the umask and its earlier mode. A named pipe must have a
    reader, because opening it would block without one. new: the file must not exist.

    Raises OSError; its `strerror` can be shown to the user.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # POSIX only, Windows only
    try:
        handle = os.open(path, flags, _FILE_MODE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(error.errno, _nobody_reads(path), str(path)) from error
        raise
    except ValueError as error:
        raise unusable_name(path, error) from error
    try:
        _prepare(handle)
    except OSError:
        os.close(handle)
        raise
    return handle


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700. A folder that exists keeps its mode.

    Raises OSError.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_private_folder(folder.parent)
    try:
        os.mkdir(folder, _FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():  # a folder: another thread created it
            raise
        return
    with contextlib.suppress(PermissionError):
        os.chmod(folder, _FOLDER_MODE)  # the umask may have removed more bits


def unusable_name(path: Path, error: ValueError) -> OSError:
    """Return the OSError for a name that Python refuses to pass to the operating system."""
    reason = "its name holds a NUL character" if "\0" in str(path) else f"its name cannot be used: {error}"
    return OSError(errno.EINVAL, reason, str(path))


def _nobody_reads(path: Path) -> str:
    pipe = stat.S_ISFIFO(os.stat(path).st_mode)
    return "no program reads from this pipe" if pipe else "it is not an ordinary file; name a file"


def _prepare(handle: int) -> None:
    mode = os.fstat(handle).st_mode
    if stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a disk; name a file on it")
    if stat.S_ISREG(mode):
        if hasattr(os, "fchmod"):
            with contextlib.suppress(OSError):  # a file system without modes, or a file of another user
                os.fchmod(handle, _FILE_MODE)
        os.ftruncate(handle, 0)
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(handle, True)
