"""Every problem of the catalogue keeps its word: on its points, on batches of points, on a tool.

No other test would see a new problem whose stated kinds are wrong, or whose loss of many points at
once is not that of each.
"""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from agreement import check_known

import sounding as sd
from sounding.problems import ENUMERABLE, OTHERS, Problem, random_critical_points

EVERY = {**ENUMERABLE, **OTHERS}
SAMPLED = {  # samples of a sum; 2000, as many as are drawn, for a mean
    **{name: 20 for name in EVERY if name.startswith(("linear network", "separable"))},
    "sensing beyond isometry": 3,
    **dict.fromkeys(("phase retrieval", "student and teacher", "matrix sensing"), 2000),
    "quadratic network": 2000,
}
every = pytest.mark.parametrize("name", EVERY)


@every
def test_stated_points_are_what_they_are_said_to_be(name):
    problem = EVERY[name](3)
    check_known(problem, [*problem.critical_points(), *problem.draw(4, seed=1)])


@every
def test_many_points_at_once_are_each_alone(name):
    problem = EVERY[name](0)
    points = problem.starts(3, seed=5)
    losses, gradients = problem.losses(points), problem.gradients(points)
    for point, loss, gradient in zip(points, losses, gradients, strict=True):
        problem.place(point)
        alone = problem(None)
        assert float(alone.detach()) == pytest.approx(float(loss), rel=1e-12)
        parts = torch.autograd.grad(alone, list(problem.parameters()))
        joined = problem.layout.join(parts)
        assert torch.allclose(joined, gradient, rtol=1e-9, atol=1e-12 * (1 + joined.abs().max()))


@every
def test_gradients_and_hessians_are_differences_of_the_loss(name):
    problem = EVERY[name](0)
    point = problem.starts(1, seed=2)[0]
    direction = torch.from_numpy(np.random.default_rng(1).standard_normal(problem.size))
    step = 1e-5
    ahead, back = (problem.losses(point + s * direction) for s in (step, -step))
    slope = float(problem.gradients(point)[0] @ direction)
    assert slope == pytest.approx(float(ahead - back) / (2 * step), rel=1e-6, abs=1e-7)
    ahead, back = (problem.gradients(point + s * direction)[0] for s in (step, -step))
    product = problem.hessians(point)[0] @ direction
    assert torch.allclose(product, (ahead - back) / (2 * step), rtol=1e-5, atol=1e-5)


@every
def test_the_hessian_tool_takes_a_problem(name):
    problem = EVERY[name](0)
    point = problem.starts(1, seed=2)[0]
    before = problem.place(point).point()
    operator = sd.hessian(problem, problem.loss, problem.batches)
    dense = problem.hessians(point)[0]
    scale = float(dense.abs().max()) + 1e-12
    assert float((operator.to_dense() - dense).abs().max()) < 1e-8 * scale
    assert np.array_equal(problem.point(), before)


@every
def test_no_better_point_is_found_than_the_global_minimum(name):
    problem = EVERY[name](0)
    if np.isfinite(problem.minimum) and name != "staircase":  # whose formula ends at its tube
        losses = problem.losses(problem.starts(200, seed=0, spread=1.0))
        assert float(losses.min()) >= problem.minimum - 1e-9


@pytest.mark.parametrize("name", [n for n in EVERY if n in SAMPLED])
def test_batches_of_samples_estimate_the_whole_loss(name):
    problem = EVERY[name](0)
    point = 0.5 * problem.starts(1, seed=4)
    batches = [problem.sample(2000, seed=s) for s in range(20)]
    share = SAMPLED[name] / 2000  # of a sum over so many samples, as its docstring says
    drawn = np.array([share * float(problem.losses(point, batch).detach()) for batch in batches])
    error = drawn.std(ddof=1) / math.sqrt(len(drawn))
    # four standard errors: a false alarm in 1300 seeds, and the seeds are fixed
    assert abs(float(problem.losses(point).detach()) - drawn.mean()) < 4 * error


def test_three_hundred_random_points_hold_every_kind_and_are_stationary():
    drawn = random_critical_points(300, seed=0)
    kinds = Counter(known.kind for _, known in drawn)
    assert set(kinds) == {
        "strict minimum", "degenerate", "strict saddle", "non-strict saddle", "maximum",
        "not stationary",
    }  # fmt: skip
    for problem, known in drawn:
        still = float(problem.gradients(known.parameters).norm()) < 1e-8
        assert still == (known.kind != "not stationary"), (problem, known.name)


def test_the_same_seed_draws_the_same_points_and_leaves_the_global_generators_alone():
    state = torch.get_rng_state()
    one, two = (random_critical_points(50, seed=4) for _ in range(2))
    assert all(
        np.array_equal(a.parameters, b.parameters) for (_, a), (_, b) in zip(one, two, strict=True)
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_a_point_is_placed_and_returned():
    problem = sd.problems.Himmelblau()
    assert isinstance(problem, Problem)
    known = problem.critical_points()[0]
    assert np.array_equal(problem.place(known).point(), known.parameters)
    with pytest.raises(ValueError, match="rows of 2 numbers"):
        problem.place(np.zeros(3))
