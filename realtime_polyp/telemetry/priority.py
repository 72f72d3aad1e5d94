"""Lowers the priority of the models' threads, so the display never waits for them on a busy machine."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_LAST = 19  # lowest priority of Linux


def lower_thread_priority(niceness: int = _LAST) -> None:
    """Give the calling thread, and threads that it starts, a low priority: the lowest, or a niceness of 0..19.

    It is never raised, as in a program that was started with `nice`: only root may do that. Only on Linux, where
    priorities are per thread; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


def with_low_priority(work: Callable[[], T]) -> T:
    """Run `work` on a thread of low priority and return its result. Threads that a library starts inherit it."""
    with ThreadPoolExecutor(1, initializer=lower_thread_priority) as pool:
        return pool.submit(work).result()
