"""Commands of the trainers in processes that need not import torch: forked by one that has, and as real as any other.

Two thirds of a short training run are imports. The forking process does nothing else: no thread, no lock, no pool of
another test is copied with it, as it would be from the process of pytest.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
# With what they would load at their first step and first curve.
_MODULES = ("torch._dynamo", "matplotlib.backends.backend_agg", "trainers.reproduce", "trainers.train_detector")


class Forks:
    """Starts the commands.

    log: their output, both streams, one after another.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process, self.log = process, log

    def start(self, module: str, arguments: list[str], environment: dict[str, str] | None = None) -> int:
        """Start `python -m MODULE ARGUMENTS` and return its process number."""
        return self._ask({"module": module, "arguments": arguments, "environment": environment or {}})

    def wait(self, number: int) -> int:
        """Return the exit code of a command; below 0: the signal that ended it."""
        return self._ask({"wait": number})

    def finish(self, module: str, arguments: list[str]) -> str:
        """Return the output of a command that succeeds."""
        before = self.log.stat().st_size
        code = self.wait(self.start(module, arguments))
        output = self.log.read_bytes()[before:].decode()
        assert code == 0, output[-2000:]
        return output

    def kill(self, number: int) -> None:
        """Kill a command without warning. One that has ended is left."""
        os.kill(number, signal.SIGKILL)  # until it is waited for, the number is its own
        self.wait(number)

    def _ask(self, request: dict[str, object]) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def open_forks(log: Path) -> Iterator[Forks]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__]
    with log.open("wb") as file, subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
    ) as process:  # fmt: skip
        yield Forks(process, log)
        assert process.stdin
        process.stdin.close()  # ends it


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool], limit_s: float = 200) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


# --- the forking process


class ForkedPopen:
    """What a queue asks of `subprocess.Popen` for the process of a row, [python, -m, MODULE, *ARGUMENTS]."""

    def __init__(self, words: list[str], *, stdout: IO[str], env: dict[str, str], **_: object) -> None:
        self._number = fork(words[2], words[3:], env, stdout)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.wait(os.WNOHANG)

    def wait(self, options: int = 0) -> int | None:
        if self.returncode is None and (ended := os.waitpid(self._number, options))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self._number, signal.SIGKILL)


def fork(module: str, arguments: list[str], environment: dict[str, str], output: IO[str]) -> int:
    """Run the `main` of a module in a new process, and return its number."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        tqdm.set_lock(threading.RLock())  # the one that processes share stays locked when its holder is killed
        os.environ.update(environment)
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        importlib.import_module(module).main(arguments)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException as error:  # noqa: BLE001 - also what is no Exception
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:  # whatever happened: this process must not go on as the forking one
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    from trainers import reproduce

    tqdm.monitor_interval = 0  # no thread in a process that forks
    popen = SimpleNamespace(Popen=ForkedPopen, STDOUT=subprocess.STDOUT, DEVNULL=subprocess.DEVNULL)
    reproduce.subprocess = popen  # type: ignore[attr-defined]
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = fork(request["module"], request["arguments"], request["environment"], sys.stderr)
        print(answer, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    serve()
