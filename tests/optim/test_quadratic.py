"""Steps of the second-order model against dense linear algebra and brute force."""

import numpy as np
import pytest
import torch

from sounding.curvature.operator import Operator
from sounding.optim.quadratic import cubic, gauss_newton, krylov, whole


def problem(seed, n=12):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return (matrix + matrix.T) / 2, torch.randn(n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("most", [5, 12])
def test_a_damped_gauss_newton_step_solves_its_least_squares(most):
    matrix, gradient = problem(0)
    for model in (whole(matrix, gradient), krylov(Operator.dense(matrix), gradient, most)):
        basis = model.vectors.numpy()
        stacked = np.vstack([matrix.numpy() @ basis.T, 0.3**0.5 * np.eye(len(basis))])
        aim = np.concatenate([-gradient.numpy(), np.zeros(len(basis))])
        expected = np.linalg.lstsq(stacked, aim, rcond=None)[0]
        y = gauss_newton(model, 0.3)
        np.testing.assert_allclose(y, expected, atol=1e-9)
        residual = np.linalg.norm(matrix.numpy() @ (basis.T @ y) + gradient.numpy())
        assert model.residual(y) == pytest.approx(residual, rel=1e-9)
        step = basis.T @ y
        change = gradient.numpy() @ step + 0.5 * step @ matrix.numpy() @ step
        assert model.change(y) == pytest.approx(change, rel=1e-9)


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_the_cubic_step_is_the_global_minimiser(weight):
    """Its conditions (Nesterov & Polyak 2006) are necessary and sufficient."""
    for seed in range(5):
        matrix, gradient = problem(seed)
        model = whole(matrix, gradient)
        d = model.step(cubic(model, weight))
        shifted = matrix + weight * d.norm() * torch.eye(len(d), dtype=d.dtype)
        torch.testing.assert_close(shifted @ d, -gradient, rtol=0, atol=1e-7)
        assert float(torch.linalg.eigvalsh(shifted)[0]) > -1e-8


def test_the_hard_case_goes_along_the_lowest_direction():
    """At a saddle with g = 0 the minimiser has length -lowest / weight."""
    matrix = torch.diag(torch.tensor([-2.0, 2.0], dtype=torch.float64))
    model = whole(matrix, torch.zeros(2, dtype=torch.float64))
    d = model.step(cubic(model, 1.0))
    torch.testing.assert_close(d.abs(), torch.tensor([2.0, 0.0], dtype=torch.float64))
    # g without a share in the lowest direction: (2 + r) d_2 = -1 and r = 2
    model = whole(matrix, torch.tensor([0.0, 1.0], dtype=torch.float64))
    d = model.step(cubic(model, 1.0))
    assert float(d[1]) == pytest.approx(-1 / 4)
    assert float(d.norm()) == pytest.approx(2.0)
