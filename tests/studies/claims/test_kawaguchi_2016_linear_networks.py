"""Linear networks: the rule of strictness against dense Hessians, chains against the problem.

No other test would see a rule that calls every saddle strict, or a time of another exponent.
"""

import numpy as np
import pytest

from sounding.problems import LinearNetwork, descend_together
from sounding.studies import study
from sounding.studies.claims import kawaguchi_2016_linear_networks as linear


def test_the_rule_has_the_examples_of_the_paper():
    everything = frozenset({1, 2, 3})
    assert not linear.strict((), everything, 3)  # the origin of three layers
    assert linear.strict((), frozenset({1, 3}), 3)
    assert linear.strict((1,), everything, 3)  # not the top set
    assert not linear.strict((0, 1, 2), everything, 3)  # the global minimum
    assert linear.strict((0,), frozenset({1, 2}), 2)  # one hidden layer


@pytest.fixture(scope="module")
def tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(linear.HIDDEN, 3, (2, 2))
        return [linear.table(depth, seed=3) for depth in (2, 3)]


def test_two_layers_have_eleven_stationary_points_of_which_one_is_best(tables):
    assert len(tables[0]["lowest"]) == 11
    assert tables[0]["best"].sum() == 1
    problem = LinearNetwork.random(5, 4, (2,), seed=3)
    y, x = problem.y.numpy(), problem.x.numpy()
    scale = np.linalg.norm(y.T @ x, 2)
    # at the origin the Hessian is the block matrix of -S_yx, whose eigenvalues are its values
    assert tables[0]["lowest"][0] == pytest.approx(-1)
    assert tables[0]["origin"] * scale < 1e-9


def test_a_network_whose_saddles_are_otherwise_refutes(tables):
    parts = linear.table_verdicts(tables)
    assert {part.outcome for part in parts} == {"supported"}
    other = [tables[0], dict(tables[1], strict=~tables[1]["strict"])]
    assert linear.table_verdicts(other)[3].outcome == "refuted"
    flat = [dict(tables[0], lowest=0 * tables[0]["lowest"]), tables[1]]
    assert linear.table_verdicts(flat)[2].outcome == "refuted"


@pytest.mark.parametrize("depth", [2, 3])
def test_a_chain_is_a_network_of_width_one(depth):
    problem = LinearNetwork([[1.0]], [[1.0]], (1,) * (depth - 1))
    found = descend_together(
        problem, np.full((1, depth), 0.05), lr=linear.STEP, steps=1000,
        until=lambda w: w.prod(1) >= 0.5,
    )  # fmt: skip
    assert found.steps[0] == linear._chain(depth, 0.05)


def test_another_exponent_is_refuted():
    eps = 10.0 ** np.linspace(-1, -3, 6)
    run = {"depth": 3, "eps": eps, "steps": np.round(10 / eps)}
    assert linear.time_verdict(run).outcome == "supported"
    assert linear.time_verdict(dict(run, depth=4)).outcome == "refuted"
    assert linear.time_verdict(dict(run, depth=2)).outcome == "refuted"


def test_runs_end_at_the_error_of_the_best_projection():
    end = linear.trained(2, runs=3, seed=0)
    assert (end["gaps"] < 1e-6).all()
    assert (end["gaps"] > -1e-12).all()
    short = linear.trained(2, runs=3, seed=0, steps=10)
    assert linear.global_verdict([short]).outcome == "refuted"


def test_figures_are_drawn_from_what_was_measured():
    times = [{"depth": 3, "eps": np.array([0.1, 0.01]), "steps": np.array([94, 996])}]
    chart = linear.time_chart(times)
    assert chart.lines[1].y == pytest.approx([100, 1000])
    assert [line.y[0] for line in linear.plateau_chart().lines] == pytest.approx(
        [(0.05**n - 1) ** 2 / 2 for n in (2, 3, 4)]
    )


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Twenty seconds."""
    result = study("kawaguchi-2016-linear-networks")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
