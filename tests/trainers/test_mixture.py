"""The two Gaussians of PAA against a plain loop, scikit-learn's own and numbers that can be seen."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.detectors.mixture import fit, log_densities


def numbers_of(seed: int) -> NDArray[np.float64]:
    """Two heaps, apart or over one another."""
    random = np.random.default_rng(seed)
    sizes, gap = random.integers(1, 15, 2), random.uniform(0, 4)
    heaps = [random.normal(1, 0.2, sizes[0]), random.normal(1 + gap, random.uniform(0.05, 1), sizes[1])]
    return np.sort(np.concatenate(heaps))


def plain_mixture(values: list[float]) -> tuple[list[float], list[float], list[float]]:
    """Expectation maximisation, one value at a time: weights, means, variances."""
    weights, means, variances = [0.5, 0.5], [min(values), max(values)], [1.0, 1.0]
    before = -math.inf
    for _ in range(100):
        shares, mean_log = [], 0.0
        for value in values:
            density = [
                w * math.exp(-((value - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
                for w, m, v in zip(weights, means, variances, strict=True)
            ]
            shares.append([one / sum(density) for one in density])
            mean_log += math.log(sum(density)) / len(values)
        for j in range(2):
            total = sum(share[j] for share in shares)
            means[j] = sum(share[j] * value for share, value in zip(shares, values, strict=True)) / total
            squares = sum(share[j] * (value - means[j]) ** 2 for share, value in zip(shares, values, strict=True))
            weights[j], variances[j] = total / len(values), squares / total + 1e-6
        if abs(mean_log - before) < 1e-3:
            break
        before = mean_log
    return weights, means, variances


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_the_mixture_is_the_plain_loop_s(seed: int) -> None:
    values = numbers_of(seed)
    found = fit(values)
    for ours, theirs in zip((found.weights, found.means, found.variances), plain_mixture(values.tolist()), strict=True):
        assert ours.tolist() == pytest.approx(theirs, rel=1e-6)


def test_the_mixture_is_scikit_learn_s() -> None:
    mixture = pytest.importorskip("sklearn.mixture", reason="scikit-learn comes with nncf only")
    for seed in range(20):
        values = numbers_of(seed)
        start = {"weights_init": [0.5, 0.5], "means_init": values[[0, -1], None], "precisions_init": np.ones((2, 1, 1))}
        theirs, ours = mixture.GaussianMixture(2, **start).fit(values[:, None]), fit(values)
        assert ours.means.tolist() == pytest.approx(theirs.means_.ravel().tolist(), rel=1e-9)
        log_density = log_densities(ours, values)
        assert log_density.argmax(1).tolist() == theirs.predict(values[:, None]).tolist()
        together = np.logaddexp.reduce(log_density, axis=1)
        assert together.tolist() == pytest.approx(theirs.score_samples(values[:, None]).tolist(), rel=1e-9)


def test_the_mixture_finds_two_heaps_apart() -> None:
    found = fit(np.array([0.9, 1.0, 1.1, 7.0, 7.4, 7.6, 8.0, 7.5, 7.5]))
    assert found.weights.tolist() == pytest.approx([3 / 9, 6 / 9])
    assert found.means.tolist() == pytest.approx([1.0, 7.5])
    assert found.variances.tolist() == pytest.approx([0.02 / 3 + 1e-6, 0.52 / 6 + 1e-6])


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1e4], [3.0]])
def test_the_mixture_of_few_or_equal_numbers_is_finite(values: list[float]) -> None:
    found = fit(np.array(values))
    assert np.isfinite(log_densities(found, np.array(values))).all() and (found.variances > 0).all()
