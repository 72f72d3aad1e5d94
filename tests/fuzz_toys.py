"""Readers that go wrong in every way, for the tests of the fuzzer."""

import os
import time
from pathlib import Path

from tests.fuzz.target import Target


class ToyError(ValueError):
    """The documented one."""


def read(path: Path) -> None:
    match path.read_text():
        case "crash":
            os.abort()
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(60)
        case "memory":
            bytearray(3 << 30)
        case "traceback":
            raise UnicodeDecodeError("utf-8", b"", 0, 1, path.name)
        case "lines":
            raise ToyError(f"{path.name} is bad\nin two lines")
        case "nameless":
            raise ToyError("it is bad")
        case "refused":
            raise ToyError(f"{path.name} is bad")


TARGETS = {"toy": Target(read, (ToyError,))}
