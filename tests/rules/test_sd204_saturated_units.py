"""SD204: the fraction is the normal distribution's, and one saturated layer is no problem.

Rectifiers, gates and outputs are flat by design; a rule on flatness alone would report them all.
"""

import math

import pytest
import torch
from torch import nn

from sounding.zoo.nets import Plain, Squeezed, drawn, mlp, normal, separable


def two_sided(bound, deviation):
    """P(|z| > bound) of a normal z."""
    return math.erfc(bound / deviation / 2**0.5)


@pytest.mark.parametrize(
    ("function", "kind", "bound"),
    [("tanh", nn.Tanh, 2.9932), ("sigmoid", nn.Sigmoid, 4.5849)],
)
def test_the_fraction_is_the_normal_one(find, function, kind, bound):
    """Slope < 0.01 beyond +-2.993 for tanh, 4.585 for the sigmoid: claims C1."""
    deviation = 12.0
    net = mlp(64, 1024, 64, 10, activation=kind)
    nn.init.normal_(net[0].weight, std=deviation / 8)
    nn.init.zeros_(net[0].bias)
    x = torch.randn(64, 64)
    finding, _ = find("SD204", net, data=(x, torch.arange(64) % 10))
    expected = two_sided(bound, deviation)
    error = finding.measured["saturated_error"]
    # 4 standard errors, and a sample's norm scatters by sqrt(1 / 128)
    assert finding.measured["saturated"] == pytest.approx(expected, abs=4 * error + 0.02)
    assert finding.layers == ("1",)


def test_one_layer_is_a_caution_and_many_are_a_problem(find):
    for layers, severity in (((0,), "caution"), (range(8), "problem")):
        net = drawn(Plain(64, *[64] * 8, 10, activation=torch.tanh), normal(1.0))
        with torch.no_grad():
            for number in layers:
                net.layers[number].weight.mul_(30)
        finding, _ = find("SD204", net)
        assert finding.severity == severity
        assert len(finding.layers) == len(layers)


def test_a_layer_that_no_longer_depends_on_its_input_is_a_problem(find):
    net = mlp(64, 64, 64, 64, 10, activation=nn.Tanh)
    nn.init.constant_(net[2].bias, 12.0)
    finding, _ = find("SD204", net)
    assert finding.severity == "problem"
    assert finding.layers == ("3",)


def test_causes_what_vanishes_and_what_explodes(examine):
    net = drawn(Plain(64, *[64] * 8, 10, activation=lambda x: torch.tanh(20 * x)), normal(1.0))
    first, *rest = examine(net).findings
    assert first.code == "SD204"
    assert {(f.code, f.because) for f in rest} == {("SD202", "SD204")}


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh])
def test_an_output_may_be_saturated(find, kind):
    net = nn.Sequential(*mlp(64, 32, 10, activation=nn.Tanh), kind())
    nn.init.normal_(net[2].weight, std=20.0)
    assert find("SD204", net)[0] is None


def test_rectifiers_with_a_ceiling_and_gates_are_silent(find, batch):
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    assert find("SD204", separable(), data=images)[0] is None
    net = Squeezed()
    for layer in net.up:
        nn.init.constant_(layer.bias, 20.0)
    finding, outcome = find("SD204", net, data=images)
    assert finding is None
    assert outcome.outcome == "not applicable"


def test_silent_with_sound_weights(find):
    finding, outcome = find("SD204", drawn(mlp(64, *[64] * 8, 10, activation=nn.Tanh), normal(1.6)))
    assert finding is None
    assert outcome.outcome == "passed"


def test_not_applicable(find):
    _, outcome = find("SD204", mlp(64, 32, 10))
    assert outcome.outcome == "not applicable"
