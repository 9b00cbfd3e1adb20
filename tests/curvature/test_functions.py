"""Log-determinants and effective dimensions of known spectra."""

import numpy as np
import pytest
import torch

from sounding.curvature.functions import effective_dimension, log_determinant
from sounding.curvature.operator import Operator

N = 400
VALUES = np.r_[30, 10, 5, np.random.default_rng(0).exponential(0.2, N - 3)]


def _operator(values):
    diagonal = torch.as_tensor(np.asarray(values), dtype=torch.float64)
    return Operator(lambda block: block * diagonal, len(diagonal), dtype=torch.float64)


QUANTITIES = {
    log_determinant: lambda values, damping: np.log(values + damping).sum(),
    effective_dimension: lambda values, damping: (values / (values + damping)).sum(),
}


@pytest.mark.parametrize("damping", [0.05, 1.0])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_within_three_standard_errors(quantity, damping):
    # 8 seeds: a false alarm of three errors from six starts (t with 5 degrees) is 3 % for one.
    true = QUANTITIES[quantity](VALUES, damping)
    off = []
    for seed in range(8):
        found = quantity(_operator(VALUES), damping, seed=seed)
        off.append((found.value - true) / found.error)
        assert found.value == pytest.approx(true, rel=0.15)
    assert np.sum(np.abs(off) > 3) <= 1


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_small_matrices_are_exact(quantity):
    values = np.array([3.0, 1.0, 0.5])
    found = quantity(_operator(values), 0.1)
    assert found.value == pytest.approx(QUANTITIES[quantity](values, 0.1), rel=1e-12)
    assert found.error == 0


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_multiple_of_the_identity_is_exact(quantity):
    found = quantity(_operator(np.full(N, 2.0)), 0.5)
    assert found.value == pytest.approx(QUANTITIES[quantity](np.full(N, 2.0), 0.5), rel=1e-9)
    assert found.converged


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_what_is_not_positive_definite_is_one_sentence(quantity):
    with pytest.raises(ValueError, match="has an eigenvalue near -"):
        quantity(_operator(np.r_[-2.0, VALUES[1:]]), 0.5)


def test_damping_has_to_be_positive():
    with pytest.raises(ValueError, match="damping is 0"):
        effective_dimension(_operator(VALUES), 0)


def test_out_of_reach_is_loud():
    found = log_determinant(_operator(VALUES), 1e-3, tol=1e-7, most=60)
    assert not found.converged
    assert "raise most" in found.note
