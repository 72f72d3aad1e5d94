"""How far a set's figures would move had other images, or other patients, been drawn: percentile bootstrap intervals.

Images are drawn again with replacement, as many as there are. Images of one patient or video resemble each other:
where `groups` are given whole groups are drawn, else the interval would be too narrow.
Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Draw = NDArray[np.int64]  # indices of the images drawn, rising, repeated as often as drawn
Item = TypeVar("Item")
_LEAST_SHARE = 0.5  # of the draws that must define a figure for it to have an interval


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def draws(
    count: int, *, samples: int = 1000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> Iterator[Draw]:
    """`samples` choices of images out of `count`, with replacement. groups: one an image, drawn whole.

    Raises ValueError for no image, no sample, or another number of groups than of images.
    """
    if count < 1 or samples < 1:
        raise ValueError(f"a bootstrap needs an image and a sample at least, not {count} and {samples}")
    if groups is not None and len(groups) != count:
        raise ValueError(f"{len(groups)} groups were given for {count} images: one an image is needed")
    members = _members(range(count) if groups is None else groups)
    chance = np.random.default_rng(seed)
    chosen = (chance.integers(len(members), size=len(members)) for _ in range(samples))
    return (np.sort(np.concatenate([members[index] for index in one])) for one in chosen)


def _members(groups: Sequence[Hashable]) -> list[Draw]:
    """The images of each group, groups in the order of their first image."""
    found: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return [np.array(one, np.int64) for one in found.values()]


def intervals(
    drawn: Iterable[Draw], figures: Callable[[Draw], Mapping[str, float | None]], *, level: float = 0.95
) -> dict[str, Interval | None]:
    """The interval of every figure that `figures` tells of a draw. A draw that leaves a figure undefined (no true box
    of a size) is left out of that figure's interval; None when half of them do.

    Raises ValueError for no draw or a level outside 0..1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not at {level}")
    told = [figures(draw) for draw in drawn]
    if not told:
        raise ValueError("no draw to make an interval of")
    return {name: _interval([one[name] for one in told], level) for name in told[0]}


def _interval(values: Sequence[float | None], level: float) -> Interval | None:
    known = [value for value in values if value is not None]
    if len(known) <= _LEAST_SHARE * len(values):
        return None
    low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))


def bootstrap(
    items: Sequence[Item],
    figure: Callable[[list[Item]], float | None],
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval | None:
    """The interval of one figure of a set of images. Raises ValueError as `draws` and `intervals` do."""
    drawn = draws(len(items), samples=samples, seed=seed, groups=groups)
    return intervals(drawn, lambda draw: {"": figure([items[i] for i in draw])}, level=level)[""]


def paired_difference(
    first: Sequence[Item],
    second: Sequence[Item],
    figure: Callable[[list[Item]], float | None],
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval | None:
    """The interval of figure(first) - figure(second), what two models made of the same images in the same order.

    Both are told of the same draws, so that how hard the images are cancels out: an interval that leaves out 0 is a
    difference between the models. Raises ValueError when the images are not as many.
    """
    if len(first) != len(second):
        raise ValueError(f"a paired difference needs the same images twice, not {len(first)} and {len(second)}")
    pairs = list(zip(first, second, strict=True))

    def difference(chosen: list[tuple[Item, Item]]) -> float | None:
        a, b = (figure(list(side)) for side in zip(*chosen, strict=True))
        return None if a is None or b is None else a - b

    return bootstrap(pairs, difference, samples=samples, level=level, seed=seed, groups=groups)


def weights_of(draw: Draw, count: int) -> Draw:
    """How often each of `count` images was drawn (count,): what `Matches` counts with."""
    return np.bincount(draw, minlength=count).astype(np.int64)


def means_of(values: Mapping[str, NDArray[np.float64]], draw: Draw) -> dict[str, float | None]:
    """The mean of each figure of the images (N,) over a draw; NaN marks an image that has none."""
    chosen = {name: column[draw] for name, column in values.items()}
    return {name: None if np.isnan(one).all() else float(np.nanmean(one)) for name, one in chosen.items()}
