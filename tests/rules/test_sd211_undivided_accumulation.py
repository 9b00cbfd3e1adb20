"""SD211: k backward passes a step; beside one pass on k times the batch, which must be the same."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.accumulation import undivided_accumulation
from sounding.zoo import samples

X, Y = samples.CLUSTERS


def loop(calls, *, by=1.0, lr=0.1, kind=torch.optim.SGD, **settings):
    def train():
        net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = kind(net.parameters(), lr=lr, **settings)
        for step in range(40):
            optimiser.zero_grad()
            for call in range(calls):
                rows = torch.arange(8) + 8 * ((step * calls + call) % 128)
                (functional.cross_entropy(net(X[rows]), Y[rows]) / by).backward()
            optimiser.step()

    return train


def test_the_sum_is_k_times_the_mean_over_one_large_batch():
    net = nn.Linear(32, 10)
    for rows in torch.arange(64).split(8):
        functional.cross_entropy(net(X[rows]), Y[rows]).backward()
    summed = net.weight.grad.clone()
    net.zero_grad()
    functional.cross_entropy(net(X[:64]), Y[:64]).backward()
    assert torch.allclose(summed, 8 * net.weight.grad, rtol=1e-4, atol=1e-6)


def test_watched(watch):
    finding, outcome = watch(loop(16, lr=1.0, momentum=0.9), "SD211")
    assert finding is not None, outcome
    assert finding.measured["sum_over_mean"] == 16
    assert str(finding.remedies[0]) == "divide_gradients(by=16.0)"


@pytest.mark.parametrize(
    "train",
    [
        loop(16, by=16, lr=1.0, momentum=0.9),  # divided
        loop(4, lr=3e-3, kind=torch.optim.Adam),  # Adam divides by it anyway
        loop(2, lr=0.02),  # a sum on purpose, and it learns
        loop(1, lr=0.1),
    ],
)
def test_silent_on_healthy_loops(watch, train):
    finding, outcome = watch(train, "SD211")
    assert finding is None
    assert outcome.outcome in ("passed", "not applicable"), outcome.reason


def test_decided_by_the_mean(ran):
    made = ran(backwards=16, constant=(2.3, 2.4), tests={"averaged": (2.4, 0.01)})
    assert undivided_accumulation(made).severity == "problem"
    made = ran(backwards=16, constant=(2.3, 2.4), tests={"averaged": (2.4, 2.3)})
    assert "does not end clearly lower" in undivided_accumulation(made)
    with pytest.raises(Untested, match="averaged"):
        undivided_accumulation(ran(backwards=16, constant=(2.3, 2.4)))


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="one backward pass"):
        undivided_accumulation(ran())
    with pytest.raises(NotApplicable, match="one backward pass"):
        undivided_accumulation(ran(backwards=math.nan))
