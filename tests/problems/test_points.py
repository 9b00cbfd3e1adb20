"""Every point that any problem names, against its loss, its gradient and a dense Hessian."""

import math

import numpy as np
import pytest
import torch
from agreement import check_known

from sounding.problems import (
    TEXTBOOK,
    Cosh,
    Himmelblau,
    LinearNetwork,
    MatrixCompletion,
    MatrixSensing,
    PhaseRetrieval,
    Pitchfork,
    Problem,
    QuadraticNetwork,
    Recurrence,
    Rosenbrock,
    SpuriousSensing,
    Staircase,
    StudentTeacher,
    TensorComponent,
    TensorDecomposition,
    Textbook,
)

PROBLEMS = {
    **{name: Textbook(name) for name in TEXTBOOK},
    "Himmelblau": Himmelblau(),
    "Rosenbrock, 2": Rosenbrock(2),
    "Rosenbrock, 5": Rosenbrock(5),
    "cosh": Cosh(3),
    "recurrence": Recurrence(),
    "pitchfork": Pitchfork(6),
    "tensor component": TensorComponent(4),
    "tensor decomposition": TensorDecomposition(3),
    "phase retrieval": PhaseRetrieval(4),
    "sensing": MatrixSensing.gaussian(5, 2, 60),
    "spurious sensing": SpuriousSensing(),
    "quadratic network": QuadraticNetwork.random(),
    "linear network, depth 2": LinearNetwork.random(hidden=(3,)),
    "linear network, depth 3": LinearNetwork.random(hidden=(3, 3)),
    "staircase": Staircase(4),
    "students": StudentTeacher(4),
    "students, 6": StudentTeacher(6),
}

SAMPLED = {n: p for n, p in PROBLEMS.items() if type(p).sample is not Problem.sample}
SUMMED = {LinearNetwork: 20, SpuriousSensing: 3}  # samples of the whole loss


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_points_are_what_they_are_said_to_be(problem):
    check_known(problem, problem.critical_points())
    check_known(problem, problem.draw(6, seed=3))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_gradients_against_differences_and_rows_do_not_see_one_another(problem):
    points = 0.7 * problem.starts(3, seed=2)
    gradients, step = problem.gradients(points), 1e-6
    direction = torch.randn(problem.size, dtype=torch.float64, generator=torch.manual_seed(5))
    ahead, behind = (problem.losses(points + s * step * direction) for s in (1, -1))
    slope = ((ahead - behind) / (2 * step)).detach()
    scale = 1 + slope.abs().max()
    assert ((gradients @ direction - slope).abs() < 2e-5 * scale).all()
    alone = torch.stack([problem.gradients(point)[0] for point in points])
    assert torch.allclose(gradients, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("problem", SAMPLED.values(), ids=SAMPLED)
def test_batches_of_samples_estimate_the_whole_loss(problem):
    point = 0.5 * problem.starts(1, seed=4)
    batches = [problem.sample(2000, seed=s) for s in range(8)]
    whole = SUMMED.get(type(problem), 2000) / 2000  # of sums, as their docstrings say
    drawn = np.array([whole * float(problem.losses(point, batch).detach()) for batch in batches])
    error = drawn.std(ddof=1) / math.sqrt(len(drawn)) + 1e-12
    assert float(problem.losses(point).detach()) == pytest.approx(drawn.mean(), abs=5 * error)


def test_completion_holds_its_truth():
    problem = MatrixCompletion()
    check_known(problem, problem.critical_points())
