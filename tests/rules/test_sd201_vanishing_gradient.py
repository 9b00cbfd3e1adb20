"""SD201: the log-gain it reports is mean-field theory's, and what is harmless is not reported.

A limit applied to the wrong sign, a layer counted twice, or a gain measured on the rms instead of
the norm would pass every other test.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from sounding.result import Series
from sounding.rules.depth import CAUTION, PROBLEM, gradient_gain
from sounding.rules.propagation import vanishing_gradient
from sounding.theory import activation, predict
from sounding.zoo.nets import Plain, drawn, mlp, normal
from sounding.zoo.sequences import HandWritten, VisionTransformer


def chain(depth, width=256, activation=torch.tanh, gain=0.8):
    return drawn(Plain(64, *[width] * (depth - 1), 10, activation=activation), normal(gain))


@pytest.mark.parametrize(
    ("name", "function", "gain"),
    [("tanh", torch.tanh, 0.7), ("sigmoid", torch.sigmoid, 1.8462), ("relu", torch.relu, 1.0)],
)
def test_the_log_gain_is_theorys(find, batch, name, function, gain):
    depth = 14
    finding, _ = find("SD201", chain(depth, activation=function, gain=gain))
    layers = [(gain**2, 0.0, activation(name))] * (depth - 1) + [(gain**2, 0.0, None)]
    predicted = predict(layers, q0=float((batch[0] ** 2).mean()), widths=[256] * 13 + [10])
    # the norm of a sample's gradient: the widths do not matter to it
    expected = 0.5 * math.log(predicted.gradient[0] / predicted.gradient[-1] * 256 / 10)
    # a layer's log-gain scatters by about sqrt(5 / (4 x 256)) = 0.07, and 13 add up; 4 deviations
    assert finding.measured["log_gain"] == pytest.approx(expected, abs=4 * 0.07 * 13**0.5)
    each = math.exp(expected / 13)
    assert finding.measured["factor_per_layer"] == pytest.approx(each, rel=0.07)
    assert finding.layers[0] == "head"
    assert finding.layers[-1] == "layers.0"


def test_a_change_of_width_is_no_gain(examine):
    widths = (64, 512, 32, 512, 32, 512, 10)
    gain = gradient_gain(examine(drawn(mlp(*widths), normal(2**0.5))).readings)
    assert abs(gain.total) < 1.0  # the rms would fall and rise by a factor of 4 from layer to layer


@pytest.mark.parametrize(
    ("optimiser", "expected"), [("sgd", "problem"), ("adam", "caution"), (None, "problem")]
)
def test_how_far_depends_on_the_optimiser(find, optimiser, expected):
    net = drawn(mlp(64, *[64] * 8, 10, activation=nn.Sigmoid), normal(1.8462))
    finding, _ = find("SD201", net, optimiser=optimiser)
    assert PROBLEM < -finding.measured["log_gain"] < 2 * PROBLEM
    assert finding.severity == expected


def test_without_an_optimiser_no_caution_is_given(find):
    net = mlp(64, *[64] * 5, 10)
    assert find("SD201", net, optimiser="sgd")[0].severity == "caution"
    assert find("SD201", net, optimiser=None)[0] is None


def test_silent_at_the_critical_point(find):
    finding, outcome = find("SD201", chain(30, gain=1.0))
    assert finding is None
    assert outcome.outcome == "passed"


@pytest.mark.parametrize("factor", [1e-2, 1e-4, 0.0])
def test_one_small_layer_is_excused(find, factor):
    """It grows within a few steps (docs/concepts/limits.md); a small head is made so on purpose."""
    for name in ("layers.4", "head"):
        net = chain(9, 64, torch.relu, 2**0.5)
        with torch.no_grad():
            net.get_submodule(name).weight.mul_(factor)
        if factor or name == "head":  # a zero layer in the middle is SD301's
            assert find("SD201", net)[0] is None


def test_one_layer_of_small_slope_is_not_excused(find):
    net = chain(6, 64, torch.tanh, 1.2)
    with torch.no_grad():
        net.layers[2].bias.fill_(6.0)
    assert find("SD201", net)[0].measured["log_gain"] < -PROBLEM


def test_a_loss_that_fell_refutes_it(examine):
    readings = examine(mlp(64, *[64] * 8, 10, activation=nn.Sigmoid)).readings
    assert vanishing_gradient(readings).severity == "problem"
    steps = np.arange(100)
    for low, refuted in ((0.1, True), (2.0, False)):
        falling = 2.3 - (2.3 - low) * steps / 99
        history = Series(quantity="training loss", unit="", steps=steps, values=falling)
        answer = vanishing_gradient(dataclasses.replace(readings, history=history))
        assert isinstance(answer, str) == refuted


def test_not_applicable(find, examine, batch):
    reasons = {
        "2 weighted layers": mlp(64, 32, 10),
        "the weights of head are zero": VisionTransformer(1),
        "weighted layers in a row": HandWritten(),
    }
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    sequences = torch.randn(64, 15, 8), batch[1] % 2
    for data, (reason, net) in zip((batch, images, sequences), reasons.items(), strict=True):
        _, outcome = find("SD201", net, data=data)
        assert outcome.outcome == "not applicable"
        assert reason in outcome.reason


def test_not_applicable_where_the_graph_is_cut(find):
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = mlp(64, 64, 64, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.head(torch.relu(self.body(x)).detach())

    _, outcome = find("SD201", Cut())
    assert outcome.outcome == "not applicable"
    assert "no gradient arrives at body.4: it is frozen, or the graph is cut" in outcome.reason


def test_frozen_layers_below_are_left_out(find):
    net = mlp(64, *[64] * 12, 10, activation=nn.Sigmoid)
    for layer in list(net)[:6]:
        layer.requires_grad_(False)
    finding, _ = find("SD201", net)
    assert finding.layers[-1] == "6"
    assert abs(finding.measured["log_gain"]) > CAUTION


@pytest.mark.parametrize(("mixed", "found"), [(0.0, True), (0.1, False)])
def test_a_recurrence_along_the_samples_is_not_one_along_time(examine, ran, mixed, found):
    """`batch_first` forgotten: no gradient reaches the other places, as nothing runs along them."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.head = nn.GRU(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.recurrent(x)[0][:, -1])

    data = torch.randn(16, 8, 4), torch.arange(16) % 2
    tests = {
        "baseline": {"explained": 0.6, "error": 0.02},
        "memory": {"log_gain": -math.inf, "places": 8, "unreached": 7, "near": 0.0, "far": 0.6},
        "mixing": {"eval": mixed, "train": mixed},
    }
    readings = examine(Last(), data=data).readings
    answer = vanishing_gradient(ran(readings=readings, constant=(0.69, 0.68), tests=tests))
    assert isinstance(answer, str) != found
    assert "8 time steps" in answer.message if found else "samples are mixed" in answer
