"""The strict-saddle property: constants by hand, and functions that lack it.

No other test would see a condition that holds only because its constant is too kind.
"""

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import ge_2015_strict_saddle as strict
from sounding.studies.lab import Lab


def test_the_pitchforks_constants_are_those_of_its_derivatives():
    """On the line x_2 = .. = 0, on a fine grid: f' = x^3 - g x, f'' = 3 x^2 - g."""
    c, g = strict.constants("pitchfork"), strict.GAMMA
    x = np.linspace(-2, 2, 40_001)
    slope, bend, near = np.abs(x**3 - g * x), 3 * x**2 - g, np.abs(np.abs(x) - g**0.5)
    assert ((slope >= c["eps"]) | (bend <= -c["gamma"]) | (near <= c["delta"])).all()
    assert bend[near <= 2 * c["delta"]].min() >= c["alpha"] - 1e-3
    too_much = (slope >= 3 * c["eps"]) | (bend <= -c["gamma"]) | (near <= c["delta"] / 2)
    assert not too_much.all()


def test_the_nearest_minimum_is_no_farther_than_any():
    x = np.random.default_rng(0).standard_normal((50, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    every = np.concatenate([np.eye(5), -np.eye(5)])
    least = np.linalg.norm(x[:, None] - every, axis=2).min(axis=1)
    found = np.linalg.norm(x - strict.nearest_minima("tensor", x), axis=1)
    assert found == pytest.approx(least)


@pytest.mark.parametrize("name", ["pitchfork", "tensor"])
def test_all_three_conditions_are_needed(name):
    run = strict.three_cases(name, samples=600, seed=2)
    assert strict.case_verdict(run).outcome == "supported"
    for key in ("gradient", "curvature", "minimum"):
        without = dict(run, **{key: np.zeros_like(run[key])})
        assert strict.case_verdict(without).outcome == "inconclusive"


def test_a_flat_saddle_and_weak_ones_have_no_constants():
    assert strict.flat_verdict(strict.flat_saddle(600, seed=0)).outcome == "supported"
    assert strict.flat_verdict({"lowest": np.full(9, -1.0)}).outcome == "refuted"
    runs = [strict.weak_saddles(k) for k in (1, 4, 8)]
    assert [run["lowest"] for run in runs] == pytest.approx([-(2.0**-k) for k in (1, 4, 8)])
    assert [v.outcome for v in strict.weak_verdicts(runs)] == ["supported"] * 2
    assert strict.weak_verdicts(runs[:1])[1].outcome == "refuted"  # one has a constant


def test_a_small_run_has_every_part():
    lab = Lab()
    verdicts, charts = strict.quick(lab, samples=600)
    assert (len(verdicts), lab.done) == (1 + 2 + 1 + 2, 2 + 1 + 8)
    assert [len(chart.lines) for chart in charts] == [3, 1]


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """A few seconds."""
    result = study("ge-2015-strict-saddle")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
