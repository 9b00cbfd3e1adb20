"""SD303: measured and needed variance, the factor a layer beside theory's, and when it holds back.

Numbers of known schemes: He et al. 2015 (eq. 10), PyTorch's default, Xavier (claims D2 to D4).
"""

import dataclasses
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.rules.initialisation import initialisation_mismatch
from sounding.rules.redrawing import better_redrawn
from sounding.zoo.nets import Plain, PlainConv, drawn, mlp, normal


@pytest.mark.parametrize(
    "function", [torch.relu, functional.relu, nn.ReLU(), nn.ReLU(inplace=True)]
)
def test_the_default_before_relu(find, function):
    finding, _ = find("SD303", Plain(64, *[128] * 29, 10, activation=function))
    assert finding.severity == "problem"
    # 16,384 uniform weights: the variance's standard error is sqrt(0.8 / 16384) = 0.7 %
    assert finding.measured["variance_x_fan_in"] == pytest.approx(1 / 3, rel=0.03)
    assert finding.expected["variance_x_fan_in"] == pytest.approx(2.0)
    # sqrt 6 by the weights; the biases, and that inputs look more alike, do the rest
    assert 1 / finding.measured["factor_per_layer"] == pytest.approx(6**0.5, rel=0.03)
    assert finding.measured["factor_per_layer"] == pytest.approx(
        finding.expected["factor_per_layer"], rel=0.03
    )
    assert len(finding.layers) == 30
    assert "PyTorch's default, 1/(3 fan_in)" in finding.message
    assert "relu needs 2/fan_in" in finding.message


@pytest.mark.parametrize(
    ("kind", "gain", "needed"),
    [(nn.Tanh, 0.3, 1.5925**2), (nn.LeakyReLU, 0.5, 2 / (1 + 0.01**2)), (nn.GELU, 0.5, 1.5335**2)],
)
def test_what_other_activations_need(find, kind, gain, needed):
    net = drawn(mlp(64, *[128] * 19, 10, activation=kind), normal(gain))
    finding, _ = find("SD303", net)
    assert finding.measured["variance_x_fan_in"] == pytest.approx(gain**2, rel=0.06)
    assert finding.expected["variance_x_fan_in"] == pytest.approx(needed, rel=1e-4)
    assert finding.measured["factor_per_layer"] == pytest.approx(
        finding.expected["factor_per_layer"], rel=0.05
    )


def test_convolutions(find, batch):
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    finding, _ = find("SD303", PlainConv(16), data=images)
    assert finding.measured["variance_x_fan_in"] == pytest.approx(1 / 3, rel=0.1)


def test_too_large(find):
    finding, _ = find("SD303", drawn(mlp(64, *[64] * 11, 10), normal(4.0)))
    assert finding.measured["log_gain_of_weights"] == pytest.approx(11 * math.log(8**0.5), rel=0.1)
    assert "times too large" in finding.message


def test_a_mean_adds_up_over_the_inputs(find):
    finding, _ = find("SD303", drawn(mlp(64, 64, 64, 64, 10), nn.init.uniform_))
    assert re.search(r"a mean of size 0\.5\d*, which adds up over 64 inputs", finding.message)


def test_one_large_layer_is_named(find):
    net = drawn(mlp(64, *[64] * 7, 10), normal(2**0.5))
    with torch.no_grad():
        net[6].weight.mul_(1000)
    finding, _ = find("SD303", net)
    assert finding.layers == ("6",)


def test_the_layers_line_of_code(find):
    finding, _ = find("SD303", Plain(64, *[64] * 29, 10))
    assert finding.source.partition(":")[0].endswith("nets.py")


@pytest.mark.parametrize("depth", [3, 4])
def test_the_same_weights_in_a_shallow_net_are_no_finding(find, depth):
    """A pattern is not harm."""
    finding, outcome = find("SD303", Plain(64, *[64] * (depth - 1), 10))
    assert finding is None
    assert outcome.outcome == "passed"


def test_silent_where_a_norm_takes_the_scale_out(find):
    layers = []
    for _ in range(20):
        layers += [nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU()]
    assert find("SD303", nn.Sequential(*layers, nn.Linear(64, 10)))[0] is None


def test_silent_where_the_weights_do_not_explain_it(examine):
    """No scale keeps the gradient through sigmoids, so their scale is not the fault."""
    codes = [
        f.code
        for f in examine(
            drawn(mlp(64, *[64] * 10, 10, activation=nn.Sigmoid), normal(1.85))
        ).findings
    ]
    assert codes == ["SD201", "SD205"]


@pytest.mark.parametrize("gain", [2**0.5, 1.3, 1.55])
def test_silent_near_the_needed_scale(find, gain):
    assert find("SD303", drawn(mlp(64, *[128] * 29, 10), normal(gain)))[0] is None


def test_not_applicable(find):
    _, outcome = find("SD303", mlp(64, 32, 10))
    assert outcome.outcome == "not applicable"


def test_new_weights_are_compared_with_those_of_the_start(ran):
    """Weights that have exploded since say nothing of how they were drawn."""
    readings = ran(constant=(2.3, 2.3), tests={"redrawn": (2.3, 0.1)})
    assert better_redrawn(readings).harmful
    assert better_redrawn(dataclasses.replace(readings, step=13)) is None


@pytest.mark.parametrize(("slower", "named"), [(0.9, False), (1.1, True), ("no fork", True)])
def test_a_table_as_torch_draws_it_is_named_only_where_a_lower_rate_does_less(
    ran, examine, slower, named
):
    ids = torch.randint(0, 50, (64, 8))
    net = nn.Sequential(nn.Embedding(50, 32), nn.Flatten(), nn.Linear(256, 32), nn.Linear(32, 10))
    readings = examine(net, data=(ids, ids[:, 0] % 10)).readings
    tests = {
        "redrawn": (2.3, 1.0),
        "slower": slower if isinstance(slower, str) else (2.3, slower),
    }
    found = initialisation_mismatch(ran(readings=readings, constant=(2.3, 2.3), tests=tests))
    assert isinstance(found, str) != named
    assert "0.weight" in (found.message if named else found)
