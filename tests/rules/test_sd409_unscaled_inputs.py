"""SD409: the fork decides; size and offset say nothing, and a net that learnt is left alone."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from trainings import constant, fork, trained

from sounding.measure.loop import Evaluations
from sounding.measure.test import Test, Untested
from sounding.result import NotApplicable
from sounding.rules.inputs import unscaled_inputs
from sounding.zoo.nets import mlp


def raw(examine, *, scale=40.0, shift=128.0, net=None):
    x, y = torch.randn(64, 8) * scale + shift, torch.arange(64) % 3
    return examine(net or mlp(8, 32, 3), data=(x, y)).readings


def test_the_fork_decides(examine):
    readings = raw(examine)
    with pytest.raises(Untested, match="constant"):
        unscaled_inputs(readings)
    level = constant(1.1, 1.1)
    finding = unscaled_inputs(trained(readings, constant=level, standardised=fork(1.1, 0.1)))
    assert (finding.code, finding.severity) == ("SD409", "problem")
    assert finding.measured["mean"] == pytest.approx(128, abs=5)
    assert finding.measured["deviation"] == pytest.approx(40, rel=0.1)
    assert "the loss ends at 0.1 instead of 1.1 in 200 steps" in finding.message
    assert [r.name for r in finding.remedies] == ["standardise_inputs"]


@pytest.mark.parametrize(
    "made",
    [
        fork(0.20, 0.01),  # faster, but the run as it is has learnt
        fork(1.10, 0.90),  # not the main cause
        fork(1.10, 0.40, error=0.3),  # by chance
        fork(math.inf, 1.08),  # both learn nothing
        fork(1.10, math.inf),
        fork(5.00, 1.20),  # no better than a constant
    ],
)
def test_refuted(made, examine):
    readings = trained(raw(examine), constant=constant(1.1, 1.1), standardised=made)
    assert "standardised, the loss ends at" in unscaled_inputs(readings)


def test_a_run_longer_than_its_fork_is_judged_by_its_end(examine):
    for end, harmful in ((0.9, True), (0.12, False)):
        readings = raw(examine)
        readings = trained(readings, constant=constant(1.1, end), standardised=fork(1.1, 0.1))
        assert isinstance(unscaled_inputs(readings), str) != harmful


def test_what_diverges_has_learnt_nothing(examine):
    made = fork(math.inf, 0.2)
    readings = trained(raw(examine), constant=constant(1.1, math.inf), standardised=made)
    assert unscaled_inputs(readings).severity == "problem"


def test_the_first_loss_stands_in_where_no_constant_can_be_had(examine):
    readings = trained(raw(examine), standardised=fork(1.1, 0.1, start=1.2))
    failed = {"constant": Test(name="constant", values={}, failed="no minimum")}
    readings = dataclasses.replace(readings, tests=readings.tests | failed)
    assert unscaled_inputs(readings).measured["best_constant"] == 1.2


def test_features_of_very_different_ranges(examine):
    readings = raw(examine, scale=1.0, shift=0.0)
    assert unscaled_inputs(readings) is None
    ranges = Evaluations(
        count=1, training=0, low=np.zeros(8), high=np.array([500.0, *[1.0] * 7]), outside=0.0,
        expected=0.1,
    )  # fmt: skip

    class Loop:
        evaluations = ranges

    level, made = constant(1.1, 1.1), fork(1.1, 0.1)
    readings = trained(readings, constant=level, standardised=made)
    finding = unscaled_inputs(dataclasses.replace(readings, loop=Loop()))
    assert "one feature ranges 5e+02 times as far as the middle one" in finding.message


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.5, 0.5), (2.0, 1.0)])
def test_silent_on_inputs_of_ordinary_size(scale, shift, examine):
    assert unscaled_inputs(raw(examine, scale=scale, shift=shift)) is None


def test_not_applicable_to_indices_and_behind_a_norm(examine, batch):
    words = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(40, 10))
    data = torch.randint(0, 50, (64, 5)), batch[1]
    with pytest.raises(NotApplicable, match="indices"):
        unscaled_inputs(examine(words, data=data).readings)
    with pytest.raises(NotApplicable, match="itself"):
        unscaled_inputs(raw(examine, net=nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))))
