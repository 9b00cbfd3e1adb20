"""Matrix factorisation: closed forms that are off must be seen, and a saddle that is none.

No other test would see a formula of the study that is wrong where the problem is right.
"""

import numpy as np
import pytest

from sounding.problems import SymmetricFactorisation
from sounding.studies import study
from sounding.studies.claims import jin_2017_factorisation as factorisation
from sounding.studies.lab import Lab
from sounding.studies.points import agreement


def test_the_whole_study_runs_small():
    lab = Lab()
    verdicts, charts = factorisation.quick(lab, runs=3, draws=1)
    assert {verdict.outcome for verdict in verdicts} == {"supported"}
    assert lab.done == 3 + 3 + 2 + 1 + 1
    assert [len(chart.lines) for chart in charts] == [5, 2]


@pytest.mark.parametrize("kind", factorisation.KINDS)
def test_a_wrong_factor_of_two_is_refuted(kind, monkeypatch):
    for name in ("_symmetric", "_asymmetric"):
        closed = getattr(factorisation, name)
        monkeypatch.setattr(
            factorisation, name, lambda *given, closed=closed: tuple(2 * x for x in closed(*given))
        )
    check = factorisation.formulas(kind, seed=0)
    assert check["gradient"] == pytest.approx(1)
    assert check["form"] == pytest.approx(1)
    outcomes = [v.outcome for v in factorisation.identity_verdicts([check])]
    assert outcomes == ["refuted", "refuted"]


def test_agreement_measures_the_dense_hessian_at_the_stated_points():
    """At the origin the Hessian is -M for every column: lowest -s_1."""
    found = agreement(SymmetricFactorisation(np.diag([5.0, 1.0]), 1))
    origin = int(np.argmin(found["lowest"]))
    assert found["lowest"][origin] == pytest.approx(-5)
    assert sorted(found["lowest"]) == pytest.approx([-5, -4, 4])
    assert found["best"].tolist().count(True) == 1
    assert found["lowest"][found["best"]] == pytest.approx(4)


def test_a_saddle_without_negative_curvature_is_seen():
    points = factorisation.curvatures("symmetric", seed=0)
    tabled = [{"lowest": [-3.0], "tabled": [-3.0]}]
    assert {v.outcome for v in factorisation.curvature_verdicts([points], tabled)} == {"supported"}
    flat = dict(points, lowest=np.zeros_like(points["lowest"]))
    assert factorisation.curvature_verdicts([flat], tabled)[2].outcome == "refuted"
    other = [{"lowest": [-3.0], "tabled": [-2.0]}]
    assert factorisation.curvature_verdicts([points], other)[3].outcome == "refuted"


def test_descent_from_a_tiny_start_falls_by_the_squares_of_the_spectrum():
    losses = factorisation.small_start(-6)["losses"]
    assert losses[0] == pytest.approx((16 + 9 + 4 + 1) / 4)
    middle = np.abs(losses - (9 + 4 + 1) / 4).min()
    assert middle < 0.1  # it comes by the saddle at which only the first is kept
    assert losses[-1] < 1e-3


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """A few seconds."""
    result = study("jin-2017-factorisation")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
