"""The gradient through batch normalisation: the right formulas pass, and mistakes are seen."""

import numpy as np

from sounding.studies import study
from sounding.studies.claims import ioffe_2015_backward as ioffe
from sounding.studies.lab import Lab
from sounding.theory import batch_norm


def test_the_printed_mistake_is_off_by_the_missing_factor():
    """By hand: the wrong part differs by s^-3 (z - mean)/B times sum g (1 - (z - mean))."""
    draw = np.random.default_rng([3, 8])
    z = draw.normal(size=(8, 5)) * draw.uniform(0.5, 2, 5) + draw.normal()
    above, scale = draw.normal(size=(8, 5)), draw.normal(size=(2, 5))[0]
    g, centred = above * scale, z - z.mean(0)
    _, s = batch_norm.normalised(z, ioffe.EPS)
    by_hand = s**-3 * centred / 8 * (g * (1 - centred)).sum(0)
    truth = batch_norm.gradient(g, z, ioffe.EPS)
    expected = np.abs(by_hand).max() / np.abs(truth).max()
    np.testing.assert_allclose(ioffe.compared(8, 5, 3)["without"], expected, rtol=1e-9)


def test_a_gradient_of_twice_the_size_is_refuted(monkeypatch):
    right = batch_norm.gradient
    monkeypatch.setattr(ioffe.closed, "gradient", lambda *args: 2 * right(*args))
    verdicts, _ = ioffe.quick(Lab(), sizes=(8,), seeds=(0, 1))
    assert verdicts[0].outcome == "refuted"
    assert [v.outcome for v in verdicts[1:]].count("refuted") == 1


def test_the_claim_is_supported_and_the_larger_scale_runs():
    result = study("ioffe-2015-backward")
    assert {v.outcome for v in result.verdicts} == {"supported"}
    verdicts, _ = ioffe.full(Lab(), sizes=(4, 512), seeds=(5,), features=3)
    assert verdicts[0].outcome == "supported"
