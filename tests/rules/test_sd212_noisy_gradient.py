"""SD212: more noise than the run can average out; beside a random walk that says when that is."""

import math

import numpy as np
import pytest

from sounding.measure.test import Untested
from sounding.rules.noise import noisy_gradient

STUCK = (2.3, 2.25)


def denoised(as_is, changed, held=16.0):
    """The fork on the mean gradients of 16 batches, judged on so many that were held back."""
    values = {"as_is": as_is, "changed": changed, "difference": as_is - changed, "held": held}
    return {"denoised": values | {"error": 0.001, "start": 2.3, "steps": 200.0}}


CURED = denoised(2.25, 0.4)


@pytest.mark.parametrize("ratio", [25.0, 100.0, 400.0])
def test_when_a_run_is_a_random_walk(ratio):
    """The sum of S gradients points the way of its mean where S exceeds variance over signal."""
    rng, dimension, steps = np.random.default_rng(0), 100, 100
    mean = np.zeros(dimension)
    mean[0] = 1.0
    noise = rng.normal(0, math.sqrt(ratio / dimension), (200, steps, dimension))
    total = (mean + noise).sum(1)
    cosine = (total[:, 0] / np.linalg.norm(total, axis=1)).mean()
    assert cosine == pytest.approx(1 / math.sqrt(1 + ratio / steps), abs=0.03)
    assert (cosine < math.sqrt(0.5) - 0.03) == (ratio > steps)


def test_fires(ran):
    noise = {"signal": 1e-3, "variance": 0.5}
    finding = noisy_gradient(ran(constant=STUCK, tests={"noise": noise, **CURED}))
    assert (finding.code, finding.severity) == ("SD212", "problem")
    assert finding.measured["noise_over_signal"] == pytest.approx(500)  # of 200 steps
    assert "batches of 1024 samples" in finding.message  # 16 times the 64 of the examined one


def test_the_steps_of_the_run_count(ran):
    noise = {"signal": 1e-3, "variance": 0.5}
    made = ran(loss=np.full(600, 2.3), constant=STUCK, tests={"noise": noise, **CURED})
    assert "which 600 steps average out" in noisy_gradient(made)


@pytest.mark.parametrize("signal", [1e-3, 0.0, -1e-5])
def test_a_net_that_has_learnt_what_there_is_has_no_signal_either(ran, signal):
    """Down to the noise of its targets: more batches a step know no more."""
    tests = {"noise": {"signal": signal, "variance": 0.5}, **denoised(0.99, 0.98)}
    said = noisy_gradient(ran(constant=(1.1, 0.99), tests=tests))
    assert said.endswith("do not end clearly lower")


def test_what_was_learnt_by_heart_does_not_count(ran):
    """Nine parts noise in batches of 8: whoever sees them 50 times knows them."""
    tests = {"noise": {"signal": 0.0, "variance": 0.5}, **denoised(0.95, 0.23, held=0.0)}
    assert "by heart" in noisy_gradient(ran(constant=(1.1, 0.99), tests=tests))


def test_silent_where_the_run_learns_or_diverged(ran):
    assert noisy_gradient(ran(constant=(2.3, 0.1))) is None
    assert noisy_gradient(ran(constant=(2.3, math.nan))) is None


def test_asks_for_what_decides(ran):
    with pytest.raises(Untested, match="noise"):
        noisy_gradient(ran(constant=STUCK))
    with pytest.raises(Untested, match="denoised"):
        noisy_gradient(ran(constant=STUCK, tests={"noise": {"signal": 1e-3, "variance": 0.5}}))
