"""What each choice of the line buys: every choice beside what it was chosen over, in turn, in one run."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.bench.line import Setup
from realtime_polyp.bench.rounds import alternate, ratio
from realtime_polyp.field_of_view import Image


@dataclass(frozen=True)
class Scene:
    """What the steps are measured on: a clip, and its first frames decoded."""

    setup: Setup
    clip: Path
    images: Sequence[Image]


@dataclass(frozen=True)
class Step:
    """One choice. measured: of what the frames a second are. variants: {name: measures it once}; every ratio is to the
    first."""

    measured: str
    variants: Mapping[str, Callable[[], float]]


BuildStep = Callable[[Scene], Step]


def steps(builders: dict[str, BuildStep], scene: Scene, rounds: int) -> dict[str, Any]:
    """{step: {"measured", "variants": {name: {"fps", "ms", "ratio", "runs_fps"}}}}."""
    return {name: figures_of(build(scene), rounds, name) for name, build in builders.items()}


def figures_of(step: Step, rounds: int, name: str) -> dict[str, Any]:
    told = alternate(step.variants, rounds, name)
    first = next(iter(told.values()))
    variants = {
        variant: {
            "fps": round(statistics.median(values), 2),
            "ms": round(1e3 / statistics.median(values), 3),
            "ratio": round(ratio(values, first), 3),
            "runs_fps": [round(value, 2) for value in values],
        }
        for variant, values in told.items()
    }
    return {"measured": step.measured, "variants": variants}
