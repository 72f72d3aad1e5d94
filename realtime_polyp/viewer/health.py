"""The condition of everything: the player's, the recording's and the disk's; and the log of what it was."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from realtime_polyp.viewer.condition import Condition, condition_of
from realtime_polyp.viewer.player import Player

LOW_BYTES = 1 << 30
"""A disk that is written to with less room than this is low: some minutes of uncompressed HD."""

_LOOK_S = 0.8
_NOT_LOGGED = ("ready", "running", "seeking", "paused", "view not clear", "playing slowly", "ended")


@dataclass(frozen=True)
class Watched:
    """What a window watches besides its player.

    Attributes:
        recording_failed: returns why nothing is recorded any more, one sentence; "" while all is well.
        folders: returns the folders that are written to now.
        log: takes each condition that a person should know of later, and the one that ended it.
    """

    recording_failed: Callable[[], str] = str
    folders: Callable[[], Sequence[Path]] = tuple
    log: Callable[[Condition], None] = lambda condition: None


class Health:
    """Returns the most serious condition of a player, its recording and the disk. Owned by the window's thread."""

    def __init__(self, player: Player, watched: Watched) -> None:
        self._player, self._watched = player, watched
        self._disk = DiskWatch()
        self._logged = False  # the last condition was

    def condition(self) -> Condition:
        disk_low = self._disk.look(self._watched.folders())
        state = replace(self._player.state(), recording_failed=self._watched.recording_failed(), disk_low=disk_low)
        return condition_of(state)

    def log(self, condition: Condition) -> None:
        """Take note of another condition."""
        is_logged = condition.name not in _NOT_LOGGED
        if is_logged or self._logged:
            self._watched.log(condition)
        self._logged = is_logged


class DiskWatch:
    """Tells when a disk has little room left. It looks on threads of its own: a disk may hang.

    free_bytes: returns the room on the disk of a folder. low_bytes: less is little.
    """

    def __init__(
        self,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        *,
        low_bytes: int = LOW_BYTES,
    ) -> None:
        self._free_bytes, self._low_bytes = free_bytes, low_bytes
        self._found = ""
        self._looked_s = -_LOOK_S
        self._thread: threading.Thread | None = None

    def look(self, folders: Sequence[Path]) -> str:
        """Return what was found last, one sentence; "" where there is room enough. Looks again once per second."""
        if not folders:
            self._found = ""
        elif time.monotonic() - self._looked_s > _LOOK_S and not (self._thread and self._thread.is_alive()):
            self._looked_s = time.monotonic()
            self._thread = threading.Thread(target=self._look, args=(list(folders),), name="disk", daemon=True)
            self._thread.start()
        return self._found

    def _look(self, folders: list[Path]) -> None:
        found = []
        for folder in folders:
            try:
                free = self._free_bytes(folder)
            except OSError:  # it is gone: the recording says so
                continue
            if free < self._low_bytes:
                found.append((free, folder))
        self._found = _sentence(*min(found)) if found else ""


def _sentence(free: int, folder: Path) -> str:
    return f"{free / 2**20:.0f} MB are left for {folder}: make room, or end the recording"
