"""Descents whose ends or times are published: students of ReLU teachers, and the staircase."""

import numpy as np
import torch

from sounding.problems import Staircase, StudentTeacher
from sounding.problems.staircase import medians
from sounding.problems.student_descent import bad_minima


def test_bad_minima_are_as_frequent_as_published():
    """Safran and Shamir (2018) met 126 in 1,000 runs at k = n = 8."""
    row, runs = bad_minima(8, trials=100)
    assert row.published == 126
    assert abs(row.z) < 3  # twice the rate would be 3.8
    assert row.unfinished == 0
    assert row.certified == row.bad
    hessian = StudentTeacher(8).hessians(runs.points[runs.bad][:1].reshape(1, -1))[0]
    smallest = float(torch.linalg.eigvalsh(hessian)[0])
    assert 0 < runs.smallest[runs.bad][0] <= smallest


def test_the_expected_loss_against_samples():
    problem = StudentTeacher(3)
    point = problem.starts(1, seed=3)
    drawn = [float(problem.losses(point, problem.sample(20_000, seed=s))) for s in range(10)]
    error = np.std(drawn, ddof=1) / 10**0.5
    assert abs(np.mean(drawn) - float(problem.losses(point).detach())) < 4 * error
    assert error < 0.02


def test_the_staircase_takes_exponential_time():
    """The time from a stage to the next multiplies by what the formula says, within 5 %."""
    found = medians([10, 22], runs=30)
    ratio = (found[22] / found[10]) ** (1 / 12)
    assert abs(ratio / Staircase(10).growth() - 1) < 0.05


def test_the_staircase_by_logarithms_is_plain_descent():
    problem = Staircase(3)
    start = torch.tensor([[0.3, -0.5, 0.7]], dtype=torch.float64)
    counted = problem.descend(start)[0]
    x, passed = start.clone(), {}
    for step in range(1, int(counted[-1]) + 5):
        x = x - problem.lr * problem.gradients(x)
        for i in range(3):
            if i not in passed and float(x[0, i].abs()) >= 2 * np.e:
                passed[i] = step
    assert [passed[i] for i in range(3)] == list(counted)
