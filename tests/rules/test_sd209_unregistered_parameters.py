"""SD209: weights of no module, in a list or made in forward; computed ones are left alone."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm
from trainings import watched

from sounding.result import NotApplicable
from sounding.rules.ownership import unregistered_parameters
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp


class Listed(nn.Module):
    """Its first layers stand in a list that torch does not look into."""

    def __init__(self, layers):
        super().__init__()
        self.layers, self.head = layers, nn.Linear(16, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


class Fresh(nn.Module):
    """A new layer at every call."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 16)

    def forward(self, x):
        return nn.Linear(16, 3)(torch.relu(self.first(x)))


class Taught(nn.Module):
    """A teacher in a list, so that it is no parameter; it is asked without gradients."""

    def __init__(self):
        super().__init__()
        self.net, self.teacher = mlp(8, 16, 3), [mlp(8, 16, 3)]

    def forward(self, x):
        with torch.no_grad():
            wanted = self.teacher[0](x)
        return self.net(x) + 0 * wanted


def loop(make, *, steps=40, hold=lambda net: net.parameters()):
    """The findings on a training of this net."""
    torch.manual_seed(0)
    observer = Observer(budget=1.0)
    with observer.watching():
        net = make()
        optimiser = torch.optim.Adam(hold(net))
        x = torch.randn(64, 8)
        for _ in range(steps):
            optimiser.zero_grad()
            functional.cross_entropy(net(x), torch.arange(64) % 3).backward()
            optimiser.step()
    assert not observer.failures
    return {f.code: f for f in diagnose(observer, "loop", tests=False).findings}


def test_a_list():
    finding = loop(lambda: Listed([nn.Linear(8, 16), nn.Linear(16, 16)]))["SD209"]
    assert (finding.severity, finding.confidence) == ("problem", "exact")
    assert finding.measured["calls"] == 2
    assert "nn.ModuleList" in finding.message


def test_made_in_forward():
    finding = loop(Fresh)["SD209"]
    assert "new ones at every call: make the layer in __init__" in finding.message


@pytest.mark.parametrize(
    "make",
    [
        Taught,
        lambda: Listed(nn.ModuleList([nn.Linear(8, 16)])),
        lambda: Listed(nn.ModuleList([weight_norm(nn.Linear(8, 16))])),
        lambda: Listed([nn.Linear(8, 16).requires_grad_(False)]),
    ],
)
def test_healthy(make):
    assert "SD209" not in loop(make)


def test_held_by_the_optimiser():
    def hold(net):
        return [*net.parameters(), *net.layers[0].parameters()]

    assert "SD209" not in loop(lambda: Listed([nn.Linear(8, 16)]), hold=hold)


def test_no_gradient_arrives(examine):
    readings = examine(mlp(64, 32, 10)).readings
    name = readings.calls[readings.path[0]].name
    assert unregistered_parameters(watched(readings, unregistered=(name,))).severity == "problem"
    nowhere = dataclasses.replace(
        readings.gradients, rms=np.full_like(readings.gradients.rms, np.nan)
    )
    readings = dataclasses.replace(readings, gradients=nowhere)
    assert "no gradient arrives" in unregistered_parameters(watched(readings, unregistered=(name,)))
    with pytest.raises(NotApplicable):
        unregistered_parameters(
            watched(dataclasses.replace(readings, gradients=None), unregistered=(name,))
        )
