"""SD510: eps beside the rms of a gradient's entries, which is counted here from the net itself."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.readings import Optimiser
from sounding.result import NotApplicable
from sounding.rules.adaptive import epsilon_dominates
from sounding.zoo.nets import mlp

STUCK, CURED = (2.3, 2.27), {"small_epsilon": (2.28, 0.03)}


def adam(eps):
    return Optimiser(name="Adam", lr=1e-3, adaptive=True, eps=eps)


def conv():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )


@pytest.mark.parametrize("make", [lambda: mlp(64, 64, 64, 10), conv])
def test_the_rms_is_that_of_the_entries(ran, examine, batch, make):
    net = make()
    readings = examine(net).readings
    functional.cross_entropy(net(batch[0]), batch[1]).backward()
    entries = [float(p.grad.square().mean().sqrt()) for p in net.parameters() if p.dim() > 1]
    finding = epsilon_dominates(
        ran(readings=readings, optimiser=adam(1.0), constant=STUCK, tests=CURED)
    )
    assert finding.measured["gradient_rms"] == pytest.approx(np.median(entries), rel=1e-4)
    assert (finding.code, finding.severity) == ("SD510", "problem")
    assert str(finding.remedies[0]) == "set_epsilon(value=1e-08)"


def test_a_head_of_zeros_keeps_the_gradient_from_all_others(ran, examine, batch):
    """Its own is there, and of the size that it is."""
    net = mlp(64, 64, 64, 10)
    nn.init.zeros_(net[-1].weight)
    readings = examine(net).readings
    functional.cross_entropy(net(batch[0]), batch[1]).backward()
    finding = epsilon_dominates(
        ran(readings=readings, optimiser=adam(1.0), constant=STUCK, tests=CURED)
    )
    rms = float(net[-1].weight.grad.square().mean().sqrt())
    assert finding.measured["gradient_rms"] == pytest.approx(rms, rel=1e-4)


def test_adam_with_a_large_eps_is_gradient_descent():
    """The claim behind the rule: steps of lr / eps times the (averaged) gradient."""
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    rate, eps = 1e-3, 1e3
    one = torch.optim.Adam(weights[:1], lr=rate, eps=eps)
    other = torch.optim.SGD(weights[1:], lr=rate / eps)
    for optimiser, w in ((one, weights[0]), (other, weights[1])):
        w.grad = torch.tensor([1.0, -2.0, 3.0])
        optimiser.step()
    moved = [(w.detach() - 1).double() for w in weights]
    assert torch.allclose(moved[0], moved[1], rtol=0.1)


def test_silent_on_the_default_and_where_gradients_are_larger(ran, examine):
    readings = examine(mlp(64, 64, 64, 10)).readings
    for eps in (1e-8, 1e-6, 1e-10):
        assert epsilon_dominates(ran(readings=readings, optimiser=adam(eps))) is None


def test_refuted(ran, examine):
    readings = examine(mlp(64, 64, 64, 10)).readings
    how = {"readings": readings, "optimiser": adam(0.1)}
    assert "the run learns" in epsilon_dominates(ran(**how, constant=(2.3, 0.2)))
    forks = {"small_epsilon": (2.28, 2.2)}  # a rate that goes with eps
    assert "1e-8 does not" in epsilon_dominates(ran(**how, constant=STUCK, tests=forks))


def test_not_applicable(ran, examine):
    with pytest.raises(NotApplicable, match="does not divide"):
        epsilon_dominates(ran(optimiser=dataclasses.replace(adam(math.nan), adaptive=False)))
    with pytest.raises(NotApplicable, match="watched"):
        epsilon_dominates(examine(mlp(64, 32, 10), optimiser="adam").readings)
