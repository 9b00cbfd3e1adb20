"""SD103: the step from which on the loss is no number, counted by hand."""

import dataclasses

import numpy as np
import pytest

from sounding.result import NotApplicable
from sounding.rules.finite import nonfinite_loss


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_the_first_step_of_the_last_stretch(ran, broken):
    loss = np.full(100, 0.5)
    loss[10], loss[60:] = broken, broken  # the first one came back
    finding = nonfinite_loss(ran(loss=loss))
    assert (finding.code, finding.severity) == ("SD103", "problem")
    assert "from step 60 of 100 on; one step before it was 0.5" in finding.message
    assert finding.measured["steps_without_a_loss"] == 40


def test_from_the_first_step_on(ran):
    finding = nonfinite_loss(ran(loss=np.full(20, np.nan)))
    assert "from step 0 of 20 on" in finding.message


def test_a_loss_that_comes_back(ran):
    loss = np.full(50, 0.5)
    loss[[3, 20]] = np.inf
    assert nonfinite_loss(ran(loss=loss)) == "the loss was no number at 2 steps, and came back"


def test_silent_where_all_is_finite(ran):
    assert nonfinite_loss(ran()) is None
    with pytest.raises(NotApplicable, match="watched"):
        nonfinite_loss(dataclasses.replace(ran(), course=None))
