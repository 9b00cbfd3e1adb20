"""Polynomial time: exponents of made-up times, and doubling that is none.

No other test would see runs that never arrive counted as quick.
"""

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import strict_saddles_polynomial_time as polynomial
from sounding.studies.lab import Lab


def _found(power, arrived=True):
    return [
        {"name": "made up", "d": d, "steps": np.array([10, 11]) * d**power,
         "arrived": np.full(2, arrived)}
        for d in (2, 4, 8)
    ]  # fmt: skip


def test_exponents_decide():
    assert [v.outcome for v in polynomial.polynomial_verdicts(_found(2))] == ["supported"] * 2
    assert polynomial.polynomial_verdicts(_found(6))[1].outcome == "refuted"
    assert polynomial.polynomial_verdicts(_found(2, arrived=False))[0].outcome == "refuted"


def test_weak_saddles_take_twice_as_long_each():
    """From a push of 1e-2 of the minimum's distance, log(50 / u) / log(1 + 2^-k / 2)."""
    runs = [polynomial.escape(k, runs=4, seed=1) for k in (2, 3, 4)]
    assert all(run["arrived"].all() for run in runs)
    assert polynomial.weak_verdict(runs).effect == pytest.approx(1, abs=0.1)
    constant = [dict(run, steps=np.full(4, 100)) for run in runs]
    assert polynomial.weak_verdict(constant).outcome == "refuted"


def test_a_factorisation_is_found_and_its_time_counted():
    run = polynomial.perturbed("factorisation", 5, runs=3, seed=0)
    assert run["arrived"].all()
    assert ((run["steps"] > 0) & (run["steps"] < 500)).all()


def test_a_small_run_has_every_part(monkeypatch):
    monkeypatch.setattr(polynomial, "SIZES", {"tensor": (3, 4), "staircase": (1, 2)})
    monkeypatch.setattr(polynomial, "WEAK", (1, 2, 3))
    lab = Lab()
    verdicts, charts = polynomial.quick(lab, runs=2)
    assert (len(verdicts), lab.done) == (1 + 1 + 2 + 1, 4 + 3)
    assert [len(chart.lines) for chart in charts] == [2, 2]


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Half a minute."""
    result = study("strict-saddles-polynomial-time")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
