"""Drift and smoothness, against nets of which both are known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import santurkar_2018_noise as santurkar
from sounding.studies.deep_nets import NOISY, NONE, NORMAL
from sounding.studies.lab import Lab


def test_smoothness_of_a_linear_softmax_is_its_largest_secant():
    """The oracle: gradients at both ends by autograd on a flat weight, one multiple at a time."""
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(20, 4, generator=generator), torch.randn(3, 4, generator=generator)
    y = torch.arange(20) % 3
    net = nn.Sequential(nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(w)

    def gradient(weight):
        weight = weight.clone().requires_grad_()
        loss = nn.functional.cross_entropy(x @ weight.T, y)
        return torch.autograd.grad(loss, weight)[0]

    g = gradient(w)
    secants = [
        float((gradient(w - s * 0.5 * g) - g).norm() / (s * 0.5 * g.norm()))
        for s in santurkar.ALONG
    ]
    found = santurkar.smoothness(copy.deepcopy(net), (x, y), 0.5)
    assert found == pytest.approx(max(secants), rel=1e-4)


def test_unit_means_are_those_before_the_activation_in_deviations():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[0].bias.copy_(torch.tensor([3.0, -1.0]))
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    expected = [3 / 2**0.5, -1 / 8**0.5]
    assert santurkar.unit_means(net, x).tolist() == pytest.approx(expected)


def test_noise_makes_the_means_drift_and_looking_leaves_the_training_as_it_is():
    settings = {"lr": 0.01, "steps": santurkar.LOOK, "width": 8, "images": False, "seed": 1}
    plain = santurkar.observed(NONE, **settings)
    noisy = santurkar.observed(NOISY, **settings)
    assert noisy["drift"] > 2 * plain["drift"]
    assert santurkar.observed(NOISY, **settings)["loss"] == noisy["loss"]
    case = santurkar.deep_case(NOISY, 0.01, santurkar.LOOK, width=8)
    np.testing.assert_array_equal(santurkar.train(case, 1).loss.values, noisy["losses"])


def _arms(plain, normal, noisy):
    values = {NONE: plain, NORMAL: normal, NOISY: noisy}
    return {
        norm: [
            {"loss": loss + 1e-3 * seed, "drift": 8.0 if norm == NOISY else 1.0, "smoothness": 1.0}
            for seed in range(3)
        ]
        for norm, loss in values.items()
    }


def test_noise_that_costs_half_of_the_gain_is_refuted():
    seeds = (0, 1, 2)
    assert santurkar._parts(_arms(2.3, 0.1, 0.2), 0.1, seeds)[0].outcome == "supported"
    assert santurkar._parts(_arms(2.3, 0.1, 1.2), 0.1, seeds)[0].outcome == "refuted"
    assert santurkar._parts(_arms(0.1, 0.1, 0.2), 0.1, seeds)[0].outcome == "refuted"
    assert santurkar._parts(_arms(2.3, 0.1, 0.2), 0.1, seeds)[1].outcome == "supported"


def test_the_full_scales_code_runs_on_a_few_images(sixteen_images):
    from sounding.studies import deep_nets

    sixteen_images(santurkar, deep_nets, size=32)
    verdicts, charts = santurkar.full(
        Lab(), device="cpu", steps=2, channels=1, seeds=(0, 1), lrs=(1e-3,)
    )
    assert len(verdicts) == 4
    assert len(charts[0].lines) == 3


@pytest.mark.slow
def test_the_plain_net_with_hes_initialisation_needs_no_help_on_digits():
    """Refuted at this scale; the drift and the smoothness are as claimed."""
    outcomes = [v.outcome for v in study("santurkar-2018-noise").verdicts]
    assert outcomes == ["refuted", "refuted", "supported", "supported", "supported"]
