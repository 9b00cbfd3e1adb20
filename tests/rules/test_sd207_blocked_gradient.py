"""SD207 against graphs that are cut at a known place, in every way that a graph is cut.

The nets are recorded as they are; which parameters get no gradient is asked of autograd itself.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import watched

from sounding.measure.loop import Group
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.blocked import blocked_gradient
from sounding.zoo.nets import mlp


def constant(level, now, *, learned):
    return {"constant_loss": level, "now_loss": now, "learned": learned}


class Encoder(nn.Module):
    """Something happens between an encoder and a head."""

    def __init__(self, between, *, inside=None):
        super().__init__()
        self.encoder, self.head = mlp(64, 32, 8), mlp(8, 32, 10)
        self.between, self.inside = between, inside or torch.enable_grad

    def forward(self, x):
        with self.inside():
            code = self.encoder(x)
        return self.head(self.between(code))


CUTS = {
    "detach": Encoder(lambda code: code.detach()),
    "data": Encoder(lambda code: code.data),
    "no_grad": Encoder(lambda code: code, inside=torch.no_grad),
    "numpy": Encoder(lambda code: torch.from_numpy(code.detach().numpy())),
    "tolist": Encoder(lambda code: torch.tensor(code.tolist())),
    "step function": Encoder(lambda code: (code > 0).float()),
}


def without_gradient(net, batch):
    """The parameters that autograd itself gives none."""
    net = net.train()
    functional.cross_entropy(net(batch[0]), batch[1]).backward()
    found = tuple(sorted(name for name, p in net.named_parameters() if p.grad is None))
    net.zero_grad()
    return found


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_graph(cut, examine, batch):
    net = CUTS[cut]
    names = without_gradient(net, batch)
    readings = watched(examine(net).readings, cut=names, cut_source="train.py:7")
    finding = blocked_gradient(readings)
    assert (finding.code, finding.severity, finding.confidence) == ("SD207", "problem", "exact")
    assert finding.layers == names
    assert "encoder.2" in finding.message
    assert "head.0 is computed from it" in finding.message
    assert finding.source == "train.py:7"
    assert finding.measured["parameters_without_gradient"] == len(names) == 4


class Quantised(nn.Module):
    """A code is looked up in a table of another width, by the index of the largest score."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = mlp(64, 32, 8), mlp(5, 32, 10)
        self.table = nn.Parameter(torch.randn(8, 5))

    def forward(self, x):
        chosen = functional.one_hot(self.encoder(x).argmax(1), 8)
        return self.head(chosen.float() @ self.table)


def test_a_cut_is_followed_through_argmax_where_no_size_agrees(examine, batch):
    net = Quantised()
    names = without_gradient(net, batch)
    readings = examine(net).readings
    by_name = {call.name: at for at, call in enumerate(readings.calls)}
    assert readings.calls[by_name["head.0"]].severed == by_name["encoder.2"]
    finding = blocked_gradient(watched(readings, cut=names))
    assert finding.layers == names
    assert "argmax, round, a comparison or the like between encoder.2 and head.0" in finding.message
    severed = [dataclasses.replace(call, severed=-1) for call in readings.calls]
    blind = dataclasses.replace(readings, calls=tuple(severed))
    assert not hasattr(blocked_gradient(watched(blind, cut=names)), "code")


def test_trained_features_on_purpose(examine, batch):
    """A probe whose optimiser holds the encoder too: no random weights, and it has learnt."""
    net = Encoder(lambda code: code.detach())
    with torch.no_grad():
        for p in net.encoder.parameters():
            p *= 1.25
    names = without_gradient(net, batch)
    readings = examine(net).readings
    with pytest.raises(Untested, match="constant"):
        blocked_gradient(watched(readings, cut=names))
    fits = {"constant": constant(2.3, 0.2, learned=90.0)}
    assert "freeze it with requires_grad_(False)" in blocked_gradient(
        watched(readings, cut=names, tests=fits)
    )
    stuck = {"constant": constant(2.3, 2.2, learned=9.0)}
    assert blocked_gradient(watched(readings, cut=names, tests=stuck)).severity == "problem"


def test_an_output_that_nothing_uses(examine):
    """A second head that the loss leaves out gets no gradient, rightly."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.head, self.other = mlp(64, 32), nn.Linear(32, 10), nn.Linear(32, 10)

        def forward(self, x):
            code = self.trunk(x)
            self.other(code)
            return self.head(code)

    readings = examine(Heads()).readings
    assert blocked_gradient(watched(readings, cut=("other.bias", "other.weight"))) is None


def test_a_target_made_by_the_net(examine, batch):
    """A target net inside of the model ends in the loss, beside what is trained."""

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.online, self.target = mlp(64, 32, 16), mlp(64, 32, 16)

        def forward(self, x):
            with torch.no_grad():
                target = self.target(x)
            return self.online(x), target

    def loss(output, _):
        return functional.mse_loss(*output)

    readings = examine(Pair(), loss=loss).readings
    names = tuple(f"target.{i}.{kind}" for i in (0, 2) for kind in ("bias", "weight"))
    assert blocked_gradient(watched(readings, cut=names)) is None


def test_nothing_is_reached(examine):
    """A loss that was made anew: backward starts from a leaf."""
    readings = examine(mlp(64, 32, 10)).readings
    names = readings.gradients.parameters
    nowhere = np.full(len(names), np.nan)
    gradients = dataclasses.replace(readings.gradients, norm=nowhere, ratio=nowhere)
    taken = blocked_gradient(watched(dataclasses.replace(readings, gradients=gradients), cut=names))
    assert "zero_grad() stands between backward() and step()" in taken.message
    gradients = dataclasses.replace(gradients, rms=np.full(len(gradients.rms), np.nan))
    readings = dataclasses.replace(readings, gradients=gradients)
    finding = blocked_gradient(watched(readings, cut=names))
    assert finding.message.startswith("backward reaches none of the 4 parameters")
    assert "the loss is a new number" in finding.message
    adversaries = watched(readings, cut=names, several=True)
    assert "on its way to any loss" in blocked_gradient(adversaries).message
    assert finding.severity == "problem"


def frozen_and_held(examine):
    net = mlp(64, 32, 32, 10)
    net[0].requires_grad_(False)
    readings = examine(net).readings
    every = tuple(name for name, _ in net.named_parameters())
    facts = {"frozen": ("0.weight", "0.bias"), "groups": (Group(parameters=every, settings={}),)}
    return readings, facts


def test_a_frozen_part_that_the_optimiser_holds(examine):
    readings, facts = frozen_and_held(examine)
    nothing = {"constant": constant(2.3, 2.3, learned=0.4)}
    finding = blocked_gradient(watched(readings, tests=nothing, **facts))
    assert (finding.severity, finding.layers) == ("problem", ("0.weight",))
    something = {"constant": constant(2.3, 0.9, learned=8.0)}
    assert "61% of the loss is explained" in blocked_gradient(
        watched(readings, tests=something, **facts)
    )
    without = {**facts, "groups": ()}
    assert blocked_gradient(watched(readings, tests=nothing, **without)) is None


def test_healthy(examine):
    assert blocked_gradient(watched(examine(mlp(64, 32, 10)).readings)) is None


def test_not_applicable(examine):
    with pytest.raises(NotApplicable, match="no training was watched"):
        blocked_gradient(examine(mlp(64, 32, 10)).readings)
