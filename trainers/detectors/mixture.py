"""Fit a mixture of two Gaussians by expectation maximisation (Dempster et al., 1977).

Initial values, variance floor and stopping rule are those of scikit-learn's GaussianMixture as PAA uses it.
"""

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
    """Fit a mixture to values (n,). It begins with one Gaussian at the minimum and one at the maximum."""
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
    """Return the logarithm of each Gaussian's weighted density at values (n,): (n, 2)."""
    squares = (values[:, None] - mixture.means) ** 2 / mixture.variances
    return np.log(mixture.weights) - (np.log(2 * np.pi * mixture.variances) + squares) / 2


def _maximise(values: Floats, shares: Floats) -> Mixture:
    """Return the likeliest mixture. shares: (n, 2), the share of value i (n,) that belongs to Gaussian j."""
    counts = shares.sum(0) + 10 * np.finfo(np.float64).eps  # no division by zero for a Gaussian without values
    means = shares.T @ values / counts
    variances = (shares * (values[:, None] - means) ** 2).sum(0) / counts + _LEAST_VARIANCE
    return Mixture(counts / counts.sum(), means, variances)
