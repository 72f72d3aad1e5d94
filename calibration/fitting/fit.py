"""Fitting scores to probabilities, and how far to trust the fit: maps that keep the order, judged on held-out folds.

Temperature: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), with the bias of Platt (1999) where 0.5
need not stay. Isotonic: Zadrozny & Elkan (KDD 2002).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize

from realtime_polyp.metrics.curves import Reliability, reliability
from realtime_polyp.postprocess.score_calibration import ProbabilityMap, TableMap, TemperatureMap, Values

FOLDS = 5
_LEAST = 1e-7  # a probability's distance from 0 and 1 where its logarithm is taken
_SHARPEST, _FLATTEST = 20.0, 0.05  # of 1 / temperature: scores that part right from wrong perfectly know no limit
_OWN_SHARE = 0.01  # of the score itself in an isotonic map: keeps the order where the data saw no difference


@dataclass(frozen=True)
class Samples:
    """Scores (n,) in 0..1, whether each was right (n,), and the number of its patient or video (n,)."""

    scores: Values
    right: NDArray[np.bool_]
    groups: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> "Samples":
        return Samples(self.scores[chosen], self.right[chosen], self.groups[chosen])


Fit = Callable[[Samples], ProbabilityMap]


@dataclass(frozen=True)
class Fitted:
    """A map and how it does: before and after over equal bins; after, every score is mapped by a fit to other folds.

    loss: mean negative log likelihood, likewise.
    """

    map: ProbabilityMap
    before: Reliability
    after: Reliability
    loss_before: float
    loss_after: float
    samples: int


def fitted(samples: Samples, fit: Fit) -> Fitted:
    """Raises ValueError where nothing can be learnt: too few groups, or all right or all wrong."""
    held_out = cross_fitted(samples, fit)
    return Fitted(
        fit(samples),
        reliability(samples.scores, samples.right),
        reliability(held_out, samples.right),
        log_loss(samples.scores, samples.right),
        log_loss(held_out, samples.right),
        len(samples.scores),
    )


def cross_fitted(samples: Samples, fit: Fit, *, folds: int = FOLDS) -> Values:
    """Each score mapped by what was fitted to the other folds (n,); a patient or video is never in two folds."""
    places = folds_of(samples.groups, folds)
    mapped = np.zeros(len(samples.scores))
    for fold in range(folds):
        inside = places == fold
        mapped[inside] = fit(samples.part(~inside))(samples.scores[inside])
    return mapped


def folds_of(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The fold 0..count-1 of each sample (n,): whole groups, largest first, each to the fold that has least.

    Raises ValueError with fewer groups than folds.
    """
    names, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < count:
        raise ValueError(f"{len(names)} patients or videos are too few for {count} folds: give more labelled data")
    chosen, held = np.zeros(len(names), np.int64), np.zeros(count, np.int64)
    for name in np.argsort(-sizes, kind="stable"):
        chosen[name] = held.argmin()
        held[chosen[name]] += sizes[name]
    return chosen[members]


def fit_temperature(samples: Samples, *, bias: bool = True) -> TemperatureMap:
    """The temperature, and the bias where it may have one, of the least negative log likelihood."""
    _must_differ(samples)
    clipped = samples.scores.clip(_LEAST, 1 - _LEAST)
    logits = np.log(clipped / (1 - clipped))

    def loss(parameters: Values) -> tuple[float, Values]:
        moved = parameters[0] * logits + parameters[1]
        residual = 1 / (1 + np.exp(-moved)) - samples.right
        value = np.logaddexp(0, np.where(samples.right, -moved, moved)).mean()
        return float(value), np.array([(residual * logits).mean(), residual.mean()])

    bounds = [(_FLATTEST, _SHARPEST), (-20.0, 20.0) if bias else (0.0, 0.0)]
    best = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    return TemperatureMap(float(1 / best.x[0]), float(best.x[1]))


def fit_isotonic(samples: Samples) -> TableMap:
    """The rising steps of the least squared error, joined from step to step so that no two scores become one."""
    _must_differ(samples)
    scores, places, counts = np.unique(samples.scores, return_inverse=True, return_counts=True)
    found = isotonic_regression(np.bincount(places, samples.right) / counts, weights=counts.astype(float))
    first = found.blocks[:-1]
    middles = np.add.reduceat(scores * counts, first) / np.add.reduceat(counts, first)
    steps = (1 - _OWN_SHARE) * found.x[first] + _OWN_SHARE * middles
    within = (middles > 0) & (middles < 1)
    return TableMap((0.0, *middles[within].tolist(), 1.0), (0.0, *steps[within].tolist(), 1.0))


FITS: dict[str, Fit] = {"temperature": fit_temperature, "isotonic": fit_isotonic}


def log_loss(probabilities: Values, right: NDArray[np.bool_]) -> float:
    """Mean negative log likelihood."""
    clipped = probabilities.clip(_LEAST, 1 - _LEAST)
    return float(-np.log(np.where(right, clipped, 1 - clipped)).mean())


def described(map_: ProbabilityMap) -> dict[str, Any]:
    """A map as the calibration file holds it."""
    if isinstance(map_, TemperatureMap):
        return {"method": "temperature", "temperature": map_.temperature, "bias": map_.bias}
    return {
        "method": "isotonic",
        "from_scores": list(map_.scores),
        "to_probabilities": list(map_.probabilities),
    }


def _must_differ(samples: Samples) -> None:
    if samples.right.all() or not samples.right.any():
        kind = "right" if len(samples.right) and samples.right.all() else "wrong"
        raise ValueError(
            f"all of {len(samples.right)} scores are {kind}: a map is learnt from both kinds; give more labelled data"
        )
