"""Fair comparisons on a machine that others use too: whatever is compared runs in turn, round after round, and only
ratios within a round are trusted."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How quickly frames went through. fps: frames a second. cpu_ms: processor time a frame, of all threads."""

    fps: float
    cpu_ms: float


def pace_of(work: Callable[[], int]) -> Pace:
    """Run `work`, which returns how many frames it has dealt with."""
    cpu_s, since_s = time.process_time(), time.perf_counter()
    frames = work()
    wall_s = time.perf_counter() - since_s
    return Pace(frames / wall_s, (time.process_time() - cpu_s) / frames * 1e3)


def alternate(variants: Mapping[str, Callable[[], T]], rounds: int, label: str) -> dict[str, list[T]]:
    """What each variant returned in each round; in a round they follow each other in the order given."""
    told: dict[str, list[T]] = {name: [] for name in variants}
    with tqdm(total=rounds * len(variants), desc=label, unit="run", dynamic_ncols=True, disable=None) as bar:
        for _ in range(rounds):
            for name, measure in variants.items():
                bar.set_postfix_str(name)
                told[name].append(measure())
                bar.update()
    return told


def ratio(values: Sequence[float], to: Sequence[float]) -> float:
    """The median over the rounds of value : other value in the same round."""
    return statistics.median(value / other for value, other in zip(values, to, strict=True))


def calls_per_s(call: Callable[[T], object], items: Sequence[T], *, least_s: float = 1.0) -> float:
    """Of `call`, item after item and over again for at least `least_s`, after a first call that does not count."""
    call(items[0])
    since_s, count = time.perf_counter(), 0
    while time.perf_counter() - since_s < least_s:
        for item in items:
            call(item)
        count += len(items)
    return count / (time.perf_counter() - since_s)
