"""A copy of a file that has its name only once it is complete."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from realtime_polyp.private_files import open_private

_BY_FOLDER = os.rename in os.supports_dir_fd  # not on Windows, which does not move a folder with open files


class FileCopy:
    """Written piece by piece as `NAME.part`, so that a part is never taken for the whole, not even after a crash.

    It goes along where its folder is moved. All methods raise OSError.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._file = os.fdopen(open_private(folder / f"{name}.part", new=True), "wb", buffering=0)
        self._folder = os.open(folder, os.O_RDONLY) if _BY_FOLDER else None
        self._base = Path() if _BY_FOLDER else folder
        self._is_over = False

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def finish(self) -> None:
        """Give the file its name: everything was written."""
        self._file.close()
        part, whole = self._base / f"{self.name}.part", self._base / self.name
        os.rename(part, whole, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._leave()

    def close(self) -> None:
        """Remove the part that was written, and raise OSError, unless the file was finished. May be called again."""
        if self._is_over:
            return
        self._file.close()
        with suppress(OSError):
            os.unlink(self._base / f"{self.name}.part", dir_fd=self._folder)
        self._leave()
        raise OSError(errno.ECANCELED, "recording ended too early; the file itself is used")

    def _leave(self) -> None:
        self._is_over = True
        if self._folder is not None:
            os.close(self._folder)
