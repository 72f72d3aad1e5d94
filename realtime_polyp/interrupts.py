"""Handles Ctrl-C, SIGTERM and SIGHUP from the start of a command to its end. Imports only modules that load fast."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from realtime_polyp.console import EXIT_INTERRUPTED

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_END = b"\0"


class _Listener:
    """Receives signals on a thread of its own, even while the main thread is inside a C library.

    action: called at the first signal, on another thread. A second Ctrl-C or SIGTERM ends the process at once. A
    second SIGHUP does not, because a terminal often sends two when it closes.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self.action, self.heard = action, 0
        self._reads, self._writes = os.pipe()
        if os.name == "posix":
            os.set_blocking(self._writes, False)
        # nohup makes the process ignore SIGHUP; that is kept.
        self._numbers = [one for one in SIGNALS if one == signal.SIGINT or signal.getsignal(one) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, _do_nothing) for number in self._numbers}
        self._fd_before = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Restore the previous signal handlers and end the thread."""
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.write(self._writes, _END)
        self._thread.join()
        os.close(self._writes)
        os.close(self._reads)

    def _listen(self) -> None:
        while (byte := os.read(self._reads, 1)) not in (b"", _END):
            if byte[0] in self._numbers:
                self._hear(byte[0])

    def _hear(self, number: int) -> None:
        self.heard += 1
        if self.heard == 1:
            threading.Thread(target=self.action, name="stop", daemon=True).start()
        elif number != getattr(signal, "SIGHUP", None):
            os._exit(EXIT_INTERRUPTED)


_listener: _Listener | None = None


@contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on a new thread at the first Ctrl-C, SIGTERM or SIGHUP in the block; a second ends the process.

    Blocks may be nested: the innermost action is called. After an inner block only closing down remains, so a first
    signal then does nothing, and a second still ends the process. Outside the main thread nothing is changed, because
    Python handles signals only there.
    """
    global _listener
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _listener:
        _listener.action = action
        try:
            yield
        finally:
            _listener.action = _wait_for_the_end
    else:
        _listener = _Listener(action)
        try:
            yield
        finally:
            _listener.close()
            _listener = None


def was_interrupted() -> bool:
    """Whether a signal has arrived in the current `on_interrupt` block."""
    return _listener is not None and _listener.heard > 0


def _wait_for_the_end() -> None:
    """Do nothing: the sessions have ended, and the command ends soon."""


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle nothing: Python writes to the wakeup descriptor only for signals that have a Python handler."""
