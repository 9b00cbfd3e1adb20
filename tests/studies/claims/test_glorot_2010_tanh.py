"""Glorot and Bengio's layers against their closed-form variances, and a net that is no better."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import glorot_2010_tanh as glorot
from sounding.studies.lab import Lab


@pytest.mark.parametrize(("scheme", "variance"), [("Xavier", 2 / 500), ("standard", 1 / 900)])
def test_weights_are_uniform_with_the_papers_variance(scheme, variance):
    weight = glorot.drawn(nn.Linear(300, 200), scheme).weight.detach()
    assert weight.var().item() == pytest.approx(variance, rel=0.03)
    assert weight.abs().max().item() <= math.sqrt(3 * variance)


def test_small_signals_lose_the_linear_factor():
    """The standard weights lose sqrt(3) a layer where tanh is linear: the last steps come close."""
    signal, gradient = glorot.theory("standard")
    assert signal[3] / signal[4] == pytest.approx(math.sqrt(3), rel=0.02)
    assert gradient[3] / gradient[4] == pytest.approx(1 / math.sqrt(3), rel=0.02)
    measured = glorot.deviations("standard", 300, 0)["signal"]
    np.testing.assert_allclose(measured, signal, rtol=0.12)


def test_running_means_count_from_the_first_whole_window():
    np.testing.assert_allclose(glorot.running_mean(np.array([0.0, 1, 1, 0]), 2)[1:], [0.5, 1, 0.5])


def test_a_net_that_never_learns_takes_infinitely_many_steps(monkeypatch):
    run = glorot.steps_to_learn("Xavier", 8, 1e-4, 3, seed=0)
    assert run["steps"] == math.inf
    assert len(run["accuracy"]) == 3
    easy = glorot.steps_to_learn("Xavier", 8, 1e-4, 3, seed=0, learnt=0.0)
    assert easy["steps"] == 3  # one window, which is cut to the run


def test_equal_schemes_are_not_told_apart(monkeypatch):
    monkeypatch.setattr(glorot, "SCHEMES", {"Xavier": "xavier", "standard": "xavier"})
    verdicts, charts = glorot.quick(Lab(), width=100, training_width=8, steps=4, lrs=(0.01, 0.1))
    assert verdicts[0].outcome == "refuted"
    standard = [v for v in verdicts if v.statement.startswith("standard: deviation")]
    assert [v.outcome for v in standard] == ["refuted", "refuted"]
    assert len(charts) == 3


def test_the_full_scale_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert study("glorot-2010-tanh", scale="full").outcome == "not tested"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("glorot-2010-tanh").verdicts} == {"supported"}
