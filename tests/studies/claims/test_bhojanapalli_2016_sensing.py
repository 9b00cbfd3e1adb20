"""Matrix sensing: the family's constants against eigenvalues, and a family that would refute it.

No other test would see a failing start counted as solved, or the wrong isometry constant.
"""

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import bhojanapalli_2016_sensing as sensing
from sounding.studies.lab import Lab


def test_the_isometry_constant_is_that_of_the_measurements():
    """|A(M)|^2 over symmetric M of norm 1, after the best scaling, by its Gram matrix."""
    basis = [np.diag([1.0, 0]), np.diag([0, 1.0]), np.array([[0, 1], [1, 0]]) / 2**0.5]
    problem = sensing.SpuriousSensing(2.0)
    maps = np.array([[(a * b).sum() for b in basis] for a in problem.measurements.numpy()])
    values = np.linalg.eigvalsh(maps.T @ maps)
    expected = (values[-1] - values[0]) / (values[-1] + values[0])
    run = sensing.beyond(2.0, starts=40, seed=0)
    assert run["delta"] == pytest.approx(expected)
    assert max(run["gradient"], run["hessian"], run["error"]) < 1e-12
    assert 0.1 < run["failed"] / 40 < 0.5


def test_below_the_limit_none_fails():
    assert sensing.beyond(1.2, starts=40, seed=0)["failed"] == 0


def test_a_run_with_measurements_enough_finds_the_truth_and_one_with_few_need_not():
    few, enough = (sensing.sensed(m, runs=1, seed=0, steps=400) for m in (10, 120))
    assert enough["losses"][0] < sensing.SOLVED
    assert enough["origin"][0] < 0
    assert few["losses"].shape == (1,)


def _family(*failed):
    return [
        {"a_squared": a, "delta": 0.5, "starts": 1000, "failed": n}
        for a, n in zip((1.0, 1.6, 2.0), failed, strict=True)
    ]


@pytest.mark.parametrize(
    ("failed", "outcomes"),
    [
        ((0, 160, 280), ["supported"] * 3),
        ((1, 160, 280), ["refuted", "supported", "supported"]),
        ((0, 0, 60), ["supported", "refuted", "inconclusive"]),
    ],
)
def test_the_family_decides(failed, outcomes):
    verdicts = sensing.failing_verdicts(_family(*failed))
    assert [verdict.outcome for verdict in verdicts] == outcomes


def test_a_run_that_is_not_solved_refutes():
    run = {"m": 120, "losses": np.array([0.3]), "origin": np.array([1.0])}
    assert [v.outcome for v in sensing.enough_verdicts(run)] == ["refuted"] * 2


def test_a_small_run_has_every_part(monkeypatch):
    monkeypatch.setattr(sensing, "COUNTS", (120,))
    monkeypatch.setattr(sensing, "FAMILY", (1.0, 2.0, 3.0))
    lab = Lab()
    verdicts, charts = sensing.quick(lab, runs=1, starts=4)
    assert (len(verdicts), lab.done) == (1 + 2 + 1 + 3, 1 + 3)
    assert charts[0].lines[0].y.tolist() == [1.0]
    assert charts[1].lines[1].y == pytest.approx([0.5, 0.6, 5 / 7])


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Half a minute."""
    result = study("bhojanapalli-2016-sensing")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
