"""SD202 against the chaotic phase of mean-field theory, and against the factor of batch norm.

A gradient that explodes while the signal is bounded is seen by no other rule.
"""

import math

import pytest
import torch
from torch import nn

from sounding.rules.depth import CAUTION, gradient_gain
from sounding.theory import activation, chi, fixed_point
from sounding.zoo.nets import Plain, drawn, mlp, normal


def test_the_chaotic_phase(find):
    depth, gain = 30, 3.0
    net = drawn(mlp(64, *[256] * (depth - 1), 10, activation=nn.Tanh), normal(gain))
    finding, _ = find("SD202", net)
    phi = activation("tanh")
    q = fixed_point(phi, gain**2, 0.0)
    expected = (depth - 1) * 0.5 * math.log(chi(phi, q, gain**2))
    assert finding.measured["log_gain"] == pytest.approx(expected, rel=0.15)
    assert finding.severity == "problem"


def test_the_signal_is_bounded_and_the_first_finding_names_the_weights(examine):
    net = drawn(mlp(64, *[64] * 29, 10, activation=nn.Tanh), normal(3.0))
    codes = [f.code for f in examine(net).findings]
    assert "SD202" in codes
    assert "SD206" not in codes


def normed(depth):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def test_batch_norm_without_skips(examine, batch):
    """Yang et al. 2019: sqrt(pi / (pi - 1)) = 1.211 a layer, deep down and at infinite width."""
    x = torch.randn(512, 256)
    gain = gradient_gain(examine(normed(40), data=(x, torch.arange(512) % 10)).readings)
    assert gain.factor == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.05)


def test_one_large_layer_counts_under_gradient_descent_only(find):
    net = drawn(Plain(64, *[64] * 7, 10), normal(2**0.5))
    with torch.no_grad():
        net.layers[3].weight.mul_(1000)
    finding, _ = find("SD202", net, optimiser="sgd")
    assert finding.severity == "problem"
    assert find("SD202", net, optimiser="adam")[0] is None


def test_silent_on_a_shallow_normed_net(find, batch):
    x = torch.randn(64, 256)
    finding, outcome = find("SD202", normed(8), data=(x, batch[1]))
    assert finding is None
    assert outcome.outcome == "passed"


def test_the_scale_of_a_normed_layer_is_of_no_consequence(examine, batch):
    """The gradient before a norm grows as the weights shrink; that is no explosion."""
    x = torch.randn(64, 256)
    net = normed(6)
    before = gradient_gain(examine(net, data=(x, batch[1])).readings).total
    with torch.no_grad():
        net[0].weight.mul_(1e-3)
        net[0].bias.mul_(1e-3)
    after = gradient_gain(examine(net, data=(x, batch[1])).readings).total
    assert after == pytest.approx(before, abs=0.05)  # up to the eps of the norm
    assert abs(after) < CAUTION


def test_not_applicable(find):
    assert find("SD202", mlp(64, 32, 10))[1].outcome == "not applicable"
