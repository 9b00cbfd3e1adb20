"""Published and derived numbers of the benign problems and of the counterexamples.

No other test would see a problem that is consistent in itself but is not the one in the paper.
"""

import numpy as np
import pytest
import torch
from scipy import optimize

from sounding.problems import (
    Himmelblau,
    MatrixCompletion,
    MatrixSensing,
    Pitchfork,
    QuadraticNetwork,
    Recurrence,
    SeparableData,
    SlightRectifier,
    SpuriousSensing,
    TensorComponent,
    TensorDecomposition,
    Textbook,
    ThreePoints,
)
from sounding.problems.three_points import ACTIVATIONS


def _descended(problem, points, lr, steps):
    for _ in range(steps):
        points = points - lr * problem.gradients(points)
    return points


# -- sensing and completion -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a_squared", "delta", "failing"),
    [(1.4, 0.5, 0.0), (1.6, 0.524, 0.163), (2.0, 0.6, 0.281), (3.0, 0.714, 0.353)],
)
def test_sensing_fails_beyond_isometry_one_half_and_as_often_as_measured(a_squared, delta, failing):
    problem = SpuriousSensing(a_squared)
    assert problem.delta == pytest.approx(delta, abs=5e-4)
    ends = _descended(problem, problem.starts(1000, seed=0, spread=1.0), 0.005, 4000)
    rate = float((problem.losses(ends) > 1).double().mean())
    assert rate == pytest.approx(failing, abs=0.05)  # three standard errors of 0.015
    kinds = {p.name: p.kind for p in problem.critical_points()}
    assert kinds["bad point"] == ("strict minimum" if a_squared > 1.5 else "strict saddle")


def test_bad_point_of_sensing_has_the_derived_hessian():
    bad = next(p for p in SpuriousSensing(2.0).critical_points() if p.name == "bad point")
    assert (bad.value, bad.smallest) == pytest.approx((1.5, 4 * 2.0 - 6))


def test_random_sensing_with_enough_measurements_never_fails():
    problem = MatrixSensing.gaussian(8, 1, 80, seed=1)
    ends = _descended(problem, problem.starts(50, seed=2, spread=0.3), 0.01, 2000)
    assert float(problem.losses(ends).max()) < 1e-12


def test_completion_needs_entries_enough():
    errors = {}
    for share in (0.1, 0.5):
        problem = MatrixCompletion(40, 2, observed=share, seed=0)
        ends = _descended(problem, problem.starts(5, seed=1), 0.02, 2500)
        errors[share] = problem.error(ends).max()
    assert errors[0.5] < 1e-4
    assert errors[0.1] > 0.1


# -- tensors and quadratic activation -------------------------------------------------------------


def test_every_start_finds_a_component_and_all_components():
    one = TensorComponent(5)
    ends = _descended(one, one.starts(500, seed=0), 0.05, 1500)
    assert float(one.losses(ends).max()) == pytest.approx(-1, abs=1e-8)
    everything = TensorDecomposition(5)
    ends = _descended(everything, everything.starts(50, seed=0), 0.05, 1500)
    assert float(everything.losses(ends).max()) < 1e-8


def test_smallest_curvatures_of_one_component_are_minus_eight_over_k():
    smallest = [p.smallest for p in TensorComponent(5).critical_points()]
    assert smallest == pytest.approx([4, -4, -8 / 3, -2, -8 / 5])


@pytest.mark.parametrize(("n", "seed"), [(12, 0), (40, 1)])
def test_wide_quadratic_networks_reach_the_least_squares_residual(n, seed):
    problem = QuadraticNetwork.random(n, 5, 10, seed=seed)
    x, y = problem.x.numpy(), problem.y.numpy()
    pairs = [(a, b) for a in range(5) for b in range(a, 5)]
    monomials = np.column_stack([x[:, a] * x[:, b] for a, b in pairs])
    residual = y - monomials @ np.linalg.lstsq(monomials, y, rcond=None)[0]
    assert problem.minimum == pytest.approx((residual**2).sum() / (2 * n), abs=1e-12)
    for start in problem.starts(10, seed=3).numpy():  # descent converges only sublinearly
        end = optimize.minimize(
            lambda w: float(problem.losses(w).detach()), start, method="L-BFGS-B",
            jac=lambda w: problem.gradients(w)[0].numpy(),
            options={"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-10},
        )  # fmt: skip
        assert end.fun - problem.minimum < 1e-10


def test_curvature_of_quadratic_activation_against_the_formula():
    problem = QuadraticNetwork.random(12, 3, 4)
    w, z = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y, v = problem.x, problem.y, problem.output
    residual = (x @ w.T).square() @ v - y
    form = ((2 * (x @ w.T * (x @ z.T)) @ v) ** 2 + 2 * residual * ((x @ z.T) ** 2 @ v)).mean()
    found = z.flatten() @ problem.hessians(w.reshape(1, -1))[0] @ z.flatten()
    assert float(found) == pytest.approx(float(form), rel=1e-12)


# -- Wilson's data --------------------------------------------------------------------------------


def test_separable_data_have_the_two_solutions_of_the_paper():
    problem = SeparableData(60, positive=0.7, seed=0)
    x, y = problem.matrix(), problem.y.numpy()
    smallest = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.allclose(problem.smallest_norm(), smallest, atol=1e-12)
    assert np.allclose(x @ problem.adaptive(), y, atol=1e-12)
    assert np.array_equal(x @ np.sign(x.T @ y), 4 * y)  # the lemma, with c = 4
    assert problem.test_error(problem.smallest_norm()) == 0
    assert problem.test_error(problem.adaptive()) == pytest.approx(0.3)


def test_adam_walks_along_the_ray_and_descent_to_the_smallest_norm():
    problem = SeparableData(40, positive=0.7, seed=1)
    adam = torch.optim.Adam(problem.parameters(), lr=1e-3, eps=1e-14)
    for _ in range(1500):
        adam.zero_grad()
        problem(None).backward()
        adam.step()
    ray = np.sign(problem.adaptive())
    ratios = problem.point()[ray != 0] * ray[ray != 0]
    assert ratios.std() < 1e-6 * ratios.mean()
    assert np.abs(problem.point()[ray == 0]).max(initial=0) == 0
    assert problem.test_error(problem.point()) == pytest.approx(0.3)
    ends = _descended(problem, torch.zeros(1, problem.size), 0.01, 4000)
    assert np.allclose(ends[0].numpy(), problem.smallest_norm(), atol=1e-6)


# -- Yun's counterexamples ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_three_points_have_a_degenerate_minimum_with_the_risk_of_a_line(name):
    problem = ThreePoints(name)
    bad, fit = problem.critical_points()
    assert (bad.value, bad.kernel, bad.kind) == (1 / 3, 6, "degenerate")
    assert fit.value == 0
    assert min(problem.conditions()) > 0
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((20_000, 9))
    drawn *= 10 ** rng.uniform(-3, -1.5, (20_000, 1)) / np.linalg.norm(drawn, axis=1)[:, None]
    losses = problem.losses(bad.parameters + drawn)
    assert float(losses.detach().min()) - 1 / 3 > -1e-14
    near = torch.from_numpy(bad.parameters + 1e-4 * rng.standard_normal((20, 9)))
    ends = _descended(problem, near, 0.01, 2000)
    assert float((problem.losses(ends) - 1 / 3).abs().max()) < 1e-6


def test_slightest_nonlinearity_gives_a_bad_minimum_and_gains_in_proportion():
    gains, slopes = [], (1e-1, 1e-2, 1e-3)
    for slope in slopes:
        problem = SlightRectifier.random(slopes=(1 + slope, 1.0), seed=0)
        bad = problem.critical_points()[0]
        assert float(problem.losses(bad.parameters).detach()) == pytest.approx(problem.line_risk)
        drawn = 0.03 * np.random.default_rng(1).standard_normal((20_000, problem.size))
        losses = problem.losses(bad.parameters + drawn).detach()
        assert float(losses.min()) >= problem.line_risk - 1e-12
        gains.append(problem.line_risk - float(problem.losses(problem.better()).detach()))
    assert min(gains) > 0
    assert np.polyfit(np.log(slopes), np.log(gains), 1)[0] == pytest.approx(1, abs=0.05)


# -- textbook, cliffs -----------------------------------------------------------------------------


def test_himmelblau_has_four_minima_four_saddles_and_a_maximum():
    points = Himmelblau().critical_points()
    kinds = [p.kind for p in points]
    assert [kinds.count(k) for k in ("strict minimum", "strict saddle", "maximum")] == [4, 4, 1]
    assert all(p.best == (p.kind == "strict minimum") for p in points)
    top = next(p for p in points if p.kind == "maximum")
    assert top.value == pytest.approx(181.617, abs=1e-3)


def test_peano_sees_a_minimum_on_every_line_and_none_on_a_parabola():
    problem = Textbook("Peano's surface")
    t = torch.linspace(-0.01, 0.01, 21, dtype=torch.float64)
    for angle in np.linspace(0, np.pi, 13):
        line = torch.stack([t * np.cos(angle), t * np.sin(angle)], 1)
        assert float(problem.losses(line).min()) >= 0
    assert float(problem.losses(torch.stack([t, 1.5 * t**2], 1)).min()) < 0


def test_escape_from_the_pitchfork_takes_the_logarithm_of_the_distance():
    problem = Pitchfork(10)
    for distance, steps in ((1e-2, 23), (1e-6, 83), (1e-12, 173)):
        point = torch.zeros(1, 10, dtype=torch.float64)
        point[0, 0], count = distance, 0
        while abs(float(point[0, 0])) < 0.5 * problem.gamma**0.5:
            point, count = _descended(problem, point, 1 / 3, 1), count + 1
        assert count == pytest.approx(steps, abs=2)


def test_the_cliff_is_as_steep_as_published():
    problem = Recurrence()
    gradient = float(problem.gradients(problem.point()).abs())
    assert gradient == pytest.approx(5e7, rel=0.1)


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="monkey saddle"):
        Textbook("donkey saddle")
    with pytest.raises(ValueError, match="sigmoid, tanh"):
        ThreePoints("relu")
    with pytest.raises(ValueError, match="above 1/2"):
        SpuriousSensing(0.3)
