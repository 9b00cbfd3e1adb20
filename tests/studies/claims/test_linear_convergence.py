"""Gradient descent on a quadratic, against its eigenvalues."""

import numpy as np
import pytest

from sounding.studies.claims import linear_convergence as linear
from sounding.studies.lab import Lab


@pytest.mark.parametrize(("step", "factor"), [("1/beta", 0.9), ("2/(alpha + beta)", 9 / 11)])
def test_the_slowest_direction_sets_the_rate(step, factor):
    run = linear.descend(10.0, step, seed=0)
    assert linear.rate(10.0, step) == pytest.approx(np.log(factor))
    assert run["rate"] == pytest.approx(np.log(factor), rel=1e-3)
    assert run["log error"][0] == 0.0


def test_small_condition_numbers_support_every_part():
    verdicts, charts = linear.quick(Lab(), kappas=(5.0, 20.0), seeds=(0, 1))
    assert [v.outcome for v in verdicts] == ["supported"] * 5
    assert [line.theory for line in charts[0].lines] == [False, False, True]


def test_a_step_that_is_half_as_long_is_not_called_right(monkeypatch):
    monkeypatch.setitem(linear.STEPS, "1/beta", 0.5)
    verdicts, _ = linear.quick(Lab(), kappas=(5.0,), seeds=(0, 1))
    assert verdicts[0].outcome == verdicts[1].outcome == "refuted"
