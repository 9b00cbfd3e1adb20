"""Rectifiers on Gaussian inputs: closed forms against samples, autograd, differences and print.

No other test would see a wrong expectation, a Hessian that is off where vectors coincide, Newton
taking a run to another minimum than descent would, or counts that are not the published ones.
"""

import math

import numpy as np
import pytest
import torch

from sounding.problems import StudentTeacher, spurious_minimum
from sounding.problems.problem import Problem
from sounding.problems.student_descent import (
    PUBLISHED,
    STATIONARY,
    bad_minima,
    certified_smallest,
    descend,
    published_table,
)

TEACHER = np.random.default_rng(0).standard_normal((3, 4))


@pytest.fixture
def problem():
    return StudentTeacher(n=5, teacher=TEACHER)


def test_the_expectation_is_that_of_four_hundred_thousand_samples(problem):
    point = problem.starts(1, seed=3)
    batches = [problem.sample(20_000, seed=seed) for seed in range(20)]
    means = np.array([float(problem.losses(point, batch)) for batch in batches])
    error = means.std(ddof=1) / math.sqrt(len(means))
    # four standard errors: a false alarm in 1300 seeds (t with 19 degrees), and the seed is fixed
    assert abs(means.mean() - float(problem.losses(point))) < 4 * error < 0.05 * means.mean()


def test_gradient_and_hessian_in_closed_form_are_those_of_autograd(problem):
    points = problem.starts(4, seed=1)
    gradients = Problem.gradients(problem, points)
    assert torch.allclose(problem.gradients(points), gradients, rtol=0, atol=1e-14)
    hessians = Problem.hessians(problem, points)
    assert torch.allclose(problem.hessians(points), hessians, rtol=0, atol=1e-13)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-6, 1e-3])
def test_derivatives_hold_where_a_student_nearly_is_the_teacher(distance):
    problem = StudentTeacher(4)
    away = torch.from_numpy(np.random.default_rng(1).standard_normal(16))
    away = distance * away / away.norm()
    point = torch.eye(4, dtype=torch.float64).flatten() + away
    autograd = Problem.hessians(problem, point)
    assert torch.allclose(problem.hessians(point), autograd, rtol=0, atol=1e-12)
    # F'' is Lipschitz, so the gradient is H times the way from the teacher up to a square
    line = problem.hessians(np.eye(4).reshape(-1))[0] @ away
    assert (Problem.gradients(problem, point)[0] - line).norm() <= 2 * distance**2 + 1e-15
    assert (problem.gradients(point)[0] - line).norm() <= 2 * distance**2 + 1e-8


def test_the_teacher_is_a_strict_minimum_with_its_eigenvalue():
    known = StudentTeacher(6).critical_points()[0]
    assert known.kind == "strict minimum"
    assert known.smallest == pytest.approx(1 / 4 - 1 / (2 * math.pi), abs=1e-13)


@pytest.mark.parametrize(
    ("k", "loss", "smallest"),
    [
        (4, 0.0280249813, -0.0244),
        (5, 0.0269704695, -0.0077),
        (6, 0.0250805810, 0.004700),
        (7, 0.0232027149, 0.014059),
        (8, 0.0215080372, 0.021347),
        (10, 0.0187021946, 0.031964),
        (20, 0.0112755819, 0.055093),
    ],
)
def test_family_of_bad_minima_has_the_tabled_losses_and_eigenvalues(k, loss, smallest):
    problem = StudentTeacher(k)
    known = problem.critical_points()[1]
    assert known.value == pytest.approx(loss, abs=1e-10)
    assert known.smallest == pytest.approx(smallest, abs=6e-5 if k < 6 else 6e-7)
    assert known.kind == ("strict saddle" if k < 6 else "strict minimum")
    assert float(problem.gradients(known.parameters).norm()) < 1e-12


def test_the_family_turns_with_the_teacher():
    q, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))
    problem = StudentTeacher(teacher=q)
    known = problem.critical_points()[1]
    assert known.value == pytest.approx(0.0250805810, abs=1e-10)
    assert float(problem.gradients(known.parameters).norm()) < 1e-12


def test_newton_ends_every_run_where_descent_alone_does():
    problem = StudentTeacher(9)
    starts = problem.starts(8, seed=5)
    fast, plain = descend(problem, starts), descend(problem, starts, newton=False)
    assert fast.ended.all()
    assert plain.ended.all()
    assert np.array_equal(fast.bad, plain.bad)
    assert fast.bad.any()
    distance = np.linalg.norm((fast.points - plain.points)[fast.bad], axis=(1, 2))
    assert distance.max() < 1e-6  # of a gradient of 1e-10, divided by curvatures above 1e-2
    assert fast.steps.sum() < plain.steps.sum()


def test_bad_ends_are_stationary_certified_and_in_the_family():
    row, runs = bad_minima(9, trials=40, seed=1)
    assert row.bad == row.certified == runs.bad.sum() > 0
    assert runs.gradients[runs.bad].max() < STATIONARY
    assert runs.newton[runs.bad].max() < 1e-10
    family = StudentTeacher(9).critical_points()[1]
    near = np.abs(runs.losses[runs.bad] - family.value)
    assert near.min() < 1e-8  # most bad runs end in this one
    assert runs.smallest[runs.bad][near.argmin()] == pytest.approx(family.smallest, abs=1e-8)


def test_rates_of_bad_minima_are_the_published_ones():
    rows = published_table((7, 9), trials=100, seed=11)
    # |z| < 3 twice: a false alarm in 180 seeds, and the seed is fixed
    assert all(abs(row.z) < 3 for row in rows)
    assert [row.published for row in rows] == [55, 218] == [PUBLISHED[k, k] for k in (7, 9)]
    assert rows[0].rate < rows[1].rate
    assert all(row.unfinished == 0 for row in rows)
    assert "k = 9, n = 9" in str(rows[1])


def test_a_student_that_is_wider_by_one_hardly_ever_fails():
    row, _ = bad_minima(7, 8, trials=50, seed=0)
    assert (row.bad, row.unfinished) == (0, 0)


def test_certificate_is_below_the_true_eigenvalue():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(30, 30, dtype=torch.float64, generator=generator)
    q = torch.linalg.qr(drawn)[0]
    values = torch.linspace(0.004, 5, 30, dtype=torch.float64)
    assert 0.004 - 1e-8 < float(certified_smallest((q * values @ q.T)[None])) <= 0.004
    saddle = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert float(certified_smallest(saddle[None])) <= -1


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="begins at k = 4"):
        spurious_minimum(3)
    with pytest.raises(ValueError, match="no teacher's row may be zero"):
        StudentTeacher(teacher=np.zeros((2, 2)))
