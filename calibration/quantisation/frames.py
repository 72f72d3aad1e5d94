"""Which training stills set an INT8 model's ranges: of every centre as many, from the darkest to the brightest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.geometry import shrink
from trainers.data.stills import Still, read_image

_BINS = 5  # of brightness, each with as many stills
_LOOK_PX = (64, 64)


@dataclass(frozen=True)
class Light:
    """How the field of a still is lit: mean and spread of its grey levels, 0..255, and red over all three colours."""

    brightness: float
    contrast: float
    redness: float


def light_of(still: Still) -> Light:
    """Raises FileNotFoundError naming an image that cannot be read."""
    image = read_image(still.image_path)
    small = shrink((find_field(image) or whole(image)).crop(image), _LOOK_PX).astype(np.float64)
    grey = small.mean(axis=2)
    return Light(float(grey.mean()), float(grey.std()), float(small[..., 0].sum() / max(1.0, small.sum())))


def lights_of(stills: Sequence[Still]) -> list[Light]:
    return [light_of(still) for still in tqdm(stills, desc="looking at the light", unit="image")]


def choose(stills: Sequence[Still], lights: Sequence[Light], count: int) -> list[int]:
    """Indices of `count` stills, rising: equal shares of the centres, as far as they go, and in each centre the
    darkest, the brightest and as many of each brightness, there from the flattest contrast to the strongest.

    Raises ValueError when there are no stills.
    """
    if not stills:
        raise ValueError("no training stills to calibrate with")
    centres = np.array([still.centre for still in stills])
    members = {name: np.flatnonzero(centres == name) for name in sorted({*centres})}
    shares = equal_shares([len(one) for one in members.values()], count)
    picked = [_of_centre(one, lights, share) for one, share in zip(members.values(), shares, strict=True)]
    return sorted(index for one in picked for index in one)


def equal_shares(sizes: Sequence[int], count: int) -> list[int]:
    """How many to take of groups of these sizes: as equal as can be, `count` together or all there are."""
    shares = [0] * len(sizes)
    for _ in range(min(count, sum(sizes))):
        open_ = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[min(open_, key=lambda i: shares[i])] += 1
    return shares


def _of_centre(members: NDArray[np.int64], lights: Sequence[Light], share: int) -> list[int]:
    order = sorted(members.tolist(), key=lambda i: lights[i].brightness)
    ends = [order[0], order[-1]][:share]
    inner = [i for i in order if i not in ends]
    bins = [part.tolist() for part in np.array_split(inner, _BINS)]
    shares = equal_shares([len(part) for part in bins], share - len(ends))
    return ends + [i for part, few in zip(bins, shares, strict=True) for i in _spread(part, lights, few)]


def _spread(part: list[int], lights: Sequence[Light], few: int) -> list[int]:
    order = sorted(part, key=lambda i: (lights[i].contrast, lights[i].redness))
    return [order[place] for place in np.linspace(0, len(order) - 1, few).round().astype(int)] if few else []


def frame_table(stills: Sequence[Still], lights: Sequence[Light], chosen: Sequence[int]) -> str:
    """A row a centre in Markdown: how many were chosen, and the range of light among them and among all."""
    lines = ["| centre | stills | brightness (of all) | contrast (of all) |", "|---|---|---|---|"]
    for name in sorted({still.centre for still in stills}):
        every = [light for still, light in zip(stills, lights, strict=True) if still.centre == name]
        few = [lights[i] for i in chosen if stills[i].centre == name]
        ranges = [f"{_range(few, what)} ({_range(every, what)})" for what in ("brightness", "contrast")]
        lines.append(f"| {name} | {len(few)} of {len(every)} | {ranges[0]} | {ranges[1]} |")
    return "\n".join(lines)


def _range(lights: Sequence[Light], what: str) -> str:
    values = [getattr(light, what) for light in lights]
    return f"{min(values):.0f}-{max(values):.0f}" if values else "-"
