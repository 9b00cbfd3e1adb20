"""All the problems in small sizes, and stationary points drawn from them at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sounding.problems.classics import Himmelblau, Rosenbrock
from sounding.problems.cliffs import Cosh, Recurrence
from sounding.problems.completion import MatrixCompletion
from sounding.problems.factorisation import AsymmetricFactorisation, SymmetricFactorisation
from sounding.problems.known import Known
from sounding.problems.linear_network import LinearNetwork
from sounding.problems.phase_retrieval import PhaseRetrieval
from sounding.problems.problem import Problem, orthogonal
from sounding.problems.quadratic_network import QuadraticNetwork
from sounding.problems.sensing import MatrixSensing, SpuriousSensing
from sounding.problems.separable import SeparableData
from sounding.problems.smooth_student import SmoothStudentTeacher
from sounding.problems.staircase import Staircase
from sounding.problems.student_teacher import StudentTeacher
from sounding.problems.tensor import TensorComponent, TensorDecomposition
from sounding.problems.textbook import TEXTBOOK, Pitchfork, Textbook
from sounding.problems.three_points import ACTIVATIONS, SlightRectifier, ThreePoints

Build = Callable[[int], Problem]  # of a seed, which settles the data

# Problems whose stationary points are all known, or all of a family: 5 to 60 parameters.
ENUMERABLE: dict[str, Build] = {
    "symmetric factorisation": lambda seed: SymmetricFactorisation(
        _positive([4.0, 3, 2, 1], 4, seed), 3
    ),
    "symmetric, more columns than rank": lambda seed: SymmetricFactorisation(
        _positive([4.0, 2], 5, seed), 3
    ),
    "asymmetric factorisation": lambda seed: AsymmetricFactorisation(
        _with_spectrum([3.0, 2, 1], 3, 4, seed), 2
    ),
    "asymmetric, balanced": lambda seed: AsymmetricFactorisation(
        _with_spectrum([3.0, 2, 1], 4, 3, seed), 2, balance=0.125
    ),
    "linear network, depth 2": lambda seed: LinearNetwork.random(4, 3, (2,), seed=seed),
    "linear network, depth 3": lambda seed: LinearNetwork.random(4, 3, (3, 3), seed=seed),
    "linear network, depth 4": lambda seed: LinearNetwork.random(3, 2, (3, 2, 3), seed=seed),
    "tensor component": lambda seed: TensorComponent(5),
    "tensor decomposition": lambda seed: TensorDecomposition(4),
    "phase retrieval": lambda seed: PhaseRetrieval(np.random.default_rng(seed).normal(size=6)),
    "sensing beyond isometry": lambda seed: SpuriousSensing(2.0),
    "staircase": lambda seed: Staircase(5),
    "student and teacher": lambda seed: StudentTeacher(6),
    "student and teacher, k = 4": lambda seed: StudentTeacher(4),
    "pitchfork": lambda seed: Pitchfork(10),
    "Himmelblau": lambda seed: Himmelblau(),
    **{f"textbook, {name}": lambda seed, name=name: Textbook(name) for name in TEXTBOOK},
}

# Problems of which some stationary points are known.
OTHERS: dict[str, Build] = {
    "matrix sensing": lambda seed: MatrixSensing.gaussian(seed=seed),
    "matrix completion": lambda seed: MatrixCompletion(20, 2, seed=seed),
    "quadratic network": lambda seed: QuadraticNetwork.random(seed=seed),
    "separable data": lambda seed: SeparableData(20, seed=seed),
    "slight rectifier": lambda seed: SlightRectifier.random(seed=seed),
    "student and teacher, leaky": lambda seed: StudentTeacher(3, 4, leak=0.1),
    "student and teacher, tanh": lambda seed: SmoothStudentTeacher("tanh", 3),
    "Rosenbrock": lambda seed: Rosenbrock(4),
    "recurrence": lambda seed: Recurrence(),
    "cosh": lambda seed: Cosh(3),
    **{f"three points, {name}": lambda seed, name=name: ThreePoints(name) for name in ACTIVATIONS},
}


def random_critical_points(count: int, *, seed: int = 0) -> list[tuple[Problem, Known]]:
    """Stationary points with their problems, as many of each of the ``ENUMERABLE`` ones.

    Each problem with random data is built anew for every ten points.
    """
    rng = np.random.default_rng(seed)
    names, found = list(ENUMERABLE), []
    while len(found) < count:
        for name in names:
            problem = ENUMERABLE[name](int(rng.integers(2**31)))
            # textbook functions have a point or three, which repetition does not make more
            many = 1 if name.startswith("textbook") else 10
            drawn = problem.draw(many, seed=int(rng.integers(2**31)))
            found += [(problem, known) for known in drawn]
    order = rng.permutation(len(found))[:count]
    return [found[i] for i in order]


def _positive(values: list[float], size: int, seed: int) -> np.ndarray:
    q = orthogonal(size, np.random.default_rng(seed))[:, : len(values)]
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2


def _with_spectrum(values: list[float], rows: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count = len(values)
    return (orthogonal(rows, rng)[:, :count] * values) @ orthogonal(columns, rng)[:, :count].T
