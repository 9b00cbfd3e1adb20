"""Steps of gradient descent, against the closed form on a diagonal matrix."""

import math

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import lecun_1998_inputs as lecun
from sounding.studies.lab import Lab


@pytest.mark.parametrize("condition", [3.0, 50.0])
def test_steps_are_those_of_the_slowest_direction(condition):
    """After the first step only the slow direction is left: t = log(near |w*|) / log(1 - 1/k)."""
    moments = np.diag([condition, 1.0])
    steps = lecun.steps_of_descent(moments, np.array([1.0, 1.0]), 1 / condition)
    expected = (math.log(lecun.NEAR * math.sqrt(2))) / math.log1p(-1 / condition)
    assert steps == math.ceil(expected)


def test_inputs_have_the_moments_that_their_names_say():
    scaled, _ = lecun.least_squares("scales 1 to 30", 4000, 5, 0)
    shifted, _ = lecun.least_squares("mean 5", 4000, 5, 0)
    correlated, _ = lecun.least_squares(lecun.CORRELATED, 4000, 5, 0)
    assert scaled.std(0)[-1] / scaled.std(0)[0] == pytest.approx(30, rel=0.1)
    assert shifted.mean(0) == pytest.approx(5, abs=0.1)
    assert np.corrcoef(correlated.T)[0, 1] == pytest.approx(0.98, abs=0.01)


def test_inputs_that_are_well_conditioned_already_save_nothing(monkeypatch):
    right = lecun.least_squares

    def standardised(*settings):
        x, y = right(*settings)
        return (x - x.mean(0)) / x.std(0), y - y.mean()

    monkeypatch.setattr(lecun, "least_squares", standardised)
    verdicts, _ = lecun.quick(Lab(), samples=100, features=5, seeds=(0,))
    assert [v.outcome for v in verdicts[:5]] == ["refuted", "supported", *["refuted"] * 3]


def test_the_claim_is_supported_and_the_larger_scale_runs():
    verdicts, charts = lecun.full(Lab(), samples=300, features=10, seeds=(0, 1))
    assert [v.outcome for v in verdicts[:5]] == ["supported"] * 5
    assert charts[0].lines[1].theory


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("lecun-1998-inputs").verdicts} == {"supported"}
