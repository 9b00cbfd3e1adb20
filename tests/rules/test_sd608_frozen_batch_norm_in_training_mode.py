"""SD608: batch norms of a frozen part that go on with the batches; a fork decides."""

import math

import pytest
import torch
from torch import nn
from trainings import constant, fork, watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.batch_norm import frozen_norm_in_training_mode
from sounding.zoo.nets import mlp


def frozen():
    net = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    net[:2].requires_grad_(False)
    return net


FACTS = {"frozen": ("0.weight", "0.bias", "1.weight", "1.bias")}
HARM = {"constant": constant(2.3, 1.0), "settled": fork(1.4, 0.1)}


def test_the_fork_decides(examine):
    readings = examine(frozen()).readings
    with pytest.raises(Untested, match="constant"):
        frozen_norm_in_training_mode(watched(readings, **FACTS))
    finding = frozen_norm_in_training_mode(watched(readings, tests=HARM, **FACTS))
    assert (finding.code, finding.severity, finding.layers) == ("SD608", "problem", ("1",))
    assert "in evaluation mode the loss ends at 0.1 instead of 1.4" in finding.message
    assert [r.name for r in finding.remedies] == ["freeze_norm"]


@pytest.mark.parametrize(
    "made", [fork(0.4, 0.1), fork(0.2, 0.9), fork(1.4, 0.1, error=0.9), fork(1.4, math.inf)]
)
def test_refuted(made, examine):
    readings = watched(examine(frozen()).readings, tests=HARM | {"settled": made}, **FACTS)
    assert "1 frozen batch norms are in training mode" in frozen_norm_in_training_mode(readings)


def test_its_function_changes_with_the_batch():
    """Why: the same sample, beside others."""
    net = frozen()
    x, others = torch.randn(1, 64), torch.randn(2, 7, 64)
    for mode, same in ((True, False), (False, True)):
        net.train(mode)
        one, two = (net(torch.cat([x, rest]))[0] for rest in others)
        assert torch.allclose(one, two) == same


def test_learning_norms_are_no_business_of_this_rule(examine):
    assert frozen_norm_in_training_mode(watched(examine(frozen()).readings)) is None


@pytest.mark.parametrize("net", [mlp(64, 32, 10), frozen().eval()])
def test_not_applicable(net, examine):
    with pytest.raises(NotApplicable, match="no batch norm"):
        frozen_norm_in_training_mode(watched(examine(net).readings, **FACTS))
