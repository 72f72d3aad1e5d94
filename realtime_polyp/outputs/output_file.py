"""An output file that is written during a session and notices when it is deleted, moved or unmounted."""

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

from realtime_polyp.private_files import open_private

_CHECK_EVERY_S = 1.0
_GONE = "it was deleted or its folder moved while it was written"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

_Identity = tuple[int, int]


class DisplacedError(OSError):
    """An output file is no longer at its path. `filename` is the path, `strerror` says what happened to it."""


class Place:
    """The path and identity of an open file or folder, to notice that it is gone. Pipes and devices are not watched.

    status: `os.stat` of the open file or folder.
    """

    def __init__(self, path: Path, status: os.stat_result) -> None:
        self._path, self._identity = path, _identity(status)
        self._watched = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        self._folder = _look(path.parent) if self._watched else None
        self._looked_s = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last check was a second or more ago."""
        return self._watched and time.monotonic() - self._looked_s >= _CHECK_EVERY_S

    def check(self, *, links: int | None = None) -> None:
        """Raise DisplacedError if the file is no longer at its path, OSError if the path cannot be checked.

        links: number of hard links of the open file; None: not known.
        """
        if not self._watched:
            return
        self._looked_s = time.monotonic()
        try:
            found = _look(self._path)
        except PermissionError:  # the folder's permissions changed; the open file can still be written
            return
        if found != self._identity:
            raise DisplacedError(errno.ENOENT, self._what_became(found, links), str(self._path))

    def _what_became(self, found: _Identity | None, links: int | None) -> str:
        folder = _look(self._path.parent)
        if links == 0 or folder is None:
            return _GONE
        if folder != self._folder:
            return "its folder was unmounted or replaced while it was written"
        if found is not None:
            return "it was replaced while it was written"
        return _GONE if links is None else "it was moved or renamed while it was written"


class OutputFile:
    """Writes bytes without a buffer to a file that only its owner can read.

    After a failure every further write raises the same error, so that a library cannot damage the part already written.
    All methods raise OSError, and DisplacedError if the file is no longer at its path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: OSError | None = None
        self._handle: int | None = open_private(path)
        status = os.fstat(self._handle)
        self._regular = stat.S_ISREG(status.st_mode)
        self._place = Place(path, status)
        self._size = self._position = 0

    def write(self, data: bytes) -> int:
        """Write all bytes and return their number."""
        if self.error:
            raise self.error
        try:
            if self._place.is_due():
                self.check()
            self._write(memoryview(data))
        except OSError as error:
            self.error = error
            raise
        return len(data)

    @property
    def closed(self) -> bool:
        return self._handle is None

    def write_line(self, text: str) -> None:
        """Write a line and a line break in UTF-8. On failure an incomplete line is removed."""
        start = self._size
        try:
            self.write(f"{text}\n".encode())
        except OSError:
            self.cut(start)
            raise

    def seekable(self) -> bool:
        return self._regular

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.error:
            raise self.error
        self._position = os.lseek(self._open(), offset, whence)
        return self._position

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def check(self) -> None:
        """Raise DisplacedError if the file is no longer at its path, or is shorter than what was written."""
        status = os.fstat(self._open())
        self._place.check(links=status.st_nlink)
        if self._regular and status.st_size < self._size:
            what = "another program shortened it while it was written"
            raise DisplacedError(errno.EIO, what, str(self.path))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def cut(self, size_bytes: int) -> None:
        """After a failure, remove what was written beyond `size_bytes`: an incomplete part may spoil the file."""
        if self.error and self._regular and self._handle is not None and self._size > size_bytes:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, size_bytes)

    def check_space(self, size_bytes: int) -> None:
        """Raise OSError if the disk has no room for so many more bytes; nothing is checked where it cannot be told."""
        if not (self._regular and hasattr(os, "fstatvfs")):
            return
        disk = os.fstatvfs(self._open())
        if disk.f_bavail * disk.f_frsize < size_bytes:
            self.error = self.error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            raise self.error

    def sync(self) -> None:
        """Have everything so far written to the disk itself, so that it survives a power failure."""
        if self._regular:
            os.fsync(self._open())

    def close(self) -> None:
        """Flush to the disk and close; a network share may report failed writes only now. May be called repeatedly."""
        handle = self._handle
        if handle is None:
            return
        try:
            if not self.error and self._regular:
                self.check()
                os.fsync(handle)
        finally:
            self._handle = None
            os.close(handle)

    def _write(self, rest: memoryview) -> None:
        handle = self._open()
        while rest:
            written = os.write(handle, rest)
            rest = rest[written:]
            self._position += written
            self._size = max(self._size, self._position)

    def _open(self) -> int:
        if self._handle is None:
            raise OSError(errno.EBADF, "it is closed already")
        return self._handle


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _look(path: Path) -> _Identity | None:
    """Return the identity of what is at a path; None if nothing is. Raises OSError if it cannot be checked."""
    try:
        return _identity(os.stat(path))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
