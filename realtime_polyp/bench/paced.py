"""Plays a clip in real time in the real viewer, and measures dropped frames and both delays at the paint.

Delays begin when `Paced` hands over a decoded frame that is due: they are what the pipeline adds after decoding. The
viewer runs in a process of its own (`watching.py`), on the display or on a virtual one.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from realtime_polyp.bench.commands import module_command, run_json_command
from realtime_polyp.runtime import RuntimeConfig
from realtime_polyp.viewer.qt_setup import display_problem

_VIRTUAL_SIZE = "1920x1080"


def run_live_viewer(config: RuntimeConfig, clip: Path, minutes: float, *, full_screen: bool = False) -> dict[str, Any]:
    """Return the session's summary, with jitter, memory, and the screen that was used."""
    given = {"config": asdict(config), "clip": str(clip), "length_s": minutes * 60, "full_screen": full_screen}
    command = module_command("realtime_polyp.bench.watching", json.dumps(given))
    with screen() as (name, environment):
        return {"minutes": minutes, "screen": name, **run_json_command(command, environment=environment, quiet=False)}


@contextlib.contextmanager
def screen() -> Iterator[tuple[str, dict[str, str]]]:
    """Choose a screen: the display, else a virtual one, else memory. Yields its name and environment variables."""
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
    """Start an X server without a monitor on the first free display number, and yield its name."""
    reads, writes = os.pipe()
    command = ["Xvfb", "-displayfd", str(writes), "-screen", "0", f"{_VIRTUAL_SIZE}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writes], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writes)
    try:
        with os.fdopen(reads) as pipe:
            number = pipe.readline().strip()  # empty if the server has ended
        if not number:
            raise ValueError("Xvfb did not start: run it by hand to see why, or set QT_QPA_PLATFORM=offscreen")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()
