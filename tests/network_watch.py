"""Runs every command in this process and writes down each attempt to reach another machine or to start a program.

python tests/network_watch.py imports|line RECORD FOLDER. The record has a line per attempt, also of forked processes.
What the operating system does for a library that is not written in Python goes unseen: look with strace -f -e network.
"""

import contextlib
import importlib
import io
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("realtime_polyp", "trainers", "calibration")
# Other interpreters run it; it needs a package of its own, or starts to measure at once.
LEFT_OUT = ("realtime_polyp.bench.ultralytics_loop", "realtime_polyp.bench.__main__", "realtime_polyp.bench.card")
COMMANDS = ("run_live", "realtime_polyp.bench.__main__", "realtime_polyp.bench.gpu", "realtime_polyp.bench.naive")
_STARTS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec")
_NETWORK = (
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostby",
    "socket.bind",
)


def watch(record: Path) -> None:
    """Write attempts to `record`, and let none succeed that leads to another machine."""
    handle = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        network = event.startswith((*_NETWORK, "urllib.", "http.", "ftplib.", "smtplib."))
        if event.startswith("socket.") and isinstance(arguments[-1], str | bytes):
            network = network and not event.startswith(("socket.connect", "socket.bind"))  # a local socket's path
        if network or event in _STARTS:
            os.write(handle, f"{event} {arguments!r:.200}\n".encode())
        if network:
            raise PermissionError(f"{event} is not allowed here")

    sys.addaudithook(hook)


def check_hook(record: Path) -> None:
    import socket

    with contextlib.suppress(PermissionError):
        socket.create_connection(("203.0.113.1", 80))
    assert "203.0.113.1" in record.read_text(), "the hook sees nothing"
    os.truncate(record, 0)


def import_everything() -> list[str]:
    """Import each module of the packages; returns those that are commands."""
    names = []
    for package in PACKAGES:
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if found.name not in LEFT_OUT:
                names.append(found.name)
    commands = [*COMMANDS]
    for name in names:
        module = importlib.import_module(name)
        if name.count(".") == 1 and not name.startswith("realtime_polyp") and hasattr(module, "main"):
            commands.append(name)
    return commands


def ask_for_help(command: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        importlib.import_module(command).main(["--help"])
    assert "usage" in said.getvalue(), command


def convert_and_quantize() -> None:
    """What engines and calibration.int8 do, with a layer in place of a model."""
    import nncf
    import numpy as np
    import openvino as ov
    import torch

    image = torch.zeros(1, 3, 8, 8)
    graph = ov.convert_model(torch.nn.Conv2d(3, 4, 3), example_input=image, input=[(1, 3, 8, 8)])
    nncf.quantize(graph, nncf.Dataset([np.zeros((1, 3, 8, 8), np.float32)] * 2), subset_size=2)


def run_line(folder: Path) -> None:
    """A headless run and the library's own function, with the models that come with the project."""
    from media import write_clip

    import realtime_polyp
    import run_live

    clip = folder / "clip.mp4"
    write_clip(clip, count=5, size=(320, 256), rate=5)
    outputs = [word for kind in ("results", "summary", "events") for word in (f"--{kind}", str(folder / kind))]
    assert run_live.main(["--source", str(clip), "--headless", "--save", str(folder / "out.mp4"), *outputs]) == 0
    assert len(list(realtime_polyp.analyse(str(clip)))) >= 5


def main(what: str, record: Path, folder: Path) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    watch(record)
    check_hook(record)
    if what == "line":
        run_line(folder)
    else:
        for command in import_everything():
            ask_for_help(command)
        convert_and_quantize()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
