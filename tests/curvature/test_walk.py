"""What three vectors tell of a start, against the start itself and against dense inverses.

The tests of the guard would not see a limit that holds in exact arithmetic only, or one for other
vectors than those of the search.
"""

import math

import numpy as np
import pytest
import torch

from sounding.curvature.operator import Operator
from sounding.curvature.tridiagonal import Processes
from sounding.curvature.walk import HUGE, Walk

N = 300
SPECTRUM = np.r_[1.0, 0.95, np.linspace(-0.5, 0.9, N - 2)]


def _operator(values, dtype=torch.float32):
    diagonal = torch.as_tensor(values, dtype=dtype)
    return Operator(lambda block: block * diagonal, len(diagonal), dtype=dtype)


@pytest.mark.parametrize("starts", [1, 3])
def test_the_share_of_an_eigenvector_is_never_longer_than_said(starts):
    operator = _operator(SPECTRUM)
    for seed in range(20):
        walk, share = Walk(operator, starts, seed=seed), operator.normal(starts, seed=seed)[:, 0]
        for _ in range(80):
            walk.step()
            assert float(share.norm()) <= walk.limit((0.97, math.inf))


def test_beyond_the_spectrum_the_limit_falls_without_end():
    walk, limits = Walk(_operator(SPECTRUM), 1, seed=0), {}
    for m in range(1, 901):
        walk.step()
        if m in (10, 120, 900):
            limits[m] = walk.limit((1.01, math.inf))
    assert 1e-2 < limits[10] < 10
    assert limits[120] < 1e-6
    assert 0 < limits[900] < 1 / HUGE


def test_it_equals_a_corner_of_the_inverse():
    # Of (x I - T)^-1, times what couples T to the next vector.
    operator, (low, high) = _operator(SPECTRUM, torch.float64), (-0.6, 1.05)
    walk, start = Walk(operator, 1, seed=1), operator.normal(1, seed=1)
    twin = Processes(operator, start, keep=False)
    for m in range(1, 13):
        walk.step()
        twin.step()
        t, beside = np.diag(twin.each[0].diagonal), np.array(twin.each[0].beside)
        t += np.diag(beside[: m - 1], 1) + np.diag(beside[: m - 1], -1)
        for at, gap in ((low, (-math.inf, low)), (high, (high, math.inf))):
            corner = abs(beside[-1] * np.linalg.inv(at * np.eye(m) - t)[0, -1])
            assert walk.limit(gap) == pytest.approx(float(start.norm()) * corner, rel=1e-9)
        values = np.linalg.eigvalsh(t)
        for low_end, high_end in ((-0.2, 0.1), (0.5, 0.6), (0.3, math.inf)):
            held = np.any((values > low_end) & (values < high_end))
            assert math.isinf(walk.limit((low_end, high_end))) == held


def test_where_the_start_says_everything_nothing_is_left():
    walk = Walk(_operator(np.repeat([2.0, 1.0], N // 2)), 2, seed=0)
    while not walk.ended:
        walk.step()
    assert walk.limit((2.5, math.inf)) == walk.limit((1.2, 1.8)) == 0.0
    assert walk.limit((1.5, math.inf)) == math.inf
