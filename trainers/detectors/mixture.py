"""Two Gaussians fitted to numbers by expectation maximisation (Dempster et al., 1977), as scikit-learn's
GaussianMixture does it: the same start, the same floor under a variance, the same end."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_START_WEIGHT, _START_VARIANCE = 0.5, 1.0
_LEAST_VARIANCE = 1e-6  # is added to every variance, so that equal numbers have one
_LEAST_CHANGE = 1e-3  # of the mean log likelihood: less ends the fit
_MOST_STEPS = 100


@dataclass(frozen=True)
class Mixture:
    """Of the two Gaussians, each (2,): their shares, means and variances."""

    weights: Floats
    means: Floats
    variances: Floats


def fit(values: Floats) -> Mixture:
    """The mixture of values (n,), begun with one Gaussian on the least and one on the greatest."""
    mixture = Mixture(np.full(2, _START_WEIGHT), np.array([values.min(), values.max()]), np.full(2, _START_VARIANCE))
    before = -np.inf
    for _ in range(_MOST_STEPS):
        log_density = log_densities(mixture, values)
        together = np.logaddexp.reduce(log_density, axis=1)
        mixture = _maximise(values, np.exp(log_density - together[:, None]))
        if abs(together.mean() - before) < _LEAST_CHANGE:
            break
        before = together.mean()
    return mixture


def log_densities(mixture: Mixture, values: Floats) -> Floats:
    """Logarithm of each Gaussian's weighted density at values (n,): (n, 2)."""
    squares = (values[:, None] - mixture.means) ** 2 / mixture.variances
    return np.log(mixture.weights) - (np.log(2 * np.pi * mixture.variances) + squares) / 2


def _maximise(values: Floats, shares: Floats) -> Mixture:
    """The likeliest mixture when value i belongs to Gaussian j by shares[i, j]: (n,), (n, 2)."""
    counts = shares.sum(0) + 10 * np.finfo(np.float64).eps  # a Gaussian that no value belongs to divides by no zero
    means = shares.T @ values / counts
    variances = (shares * (values[:, None] - means) ** 2).sum(0) / counts + _LEAST_VARIANCE
    return Mixture(counts / counts.sum(), means, variances)
