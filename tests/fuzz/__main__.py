"""Give mutated files to every reader and list what crashes, hangs, takes a gigabyte or ends in a traceback.

A file may be read, or refused with one sentence of a documented error class. Findings are saved so that they can be
given to the reader again: python -m tests.fuzz --replay FILE. The same --seed makes the same files.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from realtime_polyp.telemetry.text_table import format_table
from tests.fuzz import media_seeds, targets
from tests.fuzz.workers import Outcome, Task, Worker, make_file, read_one, read_seeds, run_tasks

_MARK = "--"  # in a finding's name: TARGET--KIND--NUMBER--NAME


def main(arguments: list[str] | None = None) -> int:
    options = command_line().parse_args(arguments)
    if options.replay:
        return replay(options.replay)
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder)
        write_seeds(seeds)
        outcomes = fuzz(options, seeds)
        save_findings(outcomes, options, seeds)
    print(summary(outcomes))
    findings = [one for one in outcomes if one.is_finding]
    if findings:
        print(f"{len(findings)} findings in {options.findings}: python -m tests.fuzz --replay FILE")
    return int(bool(findings))


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--count", type=int, default=2000, help="mutations of each target; default: %(default)s")
    add("--seconds", type=float, help="end after this time, with as many of each target")
    add("--only", nargs="+", choices=sorted(targets.TARGETS), default=list(targets.TARGETS), metavar="TARGET")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes; default: one per core")
    add("--findings", type=Path, default=Path("build/fuzz"), metavar="DIR", help="default: %(default)s")
    add("--replay", type=Path, metavar="FILE", help="read one finding in this process")
    return parser


def write_seeds(folder: Path) -> None:
    """Write folder/TARGET/NAME: the corpus, what each target makes, and videos and stills."""
    for name, target in targets.TARGETS.items():
        corpus = targets.CORPUS / name
        (folder / name).mkdir()
        for path in corpus.iterdir() if corpus.is_dir() else ():
            shutil.copy(path, folder / name)
        for file_name, data in target.seeds().items():
            (folder / name / file_name).write_bytes(data)
    media_seeds.write_seeds(folder)


def fuzz(options: argparse.Namespace, seeds: Path) -> list[Outcome]:
    """Run all tasks; the targets take turns, so that a limit of time leaves as many of each."""
    until_s = time.monotonic() + (options.seconds or float("inf"))

    def tasks() -> Iterator[Task]:
        for number in range(options.count):
            for name in options.only:
                if time.monotonic() > until_s:
                    return
                yield Task(name, number)

    workers = [Worker(seeds, options.seed) for _ in range(options.workers)]
    total = None if options.seconds else options.count * len(options.only)
    try:
        return list(tqdm(run_tasks(tasks(), workers), total=total, unit="file", disable=None))
    finally:
        for worker in workers:
            worker.stop()


def save_findings(outcomes: list[Outcome], options: argparse.Namespace, seeds: Path) -> None:
    for one in outcomes:
        if one.is_finding:
            options.findings.mkdir(parents=True, exist_ok=True)
            task, target = one.task, targets.TARGETS[one.task.target]
            seed, data = make_file(task, options.seed, read_seeds(seeds / task.target), text=target.text)
            name = _MARK.join((task.target, one.kind, f"{options.seed}-{task.number}", seed))
            (options.findings / name).write_bytes(data)
            (options.findings / f"{name}.txt").write_text(one.detail + "\n", encoding="utf-8", errors="replace")


def replay(path: Path) -> int:
    """Read a finding in this process, without limits, so that a debugger may look."""
    name, _, _, seed = path.name.split(_MARK, 3)
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        found = read_one(Task(name, 0), target, path.read_bytes(), seed, Path(folder))
    print(f"{name}: {found.kind} in {found.took_s:.2f} s, {found.memory_mb} MB\n{found.detail}")
    return int(found.is_finding)


def summary(outcomes: list[Outcome]) -> str:
    """One row per target."""
    by_target: defaultdict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        by_target[one.task.target].append(one)
    rows = [_row(name, found) for name, found in by_target.items()]
    return format_table(("target", "files", "read", "refused", "findings", "slowest s", "memory MB", "what"), rows)


def _row(name: str, found: list[Outcome]) -> tuple[str, ...]:
    kinds = Counter(one.kind for one in found)
    findings = {kind: count for kind, count in kinds.items() if kind not in ("read", "refused")}
    slowest_s, memory_mb = max(one.took_s for one in found), max(one.memory_mb for one in found)
    what = ", ".join(f"{count} {kind}" for kind, count in findings.items())
    figures = (len(found), kinds["read"], kinds["refused"], sum(findings.values()))
    return (name, *map(str, figures), f"{slowest_s:.1f}", str(memory_mb), what)


if __name__ == "__main__":
    sys.exit(main())
