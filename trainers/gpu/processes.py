"""Runs commands with a time limit, each in a process group of its own, with their output in a log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ENDING_S = 3.0


@dataclass(frozen=True)
class Command:
    """A Python module to run.

    Attributes:
        name: of its log file, without the suffix.
        words: module and arguments.
        environment: variables that differ from this process's.
    """

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        name: of the command.
        code: exit code; None if it was stopped at the limit.
        took_s: duration.
        last_line: of its output.
    """

    name: str
    code: int | None
    took_s: float
    last_line: str

    @property
    def sentence(self) -> str:
        state = f"stopped after {self.took_s:.0f} s" if self.code is None else f"exit code {self.code}"
        return f"{self.name}: {state}{f', {self.last_line}' if self.last_line and self.code != 0 else ''}"


def start(command: Command, logs: Path) -> "subprocess.Popen[bytes]":
    """Start a command; its output is appended to its log."""
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **command.environment}
    with log_of(command.name, logs).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *command.words],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )


def run_all(
    commands: Sequence[Command], limit_s: float, logs: Path, *, watch: Callable[[], None] | None = None
) -> list[Ended]:
    """Run commands at the same time, and stop those that run longer than `limit_s`.

    watch: called many times a second meanwhile.
    """
    began_s = time.monotonic()
    running = {command.name: start(command, logs) for command in commands}
    took_s: dict[str, float] = {}
    try:
        while len(took_s) < len(running) and time.monotonic() - began_s < limit_s:
            for name, process in running.items():
                if process.poll() is not None:
                    took_s.setdefault(name, time.monotonic() - began_s)
            if watch:
                watch()
            time.sleep(0.05)
        if watch:
            watch()
    finally:
        for process in running.values():
            stop(process)
    whole_s = time.monotonic() - began_s
    return [
        Ended(name, process.returncode if name in took_s else None, took_s.get(name, whole_s), last_line(name, logs))
        for name, process in running.items()
    ]


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a command and its children; do nothing if it has ended."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def log_of(name: str, logs: Path) -> Path:
    return logs / f"{name}.txt"


def last_line(name: str, logs: Path) -> str:
    """Return the last line of a command's log; "" without one. A progress bar's returns count as line ends."""
    path = log_of(name, logs)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = text.replace("\r", "\n").strip().splitlines()
    return lines[-1][-300:] if lines else ""
