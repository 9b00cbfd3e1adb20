"""Gains against published numbers, and verdicts when theory is off."""

import math

import numpy as np
import pytest

from sounding.studies.claims import activation_gains as gains
from sounding.studies.lab import Lab


@pytest.mark.parametrize(
    ("phi", "forward", "backward"),
    [("relu", math.sqrt(2), math.sqrt(2)), ("selu", 1.0, 0.9660), ("tanh", 1.5925, 1.4674)],
)
def test_sampled_gains_are_the_published_ones(phi, forward, backward):
    """A million samples: the standard error of a second moment is about 0.2 %."""
    found = gains.sampled_gains(phi, 1_000_000, seed=0)
    assert found["forward"] == pytest.approx(forward, rel=4e-3)
    assert found["backward"] == pytest.approx(backward, rel=4e-3)


def test_the_study_is_supported_with_fewer_samples_where_it_does_not_sample():
    verdicts, charts = gains.quick(Lab(), samples=2000, seeds=(0, 1), width=32)
    assert [v.outcome for v in verdicts[4:]] == ["supported"] * 3
    assert len(charts[0].lines) == 6


def test_a_gain_that_is_off_by_two_is_refuted(monkeypatch):
    monkeypatch.setattr(gains, "_theory", lambda phi, direction: 2.0)
    by_phi = {"tanh": [{"forward": 1.59}, {"forward": 1.60}]}
    assert gains._agreement(by_phi, "forward", (0, 1)).outcome == "refuted"


def test_a_signal_is_kept_by_the_gain_that_keeps_it():
    found = gains.tanh_signal(gains.tanh_gains()["signal kept"], 1000, 0)["mean squares"]
    np.testing.assert_allclose(found, found[0], rtol=0.05)
    assert found[0] == pytest.approx(0.3943, rel=0.02)  # E tanh(z)^2
