"""SD302 counts units that stay equal for ever; equal units that part at the first step pass.

The oracle is training: twins that the rule reports are twins after ten steps, the others are not.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.zoo.nets import PlainConv, drawn, mlp


def constant(value):
    return lambda weight: nn.init.constant_(weight, value)


def steps(net, batch, kind=torch.optim.SGD):
    optimiser = kind(net.parameters(), lr=0.01)
    for _ in range(10):
        optimiser.zero_grad()
        functional.cross_entropy(net(batch[0]), batch[1]).backward()
        optimiser.step()


def distinct(weight):
    """Rows that differ by more than rounding."""
    return len(torch.unique((weight.detach().flatten(1) * 1e4).round(), dim=0))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_reported_twins_stay_twins(find, batch, kind):
    net = drawn(mlp(64, 32, 32, 10, activation=nn.Tanh), constant(0.05))
    finding, _ = find("SD302", net)
    assert finding.severity == "problem"
    assert finding.measured["units_with_twin"] == finding.measured["units"] == 32
    steps(net, batch, kind)
    assert distinct(net[0].weight) == distinct(net[2].weight) == 1


def test_convolutions(find, batch):
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    finding, _ = find("SD302", drawn(PlainConv(2), constant(0.02), bias=0.1), data=images)
    assert finding.layers[0] == "layers.0"


def test_equal_rows_that_part_are_healthy(find, batch):
    """Equal weights in, but random weights out: the gradients differ."""
    net = drawn(mlp(64, 32, 32, 10, activation=nn.Tanh), nn.init.xavier_normal_)
    nn.init.constant_(net[0].weight, 0.05)
    finding, outcome = find("SD302", net)
    assert finding is None
    assert outcome.outcome == "passed"
    steps(net, batch)
    assert distinct(net[0].weight) == 32


def test_it_comes_first(examine):
    net = drawn(mlp(64, *[64] * 8, 10, activation=nn.Tanh), constant(0.001))
    first, *rest = examine(net).findings
    assert first.code == "SD302"
    assert rest
    assert {f.because for f in rest} <= {"SD302", "SD303"}


def test_zero_rows_belong_to_sd301(examine):
    codes = [f.code for f in examine(drawn(mlp(64, 64, 64, 10), nn.init.zeros_)).findings]
    assert "SD302" not in codes


@pytest.mark.parametrize("scheme", [nn.init.xavier_normal_, nn.init.orthogonal_])
def test_silent_on_random_weights(find, scheme):
    assert find("SD302", drawn(mlp(64, 64, 64, 10), scheme))[0] is None


def test_a_table_of_equal_rows_is_no_layer(find, batch):
    net = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(net[0].weight)
    nn.init.constant_(net[0].weight, 0.1)
    tokens = torch.randint(0, 50, (64, 4))
    assert find("SD302", net, data=(tokens, batch[1]))[0] is None
