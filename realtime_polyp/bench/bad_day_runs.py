"""Plays fixed and random sequences of a bad day, several at the same time if asked to, and tells how they went."""

import multiprocessing
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from realtime_polyp.bench.bad_day import Day, play_day
from realtime_polyp.bench.bad_day_faults import FIXED, KINDS, STOPPED, Script, random_script

_Job = tuple[str, Script, int]  # kind, faults, seed


def run_bad_days(count: int, seed: int = 1, *, parallel: int = 1) -> list[Day]:
    """Play random sequences, and print each that went wrong. Raises RuntimeError if one did.

    parallel: so many at the same time, each in a process of its own; 1: one after the other in this process.
    """
    days = list[Day]()
    for number, day in enumerate(_play(_jobs(count, seed), parallel)):
        days.append(day)
        if day.problems:
            print(f"{number + 1} ({day.kind}: {', '.join(day.script)}): {'; '.join(day.problems)}", flush=True)
    print(bad_day_table(days))
    if wrong := sum(bool(day.problems) for day in days):
        raise RuntimeError(f"{wrong} of {len(days)} sequences went wrong")
    return days


def _jobs(count: int, seed: int) -> list[_Job]:
    """The fixed sequences, then random ones. They are the same for a seed, however many are played at a time."""
    chance, stops = random.Random(seed), sys.platform == "linux"
    scripts = [(kind, [one for one in script if stops or one[0] != STOPPED]) for kind, script in FIXED]
    kinds = (KINDS[number % len(KINDS)] for number in range(count))
    scripts += [(kind, random_script(chance, kind, stops=stops)) for kind in kinds]
    return [(kind, script, seed + number) for number, (kind, script) in enumerate(scripts)]


def _play(jobs: Sequence[_Job], parallel: int) -> Iterator[Day]:
    """Play each in turn; the days come in the order of the jobs."""
    if parallel == 1:
        _warm_up()
        for job in jobs:
            yield play_day(*job)
        return
    context = multiprocessing.get_context("spawn")  # a process that is stopped must not share anything with another
    with ProcessPoolExecutor(parallel, mp_context=context, initializer=_warm_up) as processes:
        yield from processes.map(_play_one, jobs)


def _play_one(job: _Job) -> Day:
    return play_day(*job)


def _warm_up() -> None:
    """What is imported and compiled at the first use is no leak."""
    play_day("device", [])


def bad_day_table(days: Sequence[Day]) -> str:
    """For each fault: how often, and how soon the picture was back."""
    found: dict[str, list[float]] = {}
    for day in days:
        for name, back_s in day.back_s:
            found.setdefault(name, []).append(back_s)
    lines = [f"{'fault':28} {'times':>6} {'back after, median':>19} {'longest':>8}"]
    lines += [
        f"{name:28} {len(all_s):6} {np.median(all_s):17.2f} s {max(all_s):6.2f} s"
        for name, all_s in sorted(found.items())
    ]
    good = sum(not day.problems for day in days)
    return "\n".join([*lines, f"{good} of {len(days)} sequences without a fault of ours"])
