"""Large and small weights: chains against the closed form, and a wrong theory refuted."""

import math

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import initial_scale as scale
from sounding.studies.lab import Lab


@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_a_relu_chain_changes_by_half_the_factor(factor):
    """Width 256, 4 nets: one layer's log has deviation 0.15 in nats, 8 layers of 4 nets 0.2."""
    runs = np.log([scale.chain("relu", factor, 256, 9, s)["signal"] for s in range(4)])
    grown = (runs[:, -1] - runs[:, 0]).mean()
    assert grown == pytest.approx(8 * math.log(factor / 2), abs=0.8)


def test_theory_of_tanh_grows_as_the_root_of_the_factor():
    """For large s, chi is 4/3 sqrt(s / (2 pi)) of the mean square of tanh near 1."""
    for s in (256.0, 1024.0):
        assert scale._theory(s) == pytest.approx(4 / 3 * math.sqrt(s / (2 * math.pi)), rel=0.06)


def test_the_mean_behind_a_relu_is_that_of_a_half_normal():
    centres = [scale.chain("relu", 2.0, 256, 8, s)["centre"] for s in range(4)]
    assert np.mean(centres) == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.02)


def test_every_rate_has_a_part_and_a_wrong_theory_is_refuted(monkeypatch):
    monkeypatch.setattr(scale, "_theory", lambda factor: 4.0 * factor)
    verdicts, charts = scale.quick(Lab(), width=64, depth=12, seeds=(0, 1, 2))
    assert verdicts[0].outcome == "refuted"
    assert len(verdicts) == 1 + 2 * 5 + 5 + 2 + 2
    assert [len(chart.lines) for chart in charts] == [10, 5, 10]
    wrong = [v for v in verdicts if "gradient grows by" in v.statement]
    assert {v.outcome for v in wrong} == {"refuted"}


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("initial-scale").verdicts} == {"supported"}


def test_a_chain_as_deep_as_the_full_scales_does_not_overflow():
    """At s = 256 the gradient's mean square grows by 8 to 9 a layer, beyond float32 in 100."""
    found = scale.chain("tanh", 256.0, 64, 100, 0)
    assert np.all(np.isfinite(found["gradient"]))
    assert 80 < np.log10(found["gradient"][0] / found["gradient"][-1]) < 100
