"""SD508: a net that comes trained, and a rate that undoes it.

A random net at the same rate is SD501's alone: what tells the two apart is looked at on nets that
were trained, drawn by hand, and drawn by torch.
"""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.finetuning import features_destroyed
from sounding.zoo.nets import mlp

CURED = {"slower": (1.3, 1.2), "much_slower": (1.3, 0.001)}


def trained(batch, *, head):
    """Two hundred steps of Adam on digits, and a new head on top."""
    net = mlp(64, 64, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        functional.cross_entropy(net(batch[0]), batch[1]).backward()
        optimiser.step()
    if head:
        net[-1] = nn.Linear(64, 10)
    return net


def test_a_new_head_on_an_old_net(ran, examine, batch):
    readings = examine(trained(batch, head=True)).readings
    finding = features_destroyed(ran(readings=readings, constant=(1.1, 1.12), tests=CURED))
    assert (finding.code, finding.severity) == ("SD508", "problem")
    assert set(finding.layers) <= {"0.weight", "2.weight"}
    assert finding.expected["lr"] == pytest.approx(0.001)  # a hundredth


def test_known_by_its_first_loss(ran, examine, batch):
    readings = examine(trained(batch, head=False)).readings
    finding = features_destroyed(ran(readings=readings, constant=(2.3, 2.2, 0.1), tests=CURED))
    assert finding.layers == ()
    assert finding.message.startswith("the net comes trained")


def test_a_random_net_has_nothing_to_lose(ran, examine):
    for net in (mlp(64, 64, 64, 10), mlp(64, 32, 10)):
        readings = examine(net).readings
        assert features_destroyed(ran(readings=readings, constant=(2.3, 2.4), tests=CURED)) is None


def test_silent_where_the_run_learns(ran, examine, batch):
    readings = examine(trained(batch, head=True)).readings
    assert features_destroyed(ran(readings=readings, constant=(2.3, 0.1))) is None


def test_refuted_where_a_lower_rate_is_no_better(ran, examine, batch):
    readings = examine(trained(batch, head=True)).readings
    forks = dict.fromkeys(("slower", "much_slower", "far_slower"), (1.12, 1.1))
    said = features_destroyed(ran(readings=readings, constant=(1.1, 1.12), tests=forks))
    assert said.startswith("the net was trained before")
    with pytest.raises(Untested, match="slower"):
        features_destroyed(ran(readings=readings, constant=(1.1, 1.12)))


def test_only_the_first_reading_tells(ran, examine, batch):
    readings = examine(trained(batch, head=True)).readings
    later = dataclasses.replace(readings, step=50)
    with pytest.raises(NotApplicable, match="first reading"):
        features_destroyed(ran(readings=later, constant=(1.1, 1.12), tests=CURED))
