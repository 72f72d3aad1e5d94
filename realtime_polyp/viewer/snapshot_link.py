"""The window's key for a snapshot: the picture on the screen is saved in the background."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.snapshot import Saved, error_message, save_snapshot, saved_message

_SAVE_LIMIT_S = 3.0


class SnapshotLink:
    """Saves what a player shows on another thread: the picture on the screen must not wait for the disk.

    folder: returns where snapshots go. style: returns how the overlay is drawn. blank: returns whether everything
    outside the field of view is left out. say: shows a message to the user.
    """

    def __init__(
        self,
        player: Player,
        folder: Callable[[], Path],
        style: Callable[[], OverlayStyle],
        blank: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._player, self._folder, self._style, self._blank, self._say = player, folder, style, blank, say
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._saving: Future[Saved] | None = None

    def actions(self) -> dict[Action, Callable[[], None]]:
        return {"snapshot": self.start}

    def start(self) -> None:
        """Begin to save, unless a snapshot is being saved."""
        displayed = self._player.displayed
        if displayed is None:
            self._say("There is no picture to save yet")
        elif self._saving:
            self._say("The previous snapshot is still being saved")
        else:
            where, blank = (self._folder(), self._player.info.name, datetime.now()), self._blank()
            earlier = self._player.presenter.newest
            self._saving = self._saver.submit(
                save_snapshot, displayed, self._style(), *where, blank=blank, earlier=earlier
            )

    def show_news(self) -> None:
        """Tell what became of a snapshot."""
        if self._saving is None or not self._saving.done():
            return
        saving, self._saving = self._saving, None
        try:
            self._say(saved_message(saving.result()))
        except OSError as error:
            self._say(error_message(error, self._folder()))

    def close(self) -> None:
        """Wait for a snapshot that is being saved, for a few seconds at most."""
        self._saver.shutdown(wait=False)
        if self._saving:  # a disk that does not answer must not keep the window's process alive
            wait([self._saving], _SAVE_LIMIT_S)
