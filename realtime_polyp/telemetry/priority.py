"""Who gives way when cores are scarce: the models, because the picture never waits for them."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_LAST = 19  # of Linux's nice values


def lower_thread_priority() -> None:
    """From now on the calling thread runs when nobody else wants its core, and so do threads that it starts.

    On Linux, where every thread has a priority of its own; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST)


def with_low_priority(work: Callable[[], T]) -> T:
    """What `work` returns, done on a thread that gives way: a library's threads that it starts go on giving way."""
    with ThreadPoolExecutor(1, initializer=lower_thread_priority) as pool:
        return pool.submit(work).result()
