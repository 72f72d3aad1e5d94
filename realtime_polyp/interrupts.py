"""Ctrl-C, SIGTERM and SIGHUP, from a command's first line to its last. Imports nothing that takes time."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_END = b"\0"


class _Listener:
    """Hears signals on a thread of its own, also while the main thread waits inside a C library.

    action: called at the first signal, on another thread. A second Ctrl-C or SIGTERM ends the process at once. A
    second SIGHUP does not: a terminal that closes often sends two.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self.action, self.heard = action, 0
        self._reads, self._writes = os.pipe()
        if os.name == "posix":
            os.set_blocking(self._writes, False)
        # nohup asks for SIGHUP to be ignored.
        self._numbers = [one for one in SIGNALS if one == signal.SIGINT or signal.getsignal(one) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, _do_nothing) for number in self._numbers}
        self._fd_before = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Restore what was before."""
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
    """Inside, the first of Ctrl-C, SIGTERM and SIGHUP calls `action` on a thread of its own; a second ends the process.

    May be nested: the innermost counts. When an inner one is left, what remains is to close down, so that a first
    signal does nothing from then on, and a second still ends the process. On threads other than the main thread
    signals are left as they are.
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
    """Whether a signal has been heard inside the present `on_interrupt`."""
    return _listener is not None and _listener.heard > 0


def _wait_for_the_end() -> None:
    """The sessions are over; what is left takes moments."""


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """The listener hears it. A handler of Python's is what makes the interpreter tell the listener."""
