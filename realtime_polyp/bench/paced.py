"""A clip as a camera would send it, watched in the real viewer: what is dropped, and both delays at the paint.

Delays begin when `Paced` hands a frame over, after it was decoded and due: they are what the line adds beyond decoding.
The viewer runs in a process of its own (`watching.py`), on the screen there is, or on a virtual one.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from realtime_polyp.bench.line import Setup
from realtime_polyp.bench.subprocesses import told_by
from realtime_polyp.viewer.qt_setup import display_problem

_VIRTUAL_SIZE = "1920x1080"


def paced(setup: Setup, clip: Path, minutes: float, *, full_screen: bool = False) -> dict[str, Any]:
    """The session's summary, with jitter, memory, and which screen was painted on."""
    asked = {**asdict(setup), "clip": str(clip), "length_s": minutes * 60, "full_screen": full_screen}
    command = [sys.executable, "-m", "realtime_polyp.bench.watching", json.dumps(asked)]
    with screen() as (name, environment):
        return {"minutes": minutes, "screen": name, **told_by(command, environment=environment, quiet=False)}


@contextlib.contextmanager
def screen() -> Iterator[tuple[str, dict[str, str]]]:
    """What to paint on, and the environment that leads there: the display there is, else a virtual one, else memory."""
    if display_problem() is None:
        platform = os.environ.get("QT_QPA_PLATFORM")
        yield (f"Qt's {platform}" if platform else f"display {os.environ.get('DISPLAY', 'of this desktop')}"), {}
    elif shutil.which("Xvfb"):
        with _virtual_display() as display:
            yield f"virtual display (Xvfb), {_VIRTUAL_SIZE}", {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    else:
        yield "memory (Qt's offscreen): there is neither a display nor Xvfb", {"QT_QPA_PLATFORM": "offscreen"}


@contextlib.contextmanager
def _virtual_display() -> Iterator[str]:
    """An X server without a monitor, on the first number that is free."""
    reads, writes = os.pipe()
    command = ["Xvfb", "-displayfd", str(writes), "-screen", "0", f"{_VIRTUAL_SIZE}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writes], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writes)
    try:
        with os.fdopen(reads) as pipe:
            number = pipe.readline().strip()  # empty when the server has gone
        if not number:
            raise ValueError("Xvfb did not start: run it by hand to see why, or set QT_QPA_PLATFORM=offscreen")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()
