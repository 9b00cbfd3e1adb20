"""Linear networks: stationary points by theory against dense Hessians and against descent.

No other test would see a saddle called strict that is not, or a set of them left out.
"""

import numpy as np
import pytest
import torch

from sounding.problems import LinearNetwork
from sounding.problems.known import DEGENERATE, NON_STRICT_SADDLE, STRICT_SADDLE


def test_two_layers_have_eleven_points_one_of_them_best():
    problem = LinearNetwork.random(5, 4, (2,), seed=1)
    points = problem.critical_points()
    assert len(points) == 11  # 1 + 4 + 6 sets
    assert [p.kind for p in points].count(DEGENERATE) == 1
    assert all(p.kind == STRICT_SADDLE for p in points if not p.best)
    x, y = problem.x.numpy(), problem.y.numpy()
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    left = np.linalg.svd(fitted)[1][2:]  # Eckart and Young: what rank 2 leaves of the fit
    floor = (((y - fitted) ** 2).sum() + (left**2).sum()) / 2
    assert problem.minimum == pytest.approx(floor, rel=1e-12)


def test_curvature_at_the_origin_of_two_layers_is_the_largest_singular_value():
    problem = LinearNetwork.random(5, 4, (2,), seed=1)
    origin = next(p for p in problem.critical_points() if p.name.startswith("I = {}"))
    moments = problem.y.numpy().T @ problem.x.numpy()
    assert np.abs(origin.parameters).max() == 0
    assert origin.smallest == pytest.approx(-np.linalg.norm(moments, 2), rel=1e-12)


@pytest.mark.parametrize("hidden", [(3, 3), (4, 3, 4)])
def test_top_sets_are_strict_saddles_until_the_layers_between_are_tight(hidden):
    problem = LinearNetwork.random(5, 4, hidden, seed=2)
    layers, rng = len(hidden) + 1, np.random.default_rng(0)
    outer, everything = frozenset({1, layers}), frozenset(range(1, layers + 1))
    for kept in ((), (0,), (0, 1)):
        # of four layers the outer two leave two between, whose product at r = 0 is of order two
        assert problem.critical_point(kept, outer, rng).kind == STRICT_SADDLE
        tight = problem.critical_point(kept, everything, rng)
        assert (tight.kind, tight.smallest, tight.index) == (NON_STRICT_SADDLE, 0.0, 0)
    for kept in ((1,), (0, 2), (2,)):
        assert problem.critical_point(kept, everything, rng).kind == STRICT_SADDLE


def test_a_non_strict_saddle_is_no_minimum():
    problem = LinearNetwork.random(4, 3, (3, 3), seed=3)
    rng = np.random.default_rng(1)
    saddle = problem.critical_point((0,), frozenset({1, 2, 3}), rng)
    points = torch.from_numpy(saddle.parameters + 0.1 * rng.standard_normal((20, problem.size)))
    rate = 1 / np.linalg.norm(problem.x.numpy(), 2) ** 2 / 20
    for _ in range(3000):
        points = points - rate * problem.gradients(points)
    assert (problem.losses(points) < saddle.value - 1e-2).all()


@pytest.mark.parametrize("hidden", [(2,), (3, 3), (3, 2, 3)])
def test_drawn_points_are_stationary_of_the_stated_value_and_kind(hidden):
    problem = LinearNetwork.random(4, 3, hidden, seed=5)
    for known in problem.draw(40, seed=1):
        eigenvalues = torch.linalg.eigvalsh(problem.hessians(known.parameters)[0])
        gradient = float(problem.gradients(known.parameters).norm())
        assert gradient < 1e-10 * max(1.0, float(eigenvalues[-1]))
        value = float(problem.losses(known.parameters).detach())
        assert value == pytest.approx(known.value, rel=1e-10)
        strict = bool(eigenvalues[0] < -1e-8 * eigenvalues[-1])
        assert strict == (known.kind == STRICT_SADDLE), known.name


def test_data_that_cannot_be_enumerated_are_refused():
    x = np.random.default_rng(0).standard_normal((10, 2))
    with pytest.raises(ValueError, match="coincide or vanish"):
        LinearNetwork(x, np.zeros((10, 2)))
    with pytest.raises(ValueError, match="full column rank"):
        LinearNetwork(np.ones((5, 2)), np.ones((5, 1)))
