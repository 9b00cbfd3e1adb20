"""The probability of a miss, against how often it happens.

The bound says: a start that leaves as little of an eigenvector as T allows comes up with at most
this probability. So over many seeds the share of searches in which the bound at the true largest
eigenvalue is below p must be at most p, although that eigenvalue is there in all of them.
"""

import numpy as np
import pytest
import torch

from sounding.curvature.guard import Guard
from sounding.curvature.lanczos import Lanczos
from sounding.curvature.operator import Operator
from sounding.vectors import normal

N = 300


def _guard(operator, steps, seed, block=1):
    start = normal(block, N, seed=seed, dtype=torch.float64, device=torch.device("cpu")) / N**0.5
    lanczos = Lanczos(operator, start)
    for _ in range(steps):
        lanczos.step()
    values, vectors, _ = lanczos.ritz()
    return values, Guard(values, vectors, lanczos.coupling, lanczos.first, N)


def _operator(values):
    diagonal = torch.as_tensor(values, dtype=torch.float64)
    return Operator(lambda block: block * diagonal, N, dtype=torch.float64)


SPECTRUM = np.r_[1.0, np.linspace(-0.5, 0.9, N - 1)]


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("steps", [6, 12])
def test_what_is_there_is_ruled_out_no_more_often_than_said(steps, block):
    # 300 seeds: at p = 0.1 a true rate of 0.1 gives more than 45 with probability 0.002.
    ruled_out = [_guard(_operator(SPECTRUM), steps, s, block)[1].missed(1.0) for s in range(300)]
    assert np.sum(np.array(ruled_out) <= 0.1) <= 45
    assert np.sum(np.array(ruled_out) <= 0.01) <= 10


def test_it_equals_the_bound_by_lanczos_polynomials():
    # (u'b)^2 <= 1 / sum_j p_j(x)^2 with the orthonormal polynomials of T, j = 0..m.
    operator, at = _operator(SPECTRUM), 1.1
    start = normal(1, N, seed=0, dtype=torch.float64, device=torch.device("cpu"))
    lanczos = Lanczos(operator, start / N**0.5)
    for _ in range(8):
        lanczos.step()
    t, coupling = lanczos.matrix, float(lanczos.coupling[0, 0])
    before, now, total = 0.0, 1.0, 1.0
    for j in range(8):
        below = t[j - 1, j] if j else 0.0
        above = t[j, j + 1] if j < 7 else coupling
        before, now = now, ((at - t[j, j]) * now - below * before) / above
        total += now**2
    share = float(start.norm()) / N**0.5 / total**0.5
    values, vectors, _ = lanczos.ritz()
    guard = Guard(values, vectors, lanczos.coupling, lanczos.first, N)
    z = torch.tensor(share * N**0.5 / 2**0.5, dtype=torch.float64)
    assert guard.missed(at) == pytest.approx(float(torch.special.erf(z)), rel=1e-6)


def test_the_bound_is_where_the_probability_falls_below_miss():
    values, guard = _guard(_operator(SPECTRUM), 15, 3)
    top = guard.bound(values[-1], 1e-3, 1e-3, 1)
    assert guard.missed(top) <= 1e-3 < guard.missed(values[-1] + 0.9 * (top - values[-1]))
    bottom = guard.bound(values[0], 1e-3, 1e-3, -1)
    assert bottom < values[0]
    assert guard.missed(bottom) <= 1e-3


def test_the_vectorised_form_for_blocks_equals_the_scalar_one():
    values, guard = _guard(_operator(SPECTRUM), 10, 0)
    inside = guard._coupled[:, 0] / (1.05 - values)
    largest = abs(guard._random[0] @ inside) / np.sqrt(1 + inside @ inside)
    half, square = torch.tensor([0.5, N * largest**2 / 2], dtype=torch.float64)
    assert guard.missed(1.05) == pytest.approx(
        float(torch.special.gammainc(half, square)), rel=1e-9
    )
