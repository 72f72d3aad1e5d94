"""Fits monotonic maps from scores to probabilities and evaluates them by cross-validation.

Temperature scaling: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), with the bias of Platt (1999)
unless 0.5 must stay unchanged. Isotonic regression: Zadrozny & Elkan (KDD 2002).
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
_EPSILON = 1e-7  # probabilities are clipped to this distance from 0 and 1 before taking logarithms
_MIN_SLOPE, _MAX_SLOPE = 0.05, 20.0  # of 1 / temperature, which diverges for perfectly separable scores
_SCORE_WEIGHT = 0.01  # of the score itself in an isotonic map, so that the map rises strictly


@dataclass(frozen=True)
class Samples:
    """Scores to fit.

    Attributes:
        scores: (n,) in 0..1.
        right: (n,) whether the box or cell is a polyp.
        groups: (n,) number of the patient or video.
    """

    scores: Values
    right: NDArray[np.bool_]
    groups: NDArray[np.int64]

    def subset(self, chosen: NDArray[np.bool_]) -> "Samples":
        return Samples(self.scores[chosen], self.right[chosen], self.groups[chosen])


Fit = Callable[[Samples], ProbabilityMap]


@dataclass(frozen=True)
class FitResult:
    """A score map and its quality. For the figures after calibration, each score is mapped by a fit to other folds.

    Attributes:
        map: fitted to all samples.
        before: reliability of the scores.
        after: reliability of the calibrated scores.
        loss_before: mean negative log likelihood of the scores.
        loss_after: mean negative log likelihood of the calibrated scores.
        samples: number of samples.
    """

    map: ProbabilityMap
    before: Reliability
    after: Reliability
    loss_before: float
    loss_after: float
    samples: int


def cross_validate(samples: Samples, fit: Fit) -> FitResult:
    """Fit a map and evaluate it. Raises ValueError for too few groups, and for samples all right or all wrong."""
    held_out = map_held_out(samples, fit)
    return FitResult(
        fit(samples),
        reliability(samples.scores, samples.right),
        reliability(held_out, samples.right),
        log_loss(samples.scores, samples.right),
        log_loss(held_out, samples.right),
        len(samples.scores),
    )


def map_held_out(samples: Samples, fit: Fit, *, folds: int = FOLDS) -> Values:
    """Map each score with a fit to the other folds; (n,). A patient or video is never in two folds."""
    fold_of = assign_folds(samples.groups, folds)
    mapped = np.zeros(len(samples.scores))
    for fold in range(folds):
        inside = fold_of == fold
        mapped[inside] = fit(samples.subset(~inside))(samples.scores[inside])
    return mapped


def assign_folds(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the fold 0..count-1 of each sample (n,): whole groups, largest first, each to the smallest fold.

    Raises ValueError with fewer groups than folds.
    """
    names, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < count:
        raise ValueError(f"{len(names)} patients or videos are too few for {count} folds: use more labelled data")
    chosen, held = np.zeros(len(names), np.int64), np.zeros(count, np.int64)
    for name in np.argsort(-sizes, kind="stable"):
        chosen[name] = held.argmin()
        held[chosen[name]] += sizes[name]
    return chosen[members]


def fit_temperature(samples: Samples, *, bias: bool = True) -> TemperatureMap:
    """Return the temperature and the bias (0 if not `bias`) with the lowest negative log likelihood."""
    _check_both_classes(samples)
    clipped = samples.scores.clip(_EPSILON, 1 - _EPSILON)
    logits = np.log(clipped / (1 - clipped))

    def loss(parameters: Values) -> tuple[float, Values]:
        moved = parameters[0] * logits + parameters[1]
        residual = 1 / (1 + np.exp(-moved)) - samples.right
        value = np.logaddexp(0, np.where(samples.right, -moved, moved)).mean()
        return float(value), np.array([(residual * logits).mean(), residual.mean()])

    bounds = [(_MIN_SLOPE, _MAX_SLOPE), (-20.0, 20.0) if bias else (0.0, 0.0)]
    best = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    return TemperatureMap(float(1 / best.x[0]), float(best.x[1]))


def fit_isotonic(samples: Samples) -> TableMap:
    """Fit the monotonic step function with the lowest squared error.

    Steps are connected by straight lines, so that different scores stay different.
    """
    _check_both_classes(samples)
    scores, indices, counts = np.unique(samples.scores, return_inverse=True, return_counts=True)
    found = isotonic_regression(np.bincount(indices, samples.right) / counts, weights=counts.astype(float))
    first = found.blocks[:-1]
    middles = np.add.reduceat(scores * counts, first) / np.add.reduceat(counts, first)
    steps = (1 - _SCORE_WEIGHT) * found.x[first] + _SCORE_WEIGHT * middles
    within = (middles > 0) & (middles < 1)
    return TableMap((0.0, *middles[within].tolist(), 1.0), (0.0, *steps[within].tolist(), 1.0))


FITS: dict[str, Fit] = {"temperature": fit_temperature, "isotonic": fit_isotonic}


def log_loss(probabilities: Values, right: NDArray[np.bool_]) -> float:
    """Return the mean negative log likelihood."""
    clipped = probabilities.clip(_EPSILON, 1 - _EPSILON)
    return float(-np.log(np.where(right, clipped, 1 - clipped)).mean())


def to_dict(map_: ProbabilityMap) -> dict[str, Any]:
    """Convert a map to its form in the calibration file."""
    if isinstance(map_, TemperatureMap):
        return {"method": "temperature", "temperature": map_.temperature, "bias": map_.bias}
    return {
        "method": "isotonic",
        "from_scores": list(map_.scores),
        "to_probabilities": list(map_.probabilities),
    }


def _check_both_classes(samples: Samples) -> None:
    if samples.right.all() or not samples.right.any():
        kind = "right" if len(samples.right) and samples.right.all() else "wrong"
        raise ValueError(
            f"all of {len(samples.right)} scores are {kind}: a fit needs right and wrong ones; use more labelled data"
        )
