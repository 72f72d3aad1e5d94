"""Percentile bootstrap confidence intervals of a data set's figures.

Images are resampled with replacement. Images of one patient or video are correlated: with `groups`, whole groups are
resampled, as the interval would otherwise be too narrow.
Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Draw = NDArray[np.int64]  # one resample: ascending image indices, repeated as often as drawn
Item = TypeVar("Item")
_LEAST_SHARE = 0.5  # of the resamples; a figure that is not defined in more than these has no interval


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both limits included."""

    low: float
    high: float


def draws(
    count: int, *, samples: int = 1000, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> Iterator[Draw]:
    """Yield `samples` resamples of `count` images. groups: group of each image; whole groups are resampled.

    Raises ValueError for no image, no sample, or a number of groups other than `count`.
    """
    if count < 1 or samples < 1:
        raise ValueError(f"a bootstrap needs at least one image and one sample, not {count} and {samples}")
    if groups is not None and len(groups) != count:
        raise ValueError(f"{len(groups)} groups were given for {count} images: give one per image")
    members = _members(range(count) if groups is None else groups)
    rng = np.random.default_rng(seed)
    chosen = (rng.integers(len(members), size=len(members)) for _ in range(samples))
    return (np.sort(np.concatenate([members[index] for index in one])) for one in chosen)


def _members(groups: Sequence[Hashable]) -> list[Draw]:
    """Return the image indices of each group, in the order of the groups' first images."""
    found: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return [np.array(one, np.int64) for one in found.values()]


def intervals(
    drawn: Iterable[Draw], figures: Callable[[Draw], Mapping[str, float | None]], *, level: float = 0.95
) -> dict[str, Interval | None]:
    """Return the confidence interval of every figure.

    figures: computes the figures of a resample. A resample in which a figure is undefined (None), such as without a
    true box of a size, is left out of its interval. The interval is None if at least half are left out. Raises
    ValueError for no resample or a level outside 0..1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval must be between 0 and 1, not {level}")
    values = [figures(draw) for draw in drawn]
    if not values:
        raise ValueError("an interval needs at least one resample")
    return {name: _interval([one[name] for one in values], level) for name in values[0]}


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
    """Return the confidence interval of one figure of a set of images.

    Raises ValueError as `draws` and `intervals` do.
    """
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
    """Return the confidence interval of figure(first) - figure(second), of two models on the same images in order.

    Both figures are computed on the same resamples, which cancels the difficulty of the images: an interval without 0
    means that the models differ. Raises ValueError for different numbers of images.
    """
    if len(first) != len(second):
        raise ValueError(f"a paired difference needs the same images twice, not {len(first)} and {len(second)}")
    pairs = list(zip(first, second, strict=True))

    def difference(chosen: list[tuple[Item, Item]]) -> float | None:
        a, b = (figure(list(side)) for side in zip(*chosen, strict=True))
        return None if a is None or b is None else a - b

    return bootstrap(pairs, difference, samples=samples, level=level, seed=seed, groups=groups)


def weights_of(draw: Draw, count: int) -> Draw:
    """Return how often each of `count` images was drawn (count,), the weights that `Matches` takes."""
    return np.bincount(draw, minlength=count).astype(np.int64)


def means_of(values: Mapping[str, NDArray[np.float64]], draw: Draw) -> dict[str, float | None]:
    """Return the mean of each figure (N,) over a resample, without NaN, which marks an undefined value."""
    chosen = {name: column[draw] for name, column in values.items()}
    return {name: None if np.isnan(one).all() else float(np.nanmean(one)) for name, one in chosen.items()}
