"""A thread of its own for the outputs, so that a slow disk never delays the screen."""

import threading
from collections.abc import Sequence
from contextlib import suppress

from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.outputs.base import Output, OutputError
from realtime_polyp.outputs.group import OutputGroup
from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.outputs.session_writer import Item, SessionWriter
from realtime_polyp.packets import Frame, Result
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.watchdog import Stall, StalledError

_QUEUED = 32
_POLL_S = 0.2
_NICENESS = 10  # below the display; above the analysis, because a captured picture that is lost does not come back

__all__ = ["OutputGroup", "Recorder"]


class Recorder:
    """Writes on a thread of its own.

    live: when the disk or the encoder is too slow, drop the oldest picture, or else the oldest result, and count it in
        `dropped_pictures` or `dropped`; otherwise the source waits. It may be set at a jump.
    every_picture: the session also offers its captured pictures (`add_picture`), and a saved video keeps all of them.
    error: the first failure; that output ends, the others and the session go on, and the viewer says so.
    """

    def __init__(self, outputs: Sequence[Output], *, live: bool, every_picture: bool = False) -> None:
        self.dropped = self.dropped_pictures = 0
        self._group = OutputGroup(outputs)
        self._takes_pictures = self._group.takes_pictures
        self._writer = SessionWriter(self._group, every_picture=every_picture)
        self._items: Channel[Item] = Channel(_QUEUED, live=live, on_drop=self._count, choose=_least_needed)
        # A daemon thread: a disk that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._write_all, name="record", daemon=True)
        self._thread.start()

    @property
    def errors(self) -> list[OutputError]:
        """As `OutputGroup.errors`."""
        return self._group.errors

    @property
    def error(self) -> OutputError | None:
        return next(iter(self._group.errors), None)

    @property
    def live(self) -> bool:
        return self._items.live

    @live.setter
    def live(self, live: bool) -> None:
        self._items.live = live

    @property
    def on_disk(self) -> tuple[str, ...]:
        """As `OutputGroup.on_disk`."""
        return self._group.on_disk

    @property
    def notices(self) -> tuple[str, ...]:
        """As `OutputGroup.notices`."""
        return self._group.notices

    def write(self, result: Result) -> None:
        self._put(result)

    def add_picture(self, frame: Frame) -> None:
        """Take a captured picture, before its result; only where an output wants it."""
        if self._takes_pictures:
            self._put(frame)

    def jump(self, jump: Jump) -> None:
        """Take note that the session goes on elsewhere. It never waits: the window calls it."""
        with suppress(Stopped):
            self._items.put_now(jump)

    def _put(self, item: Item) -> None:
        with suppress(Stopped):  # every output has failed
            self._items.put(item)

    def stalled(self, limit_s: float) -> Stall | None:
        """As `OutputGroup.stalled`."""
        return self._group.stalled(limit_s)

    def close(self, within_s: float | None = None) -> None:
        """Write what is queued and close every output. Raises the first OutputError.

        within_s: limit for one result, s; when it is exceeded, the outputs that do not hang are closed and
            StalledError is raised. None: no limit.
        """
        self._items.close()
        while self._thread.is_alive():
            self._thread.join(within_s and min(within_s, _POLL_S))
            if within_s is not None and (stall := self.stalled(within_s)):
                others = threading.Thread(target=self._close_outputs, name="close", daemon=True)
                others.start()
                others.join(within_s)
                raise StalledError(stall)
        if self._group.errors:
            raise self._group.errors[0]

    def _write_all(self) -> None:
        try:
            self._give_way()
            for items in self._items.batches(1):
                self._writer.write(items[0])
                if isinstance(items[0], Jump):
                    self._give_way()
            self._writer.finish()
        except (OutputError, Stopped):
            return
        finally:  # whatever happened, nothing may wait for this thread
            self._items.stop()
            self._close_outputs()

    def _give_way(self) -> None:
        """Lower this thread's priority where encoding would take the processor from the display."""
        if self.live and self._takes_pictures:
            with suppress(PermissionError):  # the process has a lower one already
                lower_thread_priority(_NICENESS)

    def _close_outputs(self) -> None:
        with suppress(OutputError):  # it stays in `errors`
            self._group.close()

    def _count(self, item: Item, reason: str) -> None:
        self.dropped += isinstance(item, Result)
        self.dropped_pictures += isinstance(item, Frame)


def _least_needed(items: Sequence[Item]) -> int:
    """The oldest picture; without one the oldest result; a jump only where nothing else waits."""
    for kind in (Frame, Result):
        for index, item in enumerate(items):
            if isinstance(item, kind):
                return index
    return 0
