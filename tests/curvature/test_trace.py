"""Traces and Frobenius norms of known spectra, and how often two standard errors cover them."""

import numpy as np
import pytest
import torch

from sounding.curvature.operator import Operator
from sounding.curvature.trace import frobenius_norm, trace

N = 1000
_RNG = np.random.default_rng(0)
SPECTRA = {
    "net": np.r_[34, 25, 17, 16, 14, 12, 11, 10, 9, 8, _RNG.laplace(0.02, 0.05, N - 10)],
    "wide": _RNG.uniform(0, 1, N),
    "decay": 1 / np.arange(1, N + 1),
    "flat": np.ones(N),
    "both signs": np.r_[10, -9, 8, -7, _RNG.normal(0.05, 0.2, N - 4)],
}
QUANTITIES = {
    trace: np.sum,
    frobenius_norm: lambda values: np.sqrt(np.sum(values**2)),
}


def _operator(values, dtype=torch.float64):
    diagonal = torch.as_tensor(np.asarray(values), dtype=dtype)
    return Operator(lambda block: block * diagonal, len(diagonal), dtype=dtype)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", SPECTRA)
def test_two_standard_errors_cover_the_truth(name, quantity):
    # 60 seeds: at a coverage of 0.95, 51 or fewer have a probability of 0.002.
    true = QUANTITIES[quantity](SPECTRA[name])
    found = [quantity(_operator(SPECTRA[name]), seed=seed) for seed in range(60)]
    misses = [abs(e.value - true) > 2 * e.error + 1e-9 * abs(true) for e in found]
    assert sum(misses) <= 8
    converged = [e for e in found if e.converged]
    assert len(converged) >= 50
    off = np.array([e.value / true - 1 for e in converged])
    assert np.sqrt(np.mean(off**2)) <= 0.05


def test_small_matrices_are_exact():
    values = [3.0, 1.0, -2.0]
    assert trace(_operator(values)).value == pytest.approx(2)
    assert trace(_operator(values)).error == 0
    assert frobenius_norm(_operator(values)).value == pytest.approx(14**0.5)


def test_few_large_eigenvalues_are_taken_out_exactly():
    values = np.r_[100.0, 50.0, 25.0, np.zeros(N - 3)]
    found = trace(_operator(values))
    assert found.value == pytest.approx(175, rel=1e-6)
    assert frobenius_norm(_operator(values)).value == pytest.approx(13125**0.5, rel=1e-6)


def test_deflating_known_vectors_changes_nothing_but_the_error():
    values = SPECTRA["both signs"]
    vectors = torch.eye(N, dtype=torch.float64)[:4]
    plain = trace(_operator(values), tol=1e-9, most=60)
    deflated = trace(_operator(values), tol=1e-9, most=60, deflate=vectors)
    assert deflated.value == pytest.approx(values.sum(), abs=3 * deflated.error)
    assert deflated.error < 2 * plain.error
    square = frobenius_norm(_operator(values), deflate=vectors)
    assert square.value == pytest.approx(np.sqrt((values**2).sum()), abs=3 * square.error)


def test_deflating_vectors_that_are_no_eigenvectors_stays_right():
    made = torch.randn(200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = made @ made.T / 200
    rows = torch.linalg.qr(
        torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).double()
    )[0].T
    found = trace(Operator.dense(matrix), deflate=rows)
    assert found.value == pytest.approx(float(matrix.trace()), abs=3 * found.error)
    square = frobenius_norm(Operator.dense(matrix), deflate=rows)
    assert square.value == pytest.approx(float(matrix.norm()), abs=3 * square.error)


def test_out_of_reach_is_loud():
    values = np.r_[np.ones(N // 2), -np.ones(N // 2)]
    found = trace(_operator(values), most=60)
    assert not found.converged
    assert "raise most" in found.note
    assert found.products <= 60
    assert "NOT CONVERGED" in str(found)


def test_zero_and_interrupt():
    assert trace(_operator(np.zeros(N))).value == 0
    operator, calls = _operator(SPECTRA["both signs"]), []

    def apply(block):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return operator.apply(block)

    found = trace(Operator(apply, N, dtype=torch.float64), tol=1e-6)
    assert not found.converged
    assert found.note.startswith("interrupted")


@pytest.mark.parametrize(
    ("arguments", "words"), [({"tol": 0.0}, "tol is 0.0"), ({"most": 3}, "most is 3")]
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        trace(_operator(SPECTRA["net"]), **arguments)


def test_a_product_that_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        trace(Operator(lambda block: block * float("nan"), N))
