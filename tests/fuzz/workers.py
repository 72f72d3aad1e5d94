"""Worker processes that read mutated files under limits of time and memory; one that breaks them is replaced."""

import importlib
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fuzz.mutations import mutate
from tests.fuzz.target import Target

LIMIT_S = 5.0
LIMIT_MB = 1024
_RECYCLE_AFTER = 400  # readings: what one leaves behind does not add up
_START_LIMIT_S = 120.0
_THREADS_MB = 512  # address space of the stacks and heaps of decoders' threads, which is never touched
_WORD = re.compile(r"[\w.]+(?<!\.)")
_PATIENCE = 4  # times the limit, for the second try
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Task:
    """One reading: mutation `number` of a target; the first numbers are its seeds as they are."""

    target: str
    number: int


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        kind: "read", "refused", or of a finding: "crash", "hang", "memory", "traceback", "message".
        detail: of a finding: the traceback, the signal, the message.
        took_s: time, s.
        memory_mb: most resident memory that the reading added, MB.
    """

    task: Task
    kind: str
    detail: str = ""
    took_s: float = 0.0
    memory_mb: int = 0

    @property
    def is_finding(self) -> bool:
        return self.kind not in ("read", "refused")


def make_file(task: Task, seed: int, seeds: dict[str, bytes], *, text: bool) -> tuple[str, bytes]:
    """Return the seed's name and the mutated content; `seeds` in order of their names."""
    names = sorted(seeds)
    if task.number < len(names):
        return names[task.number], seeds[names[task.number]]
    random_ = random.Random(f"{seed} {task.target} {task.number}")
    name = random_.choice(names)
    return name, mutate(seeds[name], random_, text=text)


class Worker:
    """One process and the task that it works on."""

    def __init__(self, seeds: Path, seed: int, module: str = "tests.fuzz.targets") -> None:
        """module: has the readers, as TARGETS."""
        self._arguments = (seeds, seed, module)
        self._start()

    def _start(self) -> None:
        os.environ["MALLOC_ARENA_MAX"] = "2"  # each arena takes address space, which is limited
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.task: Task | None = None
        self.ready, self._since_s, self._tasks = False, time.monotonic(), 0

    def give(self, task: Task) -> None:
        if self._tasks >= _RECYCLE_AFTER:
            self.replace()
            self._await_ready()
        self.task, self._since_s = task, time.monotonic()
        self._tasks += 1
        self.pipe.send(task)

    def _await_ready(self) -> None:
        if not self.pipe.poll(_START_LIMIT_S) or self.pipe.recv() is not None:
            raise RuntimeError("a worker did not start")
        self.ready = True

    def receive(self) -> Outcome | None:
        """The outcome that has arrived; None for the word that the worker is ready."""
        try:
            found: Outcome | None = self.pipe.recv()
        except (EOFError, ConnectionError):
            found = self._ended()
        if found is None:
            self.ready = True
        self.task = None
        return found

    def _ended(self) -> Outcome:
        self._process.join(10)
        code, task = self._process.exitcode or 0, self.task
        if task is None:
            raise RuntimeError(f"a worker ended with code {code} before it began")
        self.replace()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(task, "crash", name)

    def overdue(self, tried: set[Task]) -> Outcome | None:
        """A finding, once the time is over; the process is replaced. tried: have overrun before, and have longer."""
        took_s = time.monotonic() - self._since_s
        if took_s <= (LIMIT_S * (_PATIENCE if self.task in tried else 1) if self.ready else _START_LIMIT_S):
            return None
        if self.task is None:
            if self.ready:
                return None
            raise RuntimeError("a worker did not start")
        task = self.task
        self.replace()
        return Outcome(task, "hang", f"no end after {took_s:.0f} s", took_s)

    def replace(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def run_tasks(tasks: Iterator[Task], workers: list[Worker]) -> Iterator[Outcome]:
    """Yield the outcome of each task. One that takes too long is tried once more, with more patience."""
    again: list[Task] = []
    tried: set[Task] = set()
    busy = True
    while busy:
        for worker in workers:
            if worker.ready and worker.task is None and (task := again.pop() if again else next(tasks, None)):
                worker.give(task)
        waiting = {worker.pipe: worker for worker in workers if worker.task or not worker.ready}
        busy = any(worker.task for worker in workers) or (bool(again) and bool(waiting))
        busy = busy or any(not worker.ready for worker in workers)
        arrived = [waiting[pipe].receive() for pipe in wait([*waiting], timeout=0.2)]  # type: ignore[index]
        for found in [*arrived, *(worker.overdue(tried) for worker in workers)]:
            if found is None:
                continue
            if found.kind == "hang" and found.task not in tried:
                tried.add(found.task)
                again.append(found.task)
                busy = True
            else:
                yield found


def _serve(pipe: Connection, seeds: Path, seed: int, module: str) -> None:
    """What a worker does: read each file it is told to, and say how that went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    targets: dict[str, Target] = importlib.import_module(module).TARGETS
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)  # decoders complain
    files = {name: read_seeds(seeds / name) for name in targets}
    _limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        pipe.send(None)
        while True:
            try:
                task: Task = pipe.recv()
            except EOFError:
                return
            target = targets[task.target]
            name, data = make_file(task, seed, files[task.target], text=target.text)
            pipe.send(read_one(task, target, data, name, Path(folder)))


def read_seeds(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_one(task: Task, target: Target, data: bytes, seed_name: str, folder: Path) -> Outcome:
    """Let the target read this content from a file, and judge what happens. seed_name: gives the file its suffix."""
    path = folder / task.target / (target.file_name or f"input{Path(seed_name).suffix}")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    loaded_mb = _forget_peak()
    kind, detail, since_s, busy_since_s = "read", "", time.monotonic(), time.process_time()
    try:
        target.read(path)
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        kind, detail = _judge(error, target, path)
    took_s = time.monotonic() - since_s
    busy_s = time.process_time() - busy_since_s
    memory_mb = _peak_mb() - loaded_mb  # the libraries of all readers take 450 MB
    if memory_mb > LIMIT_MB and kind in ("read", "refused"):
        kind, detail = "memory", f"{memory_mb} MB"
    if min(busy_s, took_s) > LIMIT_S and kind in ("read", "refused"):  # a busy machine is no finding
        kind, detail = "hang", f"{busy_s:.1f} s of computing"
    return Outcome(task, kind, detail, took_s, memory_mb)


def _forget_peak() -> int:
    """Begin to measure the peak of resident memory anew; return what is resident now, MB."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0
    clear.write_text("5")  # Linux: reset VmHWM
    return _status_mb("VmRSS")


def _peak_mb() -> int:
    """Most resident memory, MB. Not ru_maxrss where it can be helped: it begins with the parent process's memory."""
    if not Path("/proc/self/status").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return _status_mb("VmHWM")


def _status_mb(field: str) -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[field].split()[0]) // 1024


def _judge(error: BaseException, target: Target, path: Path) -> tuple[str, str]:
    """A documented class with one short sentence is a refusal; anything else is a finding."""
    if isinstance(error, MemoryError):
        return "memory", "".join(traceback.format_exception(error))
    if type(error) not in target.errors:
        return "traceback", "".join(traceback.format_exception(error))
    message = str(error)
    if not message.strip() or "\n" in message or len(message) > 1000:
        return "message", f"not one short sentence: {message[:2000]!r}"
    if target.text and not {path.name, path.parent.name} & set(
        _WORD.findall(message)
    ):  # a video's name is on the screen
        return "message", f"names no file: {message}"
    return "refused", message


def _limit_memory() -> None:
    """Let an allocation of a gigabyte beyond what is loaded fail, before the machine runs out of memory."""
    if not sys.platform.startswith("linux"):
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ((LIMIT_MB + _THREADS_MB) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
