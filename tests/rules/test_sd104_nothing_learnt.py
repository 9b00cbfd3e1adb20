"""SD104: between a constant and a regression, both of which have closed forms here."""

import dataclasses

import numpy as np
import pytest
from trainings import constant

from sounding.result import NotApplicable
from sounding.rules.progress import nothing_learnt

LEARNABLE = {"explained": 0.6, "error": 0.02, "samples": 512.0}


@pytest.mark.parametrize(("now", "word"), [(1.0, "nothing"), (0.97, "next to nothing")])
def test_no_better_than_a_constant(ran, now, word):
    tests = {"constant": constant(1.0, now), "baseline": LEARNABLE}
    finding = nothing_learnt(ran(tests=tests))
    assert (finding.code, finding.severity) == ("SD104", "problem")
    assert finding.message.endswith(f"has learnt {word}")
    assert finding.expected["loss"] == pytest.approx(0.4)


def test_a_twentieth_is_something(ran):
    tests = {"constant": constant(1.0, 0.94), "baseline": LEARNABLE}
    assert nothing_learnt(ran(tests=tests)) is None


def test_a_run_that_ended_low_and_was_trained_on_for_something_else(ran):
    tests = {"constant": constant(1.0, 5.0), "baseline": LEARNABLE}
    assert nothing_learnt(ran(loss=np.linspace(1, 0.1, 200), tests=tests)) is None


@pytest.mark.parametrize(("explained", "error"), [(0.2, 0.01), (0.6, 0.3)])
def test_where_a_regression_fails_too(ran, explained, error):
    tests = {"constant": constant(1.0, 1.0), "baseline": {"explained": explained, "error": error}}
    assert "explains no more" in nothing_learnt(ran(tests=tests))


def test_not_judged(ran):
    with pytest.raises(NotApplicable, match="beginning"):
        nothing_learnt(ran(loss=np.ones(99)))
    taken = ran(tests={"constant": constant(1.0, 1.0)})
    taken = dataclasses.replace(taken, loop=dataclasses.replace(taken.loop, several=True))
    with pytest.raises(NotApplicable, match="take turns"):
        nothing_learnt(taken)
