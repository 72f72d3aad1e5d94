"""The log of what persons say about a session: reads it, adds to it, and undoes. `actions` has what can be said.

Several windows and the recorder may write to one session at the same time.
"""

import getpass
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from realtime_polyp.recording.opening import open_session_file
from realtime_polyp.recording.schema import SESSION_FILE
from realtime_polyp.review.actions import (
    NEW_POLYP,
    Action,
    ActionError,
    Judgement,
    Redo,
    Said,
    Stretch,
    Undo,
    check_readable,
    insert_action,
    judge,
    next_redo,
    next_undo,
    read_actions,
)
from realtime_polyp.review.recorded import SessionFileError

_NO_WRITER: sqlite3.Connection | None = None
_LOCK_S, _RETRY_S = 5.0, 0.004  # the recorder's transactions last a second, and it pauses for one frame between two


def account_name() -> str:
    """Return the account's name, the author of what is said.

    "unknown" where the account has a number alone, as in some containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


class ActionLog:
    """The actions of a session that is open for judging, also while another process still records it.

    Attributes:
        actions: everything that was said, in order.
        judgement: what it adds up to.
    """

    def __init__(self, folder: Path, *, author: str | None = None) -> None:
        """author: who judges; None: the account's name. Raises SessionFileError."""
        self.author, self._folder = author or account_name(), folder
        path = folder / SESSION_FILE
        if not path.is_file():
            raise SessionFileError(f"{folder} is no recorded session: it has no {SESSION_FILE}")
        self._path, self._writer = path, _NO_WRITER
        self.actions: tuple[Action, ...] = ()
        self.judgement = Judgement()
        try:
            self._database = open_session_file(path)
            self.refresh()
        except (sqlite3.Error, OSError) as error:
            raise SessionFileError(f"{path} cannot be read: {error}") from error

    def add(self, said: Said) -> Action:
        """Store what a person said, and return the row. A stretch of `NEW_POLYP` gets the next free number.

        Raises ActionError; nothing is stored then.
        """
        check_readable(said)
        try:
            action = self._insert(said)
        except sqlite3.Error as error:
            raise ActionError(_sentence(error, self._folder)) from error
        self.refresh()
        return action

    def undo(self) -> Action | None:
        """Take back the author's last action, and return it; None where there is none. Raises ActionError."""
        last = next_undo(self.actions, self.author)
        if last:
            self.add(Undo(last.action))
        return last

    def redo(self) -> Action | None:
        """Bring back the action that was taken back last, and return it; None where there is none."""
        last = next_redo(self.actions, self.author)
        if last:
            self.add(Redo(last.action))
        return last

    def refresh(self) -> bool:
        """Read what others have said meanwhile. Returns whether there was anything."""
        new = read_actions(self._database, after=self.actions[-1].action if self.actions else 0)
        if new:
            self.actions += new
            self.judgement = judge(self.actions)
        return bool(new)

    def close(self) -> None:
        self._database.close()
        if self._writer:
            self._writer.close()

    def __enter__(self) -> "ActionLog":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _insert(self, said: Said) -> Action:
        """Add a row and its entry in the chain, all or nothing. Raises sqlite3.Error."""
        writer = self._begin()
        try:
            if isinstance(said, Stretch) and said.polyp == NEW_POLYP:
                self.refresh()  # another window may have marked one; none can until this transaction ends
                said = replace(said, polyp=self._free_number())
            action = insert_action(writer, said, author=self.author)
            writer.execute("COMMIT")
        except BaseException:  # an open transaction would keep a recorder from writing
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return action

    def _free_number(self) -> int:
        """The number for another marked polyp. One that somebody else took back is not free: they may redo it."""
        theirs = [one.said for one in self.actions if one.author != self.author]
        return min([self.judgement.next_marked(), *(said.polyp - 1 for said in theirs if isinstance(said, Stretch))])

    def _begin(self) -> sqlite3.Connection:
        """Begin a transaction, and return its connection: a second one, since reading works where writing does not.

        Waits for the recorder's gap between two transactions: SQLite's own waiting would sleep through it.
        """
        if self._writer is None:
            self._writer = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.0)
        deadline_s = time.monotonic() + _LOCK_S
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                return self._writer
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
                time.sleep(_RETRY_S)


def _sentence(error: sqlite3.Error, folder: Path) -> str:
    reason = str(error)
    if "readonly" in reason or "unable to open" in reason:
        return f"{folder} cannot be written, so nothing is stored: copy the session to a disk and judge the copy"
    if "locked" in reason:
        return f"{folder} is being written by another program, so nothing is stored: try again"
    if "full" in reason:
        return f"the disk of {folder} is full, so nothing is stored: free some space and try again"
    return f"nothing is stored in {folder}: {reason}"
