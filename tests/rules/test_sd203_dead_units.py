"""SD203: counts are exact, a way around a dead layer is seen, and sparsity is no death.

A rule that looked at zeros instead of units would report every sparse net; one that did not look
for skips would say that nothing passes where half of the gradient does.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import Series
from sounding.rules.units import dead_units
from sounding.zoo.nets import Plain, PlainConv, drawn, mlp, normal


def killed(net, names, alive):
    """All but `alive` units of some layers never fire, and these surely do."""
    for name in names:
        nn.init.constant_(net.get_submodule(name).bias[alive:], -50.0)
        nn.init.constant_(net.get_submodule(name).bias[:alive], 2.0)
    return net


@pytest.mark.parametrize(
    "activation", [torch.relu, lambda x: x.clamp(min=0), functional.relu6, torch.nn.ReLU()]
)
def test_a_dead_layer_is_an_exact_problem(find, activation):
    net = killed(Plain(64, 64, 64, 64, 10, activation=activation), ["layers.1"], 0)
    finding, _ = find("SD203", net)
    assert (finding.severity, finding.confidence) == ("problem", "exact")
    assert finding.measured["dead"] == finding.measured["units"] == 64
    assert "64 of 64 units" in finding.message
    assert len(finding.layers) == 1


def test_channels_are_the_units_of_a_convolution(find, batch):
    net = killed(PlainConv(3), ["layers.1"], 0)
    finding, _ = find("SD203", net, data=(batch[0].view(-1, 1, 8, 8), batch[1]))
    assert finding.measured["units"] == 16


def test_it_is_the_cause_of_what_vanishes(examine):
    first, *rest = examine(killed(mlp(64, 64, 64, 64, 10), ["2"], 0)).findings
    assert first.code == "SD203"
    assert {f.because for f in rest} == {"SD203"}


@pytest.mark.parametrize(("alive", "expected"), [(32, None), (2, "caution"), (1, "problem")])
def test_few_alive_units_add_up_over_the_layers(find, alive, expected):
    net = killed(drawn(mlp(64, 128, 128, 128, 10), normal(2**0.5)), ["0", "2", "4"], alive)
    finding, _ = find("SD203", net)
    assert (finding.severity if finding else None) == expected
    if finding:
        assert finding.measured["log_gain"] == pytest.approx(3 * 0.5 * math.log(2 * alive / 128))


def test_four_of_128_units_in_one_layer_are_no_finding(find):
    """Trains to 0.97 (docs/concepts/limits.md)."""
    net = killed(drawn(mlp(64, 128, 128, 128, 10), normal(2**0.5)), ["2"], 6)
    assert find("SD203", net)[0] is None


def test_a_way_around_is_seen(find):
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.last = (nn.Linear(64, 64) for _ in range(3))
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + self.last(torch.relu(self.branch(x))))

    finding, outcome = find("SD203", killed(Skipping(), ["branch"], 0))
    assert finding is None
    assert outcome.outcome == "not applicable"  # no rectifier that nothing leads around


def test_a_sparse_net_is_healthy(find):
    net = mlp(64, 512, 256, 10)
    nn.init.constant_(net[0].bias, -0.6)
    nn.init.constant_(net[2].bias, -0.15)
    assert find("SD203", net)[0] is None


@pytest.mark.parametrize(("dead", "severity"), [(3, "caution"), (10, "problem")])
def test_scores_behind_a_rectifier(find, dead, severity):
    net = nn.Sequential(*mlp(64, 64, 64, 10), nn.ReLU())
    nn.init.constant_(net[4].bias[:dead], -50.0)
    nn.init.constant_(net[4].bias[dead:], 5.0)
    finding, _ = find("SD203", net)
    assert finding.severity == severity
    assert finding.message.startswith(f"{dead} of 10 outputs of 5 are zero on all 64 samples")


def test_pixels_may_be_zero_by_right(find, batch):
    net = nn.Sequential(*mlp(64, 32, 64), nn.ReLU())
    nn.init.constant_(net[2].bias[:20], -50.0)
    finding, _ = find("SD203", net, loss=functional.mse_loss, data=(batch[0], batch[0]))
    assert finding is None


def test_a_loss_that_fell_refutes_all_but_a_dead_layer(examine):
    steps = np.arange(100)
    history = Series(
        quantity="training loss", unit="", steps=steps, values=np.linspace(2.3, 0.1, 100)
    )
    for alive in (1, 0):
        net = killed(drawn(mlp(64, 128, 128, 128, 10), normal(2**0.5)), ["0", "2", "4"], alive)
        readings = dataclasses.replace(examine(net).readings, history=history)
        assert isinstance(dead_units(readings), str) == (alive > 0)


def test_not_applicable(find, batch):
    assert "no rectifier" in find("SD203", mlp(64, 32, 10, activation=nn.Tanh))[1].reason
    few = batch[0][:31], batch[1][:31]
    _, outcome = find("SD203", killed(mlp(64, 64, 64, 10), ["2"], 0), data=few)
    assert (outcome.outcome, "31 samples" in outcome.reason) == ("not applicable", True)
