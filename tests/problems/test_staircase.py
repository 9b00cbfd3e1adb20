"""The staircase: its seams, its logarithmic descent against plain descent, its law of growth.

No other test would see the logarithmic count drift from true descent, or underflow come back.
"""

import numpy as np
import pytest
import torch

from sounding.problems import Staircase
from sounding.problems.staircase import TAU, medians

STARTS = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (20, 4)))


@pytest.mark.parametrize("L", [1.0, 1.5])
def test_steps_counted_in_logarithms_are_those_of_plain_descent(L):
    problem = Staircase(4, L=L)
    counted = problem.descend(STARTS)
    points, passed = STARTS.clone(), np.zeros((20, 4), int)
    for step in range(1, int(counted.max()) + 5):
        points = points - problem.lr * problem.gradients(points)
        new = (points.abs().numpy() >= 2 * TAU) & (passed == 0)
        passed[new] = step
    assert np.array_equal(passed, counted)


@pytest.mark.parametrize("L", [1.0, 1.5, 2.0, 3.0])
def test_time_multiplies_from_stage_to_stage_as_predicted(L):
    steps = medians(range(4, 11), L=L)
    slope = np.polyfit(list(steps), np.log(list(steps.values())), 1)[0]
    predicted = 1 + np.log(2) / np.log1p(1 / (2 * L))
    assert Staircase(2, L=L).growth() == pytest.approx(predicted)
    assert np.exp(slope) == pytest.approx(predicted, rel=0.1)


def test_medians_are_those_of_other_starts():
    assert medians([5])[5] == pytest.approx(464, rel=0.3)
    assert medians([10])[10] == pytest.approx(8.2e4, rel=0.5)
    assert medians([10], L=3.0)[10] == pytest.approx(7.8e7, rel=0.5)


def test_plain_double_precision_stands_still_where_the_logarithms_go_on():
    problem = Staircase(10)
    starts = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (3, 10)))
    assert (problem.descend(starts)[:, -1] > 3000).all()
    points = starts
    for _ in range(3000):
        points = points - problem.lr * problem.gradients(points)
    stuck = points.abs() < 1e-323  # half of the smallest number is rounded to it, or to zero
    assert stuck.any(dim=1).all()
    for _ in range(100):
        points = points - problem.lr * problem.gradients(points)
    assert torch.equal(points.abs() < 1e-323, stuck)


def test_loss_and_gradient_are_continuous_across_the_seams():
    problem = Staircase(3, L=1.5)
    for first in (TAU, 2 * TAU):
        for second in (0.0, 0.3):
            sides = torch.tensor(
                [[first * (1 + e), second, 0.1] for e in (-1e-9, 1e-9)], dtype=torch.float64
            )
            below, above = problem.losses(sides).tolist()
            assert below == pytest.approx(above, abs=1e-6)
            assert torch.allclose(*problem.gradients(sides), rtol=0, atol=1e-6)


def test_a_start_that_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match="of zero in each coordinate, not at 0"):
        Staircase(2).descend(torch.tensor([[0.0, 0.5]]))
    with pytest.raises(ValueError, match="between 0 and"):
        Staircase(2).descend(torch.tensor([[0.1, 0.5]]), lr=0.6)
