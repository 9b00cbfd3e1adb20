"""Du et al. 2017: against step-by-step descent, the optimiser alone, and a law that is wrong.

No other test would see steps of another staircase judged, or underflow taken for slowness.
"""

import math

import numpy as np
import pytest
import torch

from sounding.optim import PerturbedSGD
from sounding.problems import Staircase
from sounding.studies import study
from sounding.studies.claims import du_2017_exponential_time as du
from sounding.studies.lab import Lab


def test_steps_are_those_of_plain_descent():
    """Two saddles; no coordinate has the time to underflow."""
    found = du.plain_steps(1.5, 2, runs=3, seed=0)["steps"]
    problem = Staircase(2, L=1.5)
    for start, steps in zip(
        np.random.default_rng([0, 2]).uniform(-1, 1, (3, 2)), found, strict=True
    ):
        x = torch.from_numpy(start)
        for _ in range(steps - 1):
            x = x - problem.lr * problem.gradients(x)[0]
        assert not (x.abs() >= 2 * math.e).all()
        x = x - problem.lr * problem.gradients(x)[0]
        assert (x.abs() >= 2 * math.e).all()


def test_perturbed_steps_are_those_of_the_optimiser():
    found = du.perturbed_steps(1.0, 1, runs=1, seed=4)
    problem = Staircase(1)
    problem.place(np.random.default_rng([4, 1]).uniform(-1, 1, 1))
    optimiser = PerturbedSGD(
        problem.parameters(), lr=0.25, radius=math.e / 100, gradient_threshold=math.e / 100,
        interval=1, seed=4,
    )  # fmt: skip
    steps = 0
    while np.abs(problem.point()).min() < 2 * math.e:
        optimiser.zero_grad()
        problem(None).backward()
        optimiser.step()
        steps += 1
    assert found["steps"].tolist() == [steps]
    assert found["arrived"].all()


def _grown(factor):
    return [{"L": 1.0, "d": d, "steps": np.full(3, 10 * factor**d)} for d in range(4, 9)]


def test_only_the_right_growth_is_supported():
    law = 1 + math.log(2) / math.log(1.5)  # L = gamma = 1, step 1/4
    assert du.growth_verdict(_grown(law)).outcome == "supported"
    assert du.growth_verdict(_grown(law)).effect == pytest.approx(1)
    assert du.growth_verdict(_grown(1.12 * law)).outcome == "refuted"
    linear = [{"L": 1.0, "d": d, "steps": np.full(3, 50 * d)} for d in range(4, 9)]
    assert du.growth_verdict(linear).outcome == "refuted"


def test_a_quadratic_time_is_not_linear():
    runs = [
        {"L": L, "d": d, "steps": np.full(2, d**3), "arrived": np.ones(2, bool)}
        for L in du.STEEPNESS
        for d in (2, 4, 6, 8, 10)
    ]
    arrived, straight = du.perturbed_verdicts(runs)
    assert (arrived.outcome, straight.outcome) == ("supported", "refuted")


def test_underflow_is_told_from_slowness():
    """With six saddles descent has not underflown after a few steps: it is only under way."""
    slow = du.underflow(1.0, 6, runs=2, seed=0, steps=50)
    assert not slow["still"].any()
    assert du.wrong_way(slow).outcome == "refuted"
    stuck = du.underflow(1.0, 10, runs=2, seed=0, steps=1600)
    assert stuck["still"].all()
    assert (stuck["true_steps"] < 1e7).all()


def test_a_wrong_function_would_be_noticed(monkeypatch):
    right = du.consistency(1.5, seed=0)
    assert max(right["gradient"], right["jump"]) < du.PRECISE
    second = Staircase._second
    monkeypatch.setattr(Staircase, "_second", lambda self, a: second(self, a) + 0.01)
    assert du.consistency(1.5, seed=0)["jump"] > 1e-4


def test_a_small_run_has_every_part_and_line(monkeypatch):
    monkeypatch.setattr(du, "underflow", lambda **_: {"still": [1], "true_steps": [9]})
    lab = Lab()
    verdicts, charts = du.full(
        lab, dimensions=(3, 4, 5), runs=5, perturbed=(1, 2), perturbed_runs=2
    )
    assert lab.done == 12 + 8 + 4 + 1
    assert len(verdicts) == 1 + 4 + 2 + 2 + 1
    assert [len(chart.lines) for chart in charts] == [8, 4]


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """A quarter of a minute; deterministic."""
    result = study("du-2017-exponential-time")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
