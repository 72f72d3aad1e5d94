"""Files and folders that only their owner can read: pictures and results are a patient's."""

import contextlib
import errno
import os
import stat
from pathlib import Path

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


def open_private(path: Path, *, new: bool = False) -> int:
    """Open a file to be written from its beginning; returns its descriptor.

    It has mode 0600 before its first byte, whatever the umask and whoever could read it before. A named pipe is opened
    only while a program reads from it, because opening would wait for one. new: the file must not exist.

    Raises OSError; the reason of each is a sentence for a person.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # one is unknown to Windows, one to others
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
    """Create a folder with mode 0700, and so those above it that are missing; one that exists stays as it is.

    Raises OSError.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_private_folder(folder.parent)
    try:
        os.mkdir(folder, _FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():  # else another thread was faster
            raise
        return
    with contextlib.suppress(PermissionError):
        os.chmod(folder, _FOLDER_MODE)  # a umask may have taken more


def unusable_name(path: Path, error: ValueError) -> OSError:
    """What the system says about a name that it cannot even be asked for."""
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
            with contextlib.suppress(OSError):  # a file system without modes, or a file that another user shares
                os.fchmod(handle, _FILE_MODE)
        os.ftruncate(handle, 0)
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(handle, True)
