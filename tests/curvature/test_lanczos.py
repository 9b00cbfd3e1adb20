"""The invariants of the Lanczos process, through restarts and breakdowns, against dense algebra."""

import numpy as np
import pytest
import torch

from sounding.curvature.basis import Basis, orthonormal
from sounding.curvature.lanczos import Lanczos
from sounding.curvature.operator import Operator

N = 60


def _matrix(seed=0):
    made = torch.randn(N, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (made + made.T) / 2


def _start(count, seed=1):
    return torch.randn(count, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _check_invariants(lanczos, matrix):
    """A V = V T + Q B E', V orthonormal, T = V'AV, and the residuals are what they say."""
    m = lanczos.count
    rows = lanczos.basis.rows(0, lanczos.basis.count)
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=1e-12)
    v, q = rows[:m], rows[m:]
    t = torch.from_numpy(lanczos.matrix)
    assert torch.allclose(v @ matrix @ v.T, t, atol=1e-11)
    left = v @ matrix - t @ v
    p = lanczos.coupling.shape[1]
    assert torch.allclose(left[m - p :], torch.from_numpy(lanczos.coupling).T @ q, atol=1e-11)
    assert float(left[: m - p].abs().max() if m > p else 0) < 1e-11
    values, vectors, residuals = lanczos.ritz()
    ritz = torch.from_numpy(vectors).T @ v
    true = (ritz @ matrix - torch.from_numpy(values)[:, None] * ritz).norm(dim=1)
    assert np.allclose(true.numpy(), residuals, atol=1e-11)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_invariants_hold_through_steps_and_a_restart(count):
    matrix = _matrix()
    lanczos = Lanczos(Operator.dense(matrix), _start(count))
    for _ in range(6):
        lanczos.step()
        _check_invariants(lanczos, matrix)
    _, vectors, _ = lanczos.ritz()
    lanczos.restart(vectors[:, -4:])
    assert lanczos.restarts == 1
    for _ in range(3):
        lanczos.step()
        _check_invariants(lanczos, matrix)


def test_the_start_is_known_in_terms_of_the_basis():
    lanczos = Lanczos(Operator.dense(_matrix()), _start(3))
    for _ in range(3):
        lanczos.step()
    rows = lanczos.basis.rows(0, lanczos.count)
    assert torch.allclose(torch.from_numpy(lanczos.first).T @ rows, _start(3), atol=1e-12)


def test_a_full_subspace_gives_all_eigenvalues():
    matrix = _matrix()
    lanczos = Lanczos(Operator.dense(matrix), _start(1))
    while lanczos.count < N:
        lanczos.step()
    assert np.allclose(lanczos.ritz()[0], np.linalg.eigvalsh(matrix.numpy()), atol=1e-10)


def test_an_invariant_subspace_is_noticed_and_left_by_a_random_direction():
    diagonal = torch.tensor([3.0] * 20 + [1.0] * 40, dtype=torch.float64)
    lanczos = Lanczos(Operator(lambda b: b * diagonal, N, dtype=torch.float64), _start(1))
    lanczos.step()
    lanczos.step()
    assert lanczos.exhausted
    assert np.allclose(lanczos.ritz()[0], [1, 3])
    assert np.allclose(lanczos.ritz()[2], 0)
    lanczos.refresh(5)
    lanczos.step()
    lanczos.step()
    assert np.allclose(lanczos.ritz()[0], [1, 1, 3, 3])


def test_dependent_start_vectors_are_dropped():
    one = _start(1)
    rows, factor = orthonormal(Operator.dense(_matrix()), torch.cat([one, 2 * one, _start(1, 9)]))
    assert rows.shape == (2, N)
    assert torch.allclose(factor.T @ rows, torch.cat([one, 2 * one, _start(1, 9)]), atol=1e-10)


def test_projection_takes_the_span_out():
    operator = Operator.dense(_matrix())
    basis = Basis(operator, N)
    rows, _ = orthonormal(operator, _start(20))
    basis.append(rows)
    block = _start(2, seed=4)
    coefficients = basis.project_out(block)
    assert torch.allclose(coefficients, rows @ _start(2, seed=4).T)
    assert float((rows @ block.T).abs().max()) < 1e-12


def test_a_product_that_is_not_finite_is_one_sentence():
    lanczos = Lanczos(Operator(lambda b: b * float("nan"), N, dtype=torch.float64), _start(1))
    with pytest.raises(ValueError, match="not finite; the loss or its derivatives overflow"):
        lanczos.step()
