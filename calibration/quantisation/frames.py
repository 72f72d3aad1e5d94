"""Selects training stills for INT8 calibration: equally from all centres, from the darkest to the brightest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.geometry import shrink
from trainers.data.stills import Still, read_image

_BINS = 5  # of brightness, each with as many stills
_THUMBNAIL_PX = (64, 64)


@dataclass(frozen=True)
class Light:
    """Lighting of a still, inside its field of view.

    Attributes:
        brightness: mean grey level, 0..255.
        contrast: standard deviation of the grey levels.
        redness: share of red in the sum of all three colours, 0..1.
    """

    brightness: float
    contrast: float
    redness: float


def measure_light(still: Still) -> Light:
    """Measure the lighting of a still. Raises FileNotFoundError if the image cannot be read."""
    image = read_image(still.image_path)
    small = shrink((find_field(image) or whole(image)).crop(image), _THUMBNAIL_PX).astype(np.float64)
    grey = small.mean(axis=2)
    return Light(float(grey.mean()), float(grey.std()), float(small[..., 0].sum() / max(1.0, small.sum())))


def measure_lights(stills: Sequence[Still]) -> list[Light]:
    """Measure the lighting of each still, with a progress bar."""
    return [measure_light(still) for still in tqdm(stills, desc="measuring brightness", unit="image")]


def choose_stills(stills: Sequence[Still], lights: Sequence[Light], count: int) -> list[int]:
    """Return the indices of `count` stills, in ascending order.

    Centres get equal shares as far as they have enough stills. The share of a centre contains its darkest and its
    brightest still and equally many from each brightness bin, with contrasts from low to high.

    Raises ValueError if there are no stills, or for a count below 1.
    """
    if not stills:
        raise ValueError("no training stills to calibrate on: check --data")
    if count < 1:
        raise ValueError(f"{count} stills are too few to measure on: give 1 or more")
    centres = np.array([still.centre for still in stills])
    members = {name: np.flatnonzero(centres == name) for name in sorted({*centres})}
    shares = equal_shares([len(one) for one in members.values()], count)
    picked = [_choose_in_centre(one, lights, share) for one, share in zip(members.values(), shares, strict=True)]
    return sorted(index for one in picked for index in one)


def equal_shares(sizes: Sequence[int], count: int) -> list[int]:
    """Divide `count` as equally as possible among groups of these sizes; at most the size of each."""
    shares = [0] * len(sizes)
    for _ in range(min(count, sum(sizes))):
        open_ = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[min(open_, key=lambda i: shares[i])] += 1
    return shares


def _choose_in_centre(members: NDArray[np.int64], lights: Sequence[Light], share: int) -> list[int]:
    order = sorted(members.tolist(), key=lambda i: lights[i].brightness)
    ends = [order[0], order[-1]][:share]
    inner = [i for i in order if i not in ends]
    bins = [part.tolist() for part in np.array_split(inner, _BINS)]
    shares = equal_shares([len(part) for part in bins], share - len(ends))
    return ends + [i for part, few in zip(bins, shares, strict=True) for i in _choose_by_contrast(part, lights, few)]


def _choose_by_contrast(part: list[int], lights: Sequence[Light], few: int) -> list[int]:
    order = sorted(part, key=lambda i: (lights[i].contrast, lights[i].redness))
    return [order[place] for place in np.linspace(0, len(order) - 1, few).round().astype(int)] if few else []


def format_table(stills: Sequence[Still], lights: Sequence[Light], chosen: Sequence[int]) -> str:
    """Return a Markdown table with a row per centre: number of chosen stills, and range of their lighting and all."""
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
