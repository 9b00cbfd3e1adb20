"""SD608: batch norms of a frozen part that go on with the batches; a fork decides."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.batch_norm import frozen_norm_in_training_mode
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
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


STALE = {"recalibrated": {"before": 3.6, "after": 0.03, "error": 0.01}}


def test_an_earlier_training_loses_its_statistics(examine):
    readings = examine(frozen()).readings
    facts = {"overwritten": ("1",)}
    with pytest.raises(Untested, match="recalibrated"):
        frozen_norm_in_training_mode(watched(readings, **facts))
    tests = {"constant": constant(2.3, 0.1), **STALE}
    finding = frozen_norm_in_training_mode(watched(readings, tests=tests, **facts))
    assert (finding.code, finding.severity, finding.layers) == ("SD608", "problem", ("1",))
    assert "the loss is 3.6, and 0.03 with statistics taken anew" in finding.message
    for before, error in ((0.2, 0.01), (3.6, 2.0)):  # less than a tenth of 2.3, than its error
        tests["recalibrated"] = {"before": before, "after": 0.03, "error": error}
        said = frozen_norm_in_training_mode(watched(readings, tests=tests, **facts))
        assert said.endswith("their statistics still fit")


@pytest.mark.parametrize(
    ("settled", "trained_here", "found"),
    [
        (True, True, []),
        (False, True, ["SD608", "SD605"]),
        (False, False, ["SD605"]),  # nothing that the first training knew was in those norms
    ],
)
def test_a_second_head_on_other_data(settled, trained_here, found):
    """The old head is lost with the statistics of what stands below it."""
    torch.manual_seed(0)
    y = torch.arange(1024) % 4
    x = torch.randn(4, 8)[y] + 0.3 * torch.randn(1024, 8)

    def train(net, x, y, *, body):
        optimiser = torch.optim.Adam(net.parameters() if body else net[-1].parameters(), lr=1e-2)
        for step in range(60):
            net.train()
            if settled and not body:
                net[0].eval()
            rows = torch.arange(32) + 32 * (step % 32)
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()

    observer = Observer()
    with observer.watching():
        net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
        net[:-1].requires_grad_(trained_here)
        train(net, x, y, body=trained_here)
        other = nn.Sequential(net[:-1].requires_grad_(False), nn.Linear(32, 2))
        train(other, 3 * x + 4, y % 2, body=False)
    exam = diagnose(observer, "script")
    assert [f.code for f in exam.findings] == found
    assert {f.because for f in exam.findings[1:]} <= {"SD608"}


def test_learning_norms_are_no_business_of_this_rule(examine):
    assert frozen_norm_in_training_mode(watched(examine(frozen()).readings)) is None


@pytest.mark.parametrize("net", [mlp(64, 32, 10), frozen().eval()])
def test_not_applicable(net, examine):
    with pytest.raises(NotApplicable, match="no batch norm"):
        frozen_norm_in_training_mode(watched(examine(net).readings, **FACTS))
