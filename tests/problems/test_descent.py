"""Runs side by side against the optimiser alone, and against plain loops.

No other test would see one run's noise reach another, or a run stop at the wrong step.
"""

import math

import numpy as np
import pytest
import torch

from sounding.optim import PerturbedSGD
from sounding.problems import Noise, Pitchfork, Staircase, descend_together
from sounding.problems.descent import ball


def test_perturbed_runs_are_those_of_the_optimiser():
    """The same generator draws the same noise, so the points agree to the last digit."""
    problem = Pitchfork(10)
    noise = Noise(radius=0.01, threshold=1e-3, interval=20)
    start = torch.zeros(1, 10, dtype=torch.float64)
    found = descend_together(problem, start, lr=0.1, steps=150, noise=noise, seed=3)
    problem.place(start)
    optimiser = PerturbedSGD(
        problem.parameters(), lr=0.1, radius=0.01, gradient_threshold=1e-3, interval=20, seed=3
    )
    for _ in range(150):
        optimiser.zero_grad()
        problem(None).backward()
        optimiser.step()
    np.testing.assert_allclose(found.points[0], problem.point(), rtol=0, atol=1e-15)
    assert abs(found.points[0, 0]) == pytest.approx(0.5**0.5, abs=0.02)


def test_a_run_stops_at_the_first_step_at_which_it_has_arrived():
    problem = Pitchfork(2)  # near 0 the first coordinate grows by 1 + lr gamma
    starts = torch.tensor([[1e-3, 0.0], [1e-6, 0.0], [0.0, 0.5]], dtype=torch.float64)
    found = descend_together(
        problem, starts, lr=0.1, steps=200, until=lambda x: x[:, 0].abs() > 1e-2
    )
    expected = [math.ceil(math.log(1e-2 / a) / math.log(1.05)) for a in (1e-3, 1e-6)]
    assert found.steps.tolist() == [*expected, 200]
    assert found.arrived.tolist() == [True, True, False]
    assert abs(found.points[0, 0]) < 1.05e-2
    assert found.points[2, 1] == pytest.approx(0.5 * 0.9**200)


def test_plain_descent_down_the_staircase_takes_the_counted_steps():
    problem = Staircase(3)
    starts = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (5, 3)))
    found = descend_together(
        problem, starts, lr=problem.lr, steps=2000,
        until=lambda x: (x.abs() >= 2 * math.e).all(1),
    )  # fmt: skip
    assert np.array_equal(found.steps, problem.descend(starts)[:, -1])


def test_the_ball_is_filled_evenly():
    """The radius to the power n is uniform, and every coordinate has variance 1 / (n + 2)."""
    drawn = ball(20_000, 3, torch.Generator().manual_seed(0))
    cubes = drawn.norm(dim=1) ** 3
    assert float(cubes.mean()) == pytest.approx(0.5, abs=0.01)  # five standard errors
    assert float(cubes.max()) <= 1
    assert drawn.var(dim=0).numpy() == pytest.approx([0.2] * 3, abs=0.01)
