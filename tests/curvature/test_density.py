"""Densities of known spectra: the Marchenko-Pastur law, and diagonals of every shape."""

import numpy as np
import pytest
import torch

from sounding.curvature.density import density
from sounding.curvature.operator import Operator

N = 2000


def _operator(values):
    diagonal = torch.as_tensor(np.asarray(values), dtype=torch.float64)
    return Operator(lambda block: block * diagonal, len(diagonal), dtype=torch.float64)


def _distance(found, values):
    """Area between the cumulative distributions, in standard deviations of the eigenvalues."""
    steps = np.diff(found.grid)
    middle = (found.values[1:] + found.values[:-1]) / 2
    cumulative = np.r_[0, np.cumsum(middle * steps)]
    true = np.searchsorted(np.sort(values), found.grid) / len(values)
    return np.sum(np.abs(cumulative - true)[1:] * steps) / np.std(values)


SPECTRA = {
    "uniform": np.linspace(-1, 1, N),
    "net": np.r_[34, 25, 17, 16, 14, 12, np.random.default_rng(0).laplace(0, 0.2, N - 6)],
    "two heaps": np.r_[np.random.default_rng(1).normal(-1, 0.1, N // 2),
                       np.random.default_rng(2).normal(2, 0.2, N // 2)],
}  # fmt: skip


@pytest.mark.parametrize("name", SPECTRA)
def test_the_distance_is_about_what_is_said(name):
    off = [_distance(density(_operator(SPECTRA[name]), seed=s), SPECTRA[name]) for s in range(4)]
    assert np.mean(off) <= 0.06  # twice the tol of 0.03


def test_it_integrates_to_one():
    found = density(_operator(SPECTRA["two heaps"]))
    area = np.sum((found.values[1:] + found.values[:-1]) / 2 * np.diff(found.grid))
    assert area == pytest.approx(1, abs=0.01)
    assert np.allclose(np.nansum(found.weights, axis=1), 1)


def test_marchenko_pastur():
    # X'X / N, aspect 1/4: sqrt((b - x)(x - a)) / (2 pi x / 4) between a, b = (1 -+ 1/2)^2.
    x = torch.randn(2400, 600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = np.linspace(0.5, 2.0, 16)
    found = density(Operator.dense(x.T @ x / 2400), width=0.05, grid=grid, tol=0.01)
    expected = np.sqrt((2.25 - grid) * (grid - 0.25)) / (2 * np.pi * grid / 4)
    assert np.allclose(found.values, expected, atol=0.12)
    assert np.mean(np.abs(found.values - expected)) < 0.05


def test_small_matrices_are_exact():
    values = np.array([1.0, 1.0, 2.0, -3.0])
    found = density(_operator(values), width=0.1, grid=np.array([-3.0, 1.0, 2.0]))
    peak = 1 / (0.1 * np.sqrt(2 * np.pi)) / 4
    assert np.allclose(found.values, [peak, 2 * peak, peak], rtol=1e-3)


def test_a_product_that_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        density(Operator(lambda block: block * float("nan"), N))
