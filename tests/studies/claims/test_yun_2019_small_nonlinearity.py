"""Yun et al. 2019: probes against a point that is no minimum, and gains of another power.

No other test would see probes too wide or too few to find a way down.
"""

import numpy as np
import pytest

from sounding.problems import ThreePoints
from sounding.studies import study
from sounding.studies.claims import yun_2019_small_nonlinearity as yun
from sounding.studies.lab import Lab


def test_probes_find_the_way_down_from_a_point_that_is_no_minimum():
    """Of the bad point with its second bias moved: no longer stationary."""
    problem = ThreePoints("tanh")
    bad = problem.critical_points()[0].parameters
    rng = np.random.default_rng(0)
    moved = bad + 0.1 * np.eye(9)[5]
    here = float(problem.losses(moved).detach())
    assert yun._lowest(problem, moved, 200, 1e-1, rng) < here - 1e-3
    assert yun._lowest(problem, bad, 200, 1e-1, rng) >= 1 / 3 - yun.ROUNDING


def test_one_activation_and_its_flat_directions():
    run = yun.three_points("tanh", samples=400, runs=2, seed=0)
    assert run["condition"] > 0
    assert run["loss"] == pytest.approx(1 / 3, abs=1e-14)
    assert run["flat"] == 6
    assert run["lowest"] > -1e-12
    assert run["fit"] < 1e-20
    assert {v.outcome for v in yun.three_verdicts([run])} == {"supported"}
    lower = dict(run, change=-1e-6, drift=np.array([0.2]), condition=-1.0, fit=0.3)
    outcomes = [v.outcome for v in yun.three_verdicts([lower])]
    assert outcomes == ["refuted", "refuted", "supported", "refuted", "refuted"]
    assert yun.definiteness([dict(run, flat=0)]).outcome == "refuted"


def _slight(power):
    return [
        {"bend": bend, "loss": 1.0, "regression": 1.0, "change": 0.0, "gain": c * bend**power}
        for bend in yun.BENDS
        for c in (0.1, 0.3)
    ]


def test_gains_of_another_power_refute():
    assert {v.outcome for v in yun.slight_verdicts(_slight(1))} == {"supported"}
    assert yun.slight_verdicts(_slight(2))[-1].outcome == "refuted"
    worse = [dict(run, gain=-1.0) for run in _slight(1)]
    assert yun.slight_verdicts(worse)[2].outcome == "refuted"
    assert len(yun.gain_chart(_slight(1)).lines) == 2


def test_a_slight_bend_wins_in_proportion():
    gains = [yun.slight_bend(bend, 200, seed=1)["gain"] for bend in (1e-2, 1e-3)]
    assert gains[0] / gains[1] == pytest.approx(10, rel=0.1)


def test_a_small_run_has_every_part(monkeypatch):
    monkeypatch.setattr(yun, "ACTIVATIONS", ("elu",))
    lab = Lab()
    verdicts, charts = yun.quick(lab, samples=40, seeds=4)
    assert (len(verdicts), lab.done, len(charts)) == (1 + 5 + 4 + 1, 1 + 4, 1)


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Ten seconds."""
    result = study("yun-2019-small-nonlinearity")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
