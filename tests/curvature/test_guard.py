"""The probability of a miss, against how often it happens.

The bound says: a start that leaves as little of an eigenvector as T allows comes up with at most
this probability. So over many seeds the share of searches in which the bound at the true largest
eigenvalue is below p must be at most p, although that eigenvalue is there in all of them.
"""

import math

import numpy as np
import pytest
import torch

from sounding.curvature.guard import Guard, by_basis
from sounding.curvature.lanczos import Lanczos
from sounding.curvature.operator import Operator
from sounding.curvature.walk import Walk
from sounding.vectors import normal

N = 300


def _guard(operator, steps, seed, block=1):
    start = normal(block, N, seed=seed, dtype=torch.float64, device=torch.device("cpu")) / N**0.5
    lanczos = Lanczos(operator, start)
    for _ in range(steps):
        lanczos.step()
    values, vectors, _ = lanczos.ritz()
    limit = by_basis(values, vectors, lanczos.coupling, lanczos.first, N)
    return values, Guard(limit, block)


def _operator(values, dtype=torch.float64):
    diagonal = torch.as_tensor(values, dtype=dtype)
    return Operator(lambda block: block * diagonal, N, dtype=dtype)


ALL_BUT_THE_TOP = np.linspace(-0.5, 0.9, N - 1)
SPECTRUM = np.r_[1.0, ALL_BUT_THE_TOP]
GAP = (0.95, math.inf)  # which does hold an eigenvalue


def _ruled_out(probabilities):
    # 300 seeds: at p = 0.1 a true rate of 0.1 gives more than 45 with probability 0.002.
    assert len(probabilities) == 300
    assert np.sum(np.array(probabilities) <= 0.1) <= 45
    assert np.sum(np.array(probabilities) <= 0.01) <= 10


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("steps", [6, 12])
def test_what_is_there_is_ruled_out_no_more_often_than_said(steps, block):
    guards = [_guard(_operator(SPECTRUM), steps, s, block)[1] for s in range(300)]
    _ruled_out([guard.missed((1.0, math.inf)) for guard in guards])
    _ruled_out([guard.missed(GAP) for guard in guards])


@pytest.mark.parametrize("block", [1, 2])
def test_without_a_basis_neither_whenever_one_stops(block):
    # In single precision 60 steps are far beyond where vectors are orthogonal.
    probabilities = []
    for seed in range(300):
        walk = Walk(_operator(SPECTRUM, torch.float32), block, seed=seed)
        guard, least = Guard(walk.limit, block), 1.0
        for _ in range(60):
            walk.step()
            least = min(least, guard.missed(GAP))
        probabilities.append(least)
    _ruled_out(probabilities)
    assert min(probabilities) < 0.5  # it is not that nothing is ever ruled out


def test_a_gap_in_which_there_is_a_ritz_value_is_never_ruled_out():
    values, guard = _guard(_operator(SPECTRUM), 40, 0)
    assert values[-1] == pytest.approx(1.0)
    assert guard.missed((0.99, math.inf)) == 1.0
    assert guard.missed((0.93, 0.98)) < 1e-3
    assert guard.missed((-math.inf, -0.6)) < 1e-3


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
    guard = Guard(by_basis(values, vectors, lanczos.coupling, lanczos.first, N), 1)
    z = torch.tensor(share * N**0.5 / 2**0.5, dtype=torch.float64)
    assert guard.missed((at, math.inf)) == pytest.approx(float(torch.special.erf(z)), rel=1e-6)


def test_the_bound_is_where_the_probability_falls_below_miss():
    values, guard = _guard(_operator(SPECTRUM), 15, 3)
    top = guard.bound(values[-1], 1e-3, 1e-3, 1)
    within = values[-1] + 0.9 * (top - values[-1])
    assert guard.missed((top, math.inf)) <= 1e-3 < guard.missed((within, math.inf))
    bottom = guard.bound(values[0], 1e-3, 1e-3, -1)
    assert bottom < values[0]
    assert guard.missed((-math.inf, bottom)) <= 1e-3


def test_one_dimension_is_no_special_case():
    lengths = torch.tensor([1e-3, 0.1, 1.0, 3.0], dtype=torch.float64)
    half = torch.tensor(0.5, dtype=torch.float64)
    expected = torch.special.gammainc(half, lengths**2 / 2)
    found = [Guard(lambda _, length=length: length, 1).missed(GAP) for length in lengths.tolist()]
    assert found == pytest.approx(expected.tolist(), rel=1e-9)
