"""The picture of a recorded session: a reference to the file that was analysed, or a copy of it.

Live sources: `recording/live_original.py`.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Protocol

from realtime_polyp.packets import Frame
from realtime_polyp.recording.file_copy import FileCopy
from realtime_polyp.recording.schema import ORIGINAL_STEM

_STEP_BYTES = 1 << 20


class Original(Protocol):
    """Where the picture of a session is kept. `place` is called on the decode thread, the rest on the recorder's."""

    def place(self, frame: Frame) -> float | None:
        """Where the frame's picture will be found, s on a clock of the original's own; None: nowhere. Never blocks."""
        ...

    def picture_s(self, place: float | None) -> float | None:
        """The time of that place in the original, s; None: it is not in it."""
        ...

    def facts(self) -> dict[str, Any]:
        """Fact `original` at the start of the session."""
        ...

    def step(self) -> dict[str, Any] | None:
        """Do a little of the work that can wait, no more than some milliseconds; returns further facts, or None where
        nothing is left to do. Raises OSError."""
        ...

    def check(self) -> None:
        """Raise OSError if the picture cannot be recorded any more."""
        ...

    def sync(self) -> None:
        """Have it written to the disk itself, so that it survives a power failure; on any thread. Raises OSError."""
        ...

    @property
    def dropped(self) -> int:
        """Pictures that are not in the original because it could not keep up."""
        ...

    def close(self) -> None:
        """Finish it. Raises OSError."""
        ...


class NoOriginal:
    """The picture is not kept."""

    dropped = 0

    def place(self, frame: Frame) -> float | None:
        return None

    def picture_s(self, place: float | None) -> float | None:
        return None

    def facts(self) -> dict[str, Any]:
        return {"how": "none", "file": None}

    def step(self) -> dict[str, Any] | None:
        return None

    def check(self) -> None:
        return

    def sync(self) -> None:
        return

    def close(self) -> None:
        return


class FileOriginal:
    """The video file that is analysed. It is referred to by its path, or copied into the session's folder.

    Its SHA-256 becomes fact `source_sha256` when the whole file was read, a little at a time. folder: of the session.
    Raises OSError.
    """

    dropped = 0

    def __init__(self, path: Path, folder: Path, *, copies: bool) -> None:
        self._file, self._hash = path.open("rb"), hashlib.sha256()
        self._size = os.fstat(self._file.fileno()).st_size
        self._copy = FileCopy(folder, f"{ORIGINAL_STEM}{path.suffix.lower() or '.video'}") if copies else None

    def place(self, frame: Frame) -> float | None:
        return frame.pts_s if frame.stamp_s is None else frame.stamp_s

    def picture_s(self, place: float | None) -> float | None:
        return place

    def facts(self) -> dict[str, Any]:
        return {"how": "copy", "file": self._copy.name} if self._copy else {"how": "reference", "file": None}

    def step(self) -> dict[str, Any] | None:
        if self._file.closed:
            return None
        chunk = self._file.read(_STEP_BYTES)
        if chunk:
            self._hash.update(chunk)
            if self._copy:
                self._copy.write(chunk)
            return {}
        complete = self._file.tell() == self._size  # else it was shortened or is still being written
        self._file.close()
        if self._copy:
            self._copy.finish()
        return {"source_sha256": self._hash.hexdigest()} if complete else None

    def check(self) -> None:
        return

    def sync(self) -> None:
        return

    def close(self) -> None:
        self._file.close()
        if self._copy:
            self._copy.close()
