"""SD509: a rate that is right but for its beginning.

A rate that is too high all along is no better for being reached slowly: that is what tells the two.
"""

import math

import numpy as np
import pytest

from sounding.measure.readings import Optimiser
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.warm_up import warm_up_missing

ADAM = Optimiser(name="Adam", lr=0.01, adaptive=True, eps=1e-8)
SGD = Optimiser(name="SGD", lr=0.01, adaptive=False, eps=math.nan)
STUCK = (3.4, 3.3)


def test_fires(ran):
    finding = warm_up_missing(
        ran(optimiser=ADAM, lr=0.01, constant=STUCK, tests={"warmed": (3.3, 0.8)})
    )
    assert (finding.code, finding.severity) == ("SD509", "problem")
    assert str(finding.remedies[0]) == "warm_up(steps=66)"  # a third of the fork's 200
    assert finding.expected["first_lr"] == pytest.approx(0.01 / 66)


def test_asks_for_what_decides(ran):
    with pytest.raises(Untested, match="warmed"):
        warm_up_missing(ran(optimiser=ADAM, constant=STUCK))


@pytest.mark.parametrize(
    "how",
    [
        {"lr": np.minimum(1, np.arange(1, 201) / 20)},  # warmed up already
        {"constant": (3.4, 0.75)},  # learns
        {"tests": {"warmed": (3.3, 3.25)}},  # too high all along
        {"tests": {"warmed": (3.3, 2.9)}},
    ],
)
def test_silent_or_refuted(ran, how):
    how = {"constant": STUCK, "tests": {"warmed": (3.3, 0.8)}, **how}
    assert not hasattr(warm_up_missing(ran(optimiser=ADAM, **how)), "code")


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="does not divide"):
        warm_up_missing(ran(optimiser=SGD, constant=STUCK))
