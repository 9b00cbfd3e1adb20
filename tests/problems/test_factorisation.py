"""Matrix factorisation: every eigenvalue in closed form against a dense Hessian.

No other test would see a saddle named with the wrong index, or a balance term that is a factor off.
"""

import numpy as np
import pytest
import torch
from agreement import check_known

import sounding as sd
from sounding.problems import AsymmetricFactorisation, SymmetricFactorisation

RNG = np.random.default_rng(7)


def _turned(values, size):
    q, _ = np.linalg.qr(RNG.standard_normal((size, size)))
    return q @ np.diag([*values, *[0.0] * (size - len(values))]) @ q.T


SYMMETRIC = {
    "rank of the truth": SymmetricFactorisation(_turned([4, 3, 2], 5), 3),
    "fewer columns": SymmetricFactorisation(_turned([4, 3, 2, 1], 4), 2),
    "more columns": SymmetricFactorisation(_turned([4, 2], 4), 3),
    "one column": SymmetricFactorisation(_turned([4, 3, 1], 3), 1),
}
ASYMMETRIC = {
    f"{name}, balance {balance}": AsymmetricFactorisation(matrix, rank, balance=balance)
    for balance in (0.0, 0.125, 1.0)
    for name, matrix, rank in (
        ("diag(3, 2, 1)", np.diag([3.0, 2, 1]), 2),
        ("wide", RNG.standard_normal((3, 5)), 2),
        ("more columns than rank", np.outer([1, 2, 3], [1, 1.0]), 2),
    )
}


@pytest.mark.parametrize("problem", SYMMETRIC.values(), ids=SYMMETRIC)
def test_symmetric_points_have_the_spectrum_that_is_stated(problem):
    check_known(problem, [*problem.critical_points(), *problem.draw(5)])


@pytest.mark.parametrize("problem", ASYMMETRIC.values(), ids=ASYMMETRIC)
def test_asymmetric_points_have_the_spectrum_that_is_stated(problem):
    check_known(problem, [*problem.critical_points(), *problem.draw(5)])


@pytest.mark.parametrize("balance", [0.0, 0.125])
def test_smallest_eigenvalues_of_the_three_by_three_example(balance):
    problem = AsymmetricFactorisation(np.diag([3.0, 2, 1]), 2, balance=balance)
    smallest = {known.name: known.smallest for known in problem.critical_points()}
    expected = {"S = {}": -3, "S = {1}": -2, "S = {3}": -3, "S = {2, 3}": -2, "S = {1, 2}": 0}
    assert {name: smallest[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_gradient_and_curvature_against_the_matrix_formulas():
    problem = SYMMETRIC["fewer columns"]
    point = torch.randn(problem.size, dtype=torch.float64)
    u, m = point.view(4, 2), problem.matrix
    z = torch.randn(4, 2, dtype=torch.float64)
    gradient = ((u @ u.T - m) @ u).flatten()
    assert torch.allclose(problem.gradients(point)[0], gradient, rtol=1e-12)
    form = ((u @ z.T + z @ u.T) ** 2).sum() / 2 + ((u @ u.T - m) * (z @ z.T)).sum()
    found = z.flatten() @ problem.hessians(point)[0] @ z.flatten()
    assert float(found) == pytest.approx(float(form), rel=1e-12)


def test_descent_from_small_random_starts_always_reaches_the_global_minimum():
    problem = SymmetricFactorisation(np.diag([4.0, 3, 2, 1]), 3)
    assert problem.minimum == 1 / 4
    points = problem.starts(100, seed=1)
    for _ in range(1500):
        points = points - 0.1 * problem.gradients(points)
    assert (problem.losses(points) - problem.minimum).abs().max() < 1e-12


def test_a_problem_is_taken_like_a_network():
    problem = SYMMETRIC["rank of the truth"]
    origin = next(k for k in problem.critical_points() if k.name == "S = {}")
    before = problem.point()
    problem.place(origin)
    operator = sd.hessian(problem, problem.loss, problem.batches)
    assert np.linalg.eigvalsh(operator.to_dense())[0] == pytest.approx(origin.smallest, rel=1e-8)
    problem.place(before)
    assert np.array_equal(problem.point(), before)


def test_wrong_matrices_are_named():
    with pytest.raises(ValueError, match="negative eigenvalue"):
        SymmetricFactorisation(np.diag([1.0, -1.0]), 1)
    with pytest.raises(ValueError, match="rows of 4 numbers"):
        SymmetricFactorisation(np.eye(2), 2).losses(np.zeros((3, 5)))
