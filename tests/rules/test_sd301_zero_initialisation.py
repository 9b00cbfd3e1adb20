"""SD301 is about weights that stay zero; gates, heads and ends of branches that start so pass.

The oracle is training itself: what the rule calls stuck has not moved after ten steps.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.zoo.nets import PlainConv, Residual, ReZero, drawn, mlp
from sounding.zoo.sequences import VisionTransformer


def steps(net, batch, count=10):
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(count):
        optimiser.zero_grad()
        functional.cross_entropy(net(batch[0]), batch[1]).backward()
        optimiser.step()
    return net


def two_layers():
    net = mlp(64, 64, 64, 64, 10)
    for number in (2, 4):
        nn.init.zeros_(net[number].weight)
        nn.init.zeros_(net[number].bias)
    return net


@pytest.mark.parametrize(
    ("make", "stuck"),
    [
        (lambda: drawn(mlp(64, 64, 64, 10), nn.init.zeros_), ("0", "2", "4")),
        (two_layers, ("2", "4")),
    ],
)
def test_what_is_stuck_does_not_move(find, batch, make, stuck):
    net = make()
    finding, _ = find("SD301", net)
    assert finding.layers == stuck
    assert finding.severity == "problem"
    assert finding.measured["zero_weights"] == len(stuck)
    steps(net, batch)
    for name in stuck:
        assert not net.get_submodule(name).weight.any()


def test_convolutions(find, batch):
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    finding, _ = find("SD301", drawn(PlainConv(3), nn.init.zeros_), data=images)
    assert finding.layers[0] == "layers.0"


def test_it_comes_first(examine):
    exam = examine(drawn(mlp(64, 64, 64, 10), nn.init.zeros_))
    assert exam.findings[0].code == "SD301"
    assert all(f.because for f in exam.findings[1:])


def _zero_head():
    net = mlp(64, 64, 10)
    nn.init.zeros_(net[2].weight)
    return net


@pytest.mark.parametrize("make", [_zero_head, lambda: Residual(6, last=0.0)])
def test_zeros_that_move_are_healthy(examine, batch, make):
    net = make()
    zero = [name for name, p in net.named_parameters() if p.dim() > 1 and not p.any()]
    assert zero
    assert examine(net).findings == ()
    steps(net, batch, 1)
    assert all(net.get_parameter(name).any() for name in zero)


def test_gates_and_heads_of_known_nets(examine, batch):
    gated = torch.randn(64, 32), batch[1]
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    assert examine(ReZero(), data=gated).findings == ()
    assert examine(VisionTransformer(2), data=images).findings == ()


def test_silent(find):
    finding, outcome = find("SD301", mlp(64, 64, 10))
    assert finding is None
    assert outcome.outcome == "passed"


def test_not_applicable_without_a_backward_pass(examine):
    import dataclasses

    from sounding.result import NotApplicable
    from sounding.rules.initialisation import zero_initialisation

    readings = dataclasses.replace(examine(mlp(64, 10)).readings, gradients=None)
    with pytest.raises(NotApplicable):
        zero_initialisation(readings)
