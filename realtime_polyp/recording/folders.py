"""The folder of a recorded session: where it may be, what it is called, and that it is still there."""

import os
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from realtime_polyp.messages import printable
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.private_files import make_private_folder

LEAST_FREE_BYTES = 64 << 20
"""A session is not begun on a disk with less room than this."""

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


def new_session_folder(folder: Path, source_name: str, begins: datetime | None = None) -> Path:
    """Create the folder of a new session, named after the time (UTC) and the source. Raises OutputError."""
    utc = (begins or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
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


def _is_within(folder: Path, other: Path) -> bool:
    inside, outside = Path(os.path.realpath(folder)), Path(os.path.realpath(other))
    return inside == outside or outside in inside.parents


def _refusal(folder: Path, why: str) -> OutputError:
    return OutputError(f"cannot record to {printable(folder)}: {why}")
