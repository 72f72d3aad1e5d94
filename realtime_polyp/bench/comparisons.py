"""Fair comparisons on a shared machine: variants run in turn, and only ratios within a round are trusted."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """Speed of a run.

    Attributes:
        fps: frames per second.
        cpu_ms: processor time per frame over all threads, ms.
    """

    fps: float
    cpu_ms: float


@dataclass(frozen=True)
class Ablation:
    """One design choice and its alternatives.

    Attributes:
        measured: what the frames per second are of.
        variants: functions that measure one run, frames/s, by name. Ratios are relative to the first.
    """

    measured: str
    variants: Mapping[str, Callable[[], float]]


def time_frames(work: Callable[[], int]) -> Timing:
    """Time `work`, which returns the number of frames that it processed."""
    cpu_s, since_s = time.process_time(), time.perf_counter()
    frames = work()
    wall_s = time.perf_counter() - since_s
    return Timing(frames / wall_s, (time.process_time() - cpu_s) / frames * 1e3)


def alternate(variants: Mapping[str, Callable[[], T]], rounds: int, label: str) -> dict[str, list[T]]:
    """Call all variants in turn, round after round, and return what each returned. label: of the progress bar."""
    returned: dict[str, list[T]] = {name: [] for name in variants}
    with tqdm(total=rounds * len(variants), desc=label, unit="run", dynamic_ncols=True, disable=None) as bar:
        for _ in range(rounds):
            for name, measure in variants.items():
                bar.set_postfix_str(name)
                returned[name].append(measure())
                bar.update()
    return returned


def ratio(values: Sequence[float], to: Sequence[float]) -> float:
    """Return the median over rounds of value / other value in the same round."""
    return statistics.median(value / other for value, other in zip(values, to, strict=True))


def calls_per_s(call: Callable[[T], object], items: Sequence[T], *, least_s: float = 1.0) -> float:
    """Return how many calls per second are made over `items` for at least `least_s`, after one warm-up call."""
    call(items[0])
    since_s, count = time.perf_counter(), 0
    while time.perf_counter() - since_s < least_s:
        for item in items:
            call(item)
        count += len(items)
    return count / (time.perf_counter() - since_s)


def measure_ablation(ablation: Ablation, rounds: int, name: str) -> dict[str, Any]:
    """Return {"measured", "variants": {name: {"fps", "ms", "ratio", "runs_fps"}}}."""
    runs_fps = alternate(ablation.variants, rounds, name)
    first = next(iter(runs_fps.values()))
    variants = {
        variant: {
            "fps": round(statistics.median(values), 2),
            "ms": round(1e3 / statistics.median(values), 3),
            "ratio": round(ratio(values, first), 3),
            "runs_fps": [round(value, 2) for value in values],
        }
        for variant, values in runs_fps.items()
    }
    return {"measured": ablation.measured, "variants": variants}
