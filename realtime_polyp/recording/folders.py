"""The folder of a recorded session: where it may be, what it is called, and that it is still there."""

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from realtime_polyp.messages import full_path
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.private_files import make_private_folder, open_private

LEAST_FREE_BYTES = 64 << 20
"""A session is not begun on a disk with less room than this."""

_RESERVE_BYTES = 1 << 20
_LONGEST_NAME = 60
_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


def check_record(folder: Path, sources: Sequence[str] = ()) -> None:
    """Check that sessions can be recorded in a folder, which is created. Raises OutputError, one sentence.

    sources: what is analysed; a folder of stills must not take recordings.
    """
    try:
        for source in sources:
            if Path(source).is_dir() and _is_within(folder, Path(source)):
                raise _refusal(folder, "it lies in the folder of stills that is analysed; name another folder")
        if folder.exists() and not folder.is_dir():
            raise _refusal(folder, "it is a file; name a folder")
        make_private_folder(folder)
        trial = folder / f".checked-by-{os.getpid()}"
        trial.mkdir()
        trial.rmdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _refusal(folder, reason_of(error)) from error
    except ValueError as error:
        if isinstance(error, OutputError):
            raise
        raise _refusal(folder, f"its name cannot be used: {error}") from error
    if free < LEAST_FREE_BYTES:
        found, least = free / 2**20, LEAST_FREE_BYTES >> 20
        raise _refusal(folder, f"its disk has {found:.0f} MB left, and a recording needs {least} MB; make room")


def new_session_folder(folder: Path, source_name: str) -> Path:
    """Create the folder of a new session, named after the time (UTC) and the source. Raises OutputError."""
    utc = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = _NOT_IN_NAMES.sub("-", source_name).strip("-.")[:_LONGEST_NAME] or "source"
    try:
        make_private_folder(folder)
        for number in range(1, 1000):
            place = folder / (f"{utc}-{name}" if number == 1 else f"{utc}-{name}-{number}")
            try:
                place.mkdir(0o700)
                return place
            except FileExistsError:  # several sources that begin in the same second
                continue
    except OSError as error:
        raise _refusal(folder, reason_of(error)) from error
    raise _refusal(folder, f"it holds too many sessions of {utc}")


Found = Literal["there", "moved", "removed"]

WHERE: dict[Found, str] = {
    "moved": "the folder {folder} was moved or unmounted while recording, which goes on where it went",
    "removed": "the folder {folder} was removed while recording; everything recorded so far was written there again",
}
"""What a person is told."""


class WatchedFile:
    """Tells what became of a file that another library writes. Call `forget` only after that has closed it: closing any
    handle of a file gives up SQLite's locks on it."""

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path, os.open(path, os.O_RDONLY)
        self._known: Found = "there"

    def find(self) -> Found:
        """What became of it; "there" again where that was found before. Raises OSError."""
        found = self._look()
        if found == self._known and found == "moved":
            return "there"
        self._known = found
        return found

    def forget(self) -> None:
        with suppress(OSError):
            os.close(self._handle)

    def _look(self) -> Found:
        own = os.fstat(self._handle)
        try:
            if os.path.samestat(os.stat(self._path), own):
                return "there"
        except PermissionError:
            return "there"
        except OSError:
            pass
        return "removed" if own.st_nlink == 0 else "moved"


class Reserve:
    """Room on the disk that is given back when the disk is full, so that a session can still be ended."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".reserve"
        with suppress(OSError), open(open_private(self._path, new=True), "wb") as file:
            file.write(bytes(_RESERVE_BYTES))

    def release(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _is_within(folder: Path, other: Path) -> bool:
    inside, outside = Path(os.path.realpath(folder)), Path(os.path.realpath(other))
    return inside == outside or outside in inside.parents


def _refusal(folder: Path, why: str) -> OutputError:
    return OutputError(f"cannot record to {full_path(folder)}: {why}")
