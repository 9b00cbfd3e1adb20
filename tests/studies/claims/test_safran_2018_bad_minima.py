"""Safran and Shamir 2018: against dense Hessians, counted ends, and counts that are made up.

No other test would see bad ends judged by the counts of another size, or a rate that is far from
the published one praised.
"""

import math

import numpy as np
import pytest
import torch

from sounding.problems import StudentTeacher, descend
from sounding.studies import study
from sounding.studies.claims import safran_2018_bad_minima as safran
from sounding.studies.lab import Lab


def test_ends_are_counted_beside_the_published_number():
    found = safran.descents(9, 9, trials=2, seed=3)
    problem = StudentTeacher(9)
    ends = descend(problem, problem.starts(2, seed=3))
    assert found["bad"] == len(found["losses"]) == (ends.losses > 1e-3).sum() > 0
    assert found["losses"].min() > 1e-3
    assert found["published"] == 218
    assert safran.descents(4, 4, trials=1, seed=0)["z"] is None


def test_the_family_has_the_eigenvalue_of_autograds_hessian():
    found = safran.family_minimum(6)
    w = torch.from_numpy(StudentTeacher(6).critical_points()[1].parameters)
    dense = torch.autograd.functional.hessian(lambda v: StudentTeacher(6).losses(v)[0], w)
    assert found["smallest"] == pytest.approx(float(torch.linalg.eigvalsh(dense)[0]), abs=1e-10)
    assert found["loss"] == pytest.approx(0.0250805810, abs=1e-10)


def _row(k, bad, z, n=None, smallest=0.02):
    return {
        "k": k, "n": n or k, "trials": 300, "bad": bad, "unfinished": 0, "published": 100, "z": z,
        "losses": np.array([0.02]), "smallest": np.array([smallest]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("zs", "smallest", "wider", "outcome"),
    [
        ((0.1, -1.0, 2.9), 0.02, 1, "supported"),
        ((0.1, -1.0, 3.5), 0.02, 1, "inconclusive"),
        ((0.1, -4.1, 4.2), 0.02, 1, "refuted"),
        ((0.1, -1.0, 2.9), -0.02, 1, "refuted"),  # the ends are saddles
        ((0.1, -1.0, 2.9), 0.02, 30, "refuted"),  # one neuron more does not help
    ],
)
def test_the_parts_decide(zs, smallest, wider, outcome):
    rows = [
        _row(k, bad, z, smallest=smallest)
        for k, bad, z in zip((7, 8, 9), (17, 38, 60), zs, strict=True)
    ]
    family = [
        {"k": k, "loss": 0.02, "smallest": s}
        for k, s in ((5, -0.01), (6, 0.01), (7, 0.01), (8, 0.02), (9, 0.02))
    ]
    parts = safran.judged(rows, [_row(8, wider, 0.0, n=9, smallest=smallest)], family)
    if outcome == "supported":
        assert {part.outcome for part in parts} == {"supported"}
    assert safran.overall(parts[0], parts, statement="", criterion="").outcome == outcome


def test_both_scales_draw_every_line(monkeypatch):
    monkeypatch.setattr(safran, "descents", lambda k, n, trials, seed: _row(k, k * k, 0.0, n=n))
    lab = Lab()
    verdicts, charts = safran.full(lab, sizes=(6, 7, 8), trials=3)
    assert lab.done == 3 + 2 + 1 + 8  # n = k, k + 1 and k + 2, and the family
    assert verdicts[0].criterion == safran.FULL
    assert [len(chart.lines) for chart in charts] == [6, 2]
    rate = charts[0].lines[0]
    assert rate.error == pytest.approx(np.sqrt(rate.y * (1 - rate.y) / 300))
    assert charts[0].lines[1].y.tolist() == [0.1, 0.1, 0.1]
    assert not math.isnan(verdicts[1].effect)


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Half a minute; the published counts within |z| < 3, so a false alarm in 90 other seeds."""
    result = study("safran-2018-bad-minima")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
