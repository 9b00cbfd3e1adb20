"""SD420: samples whose outputs have no derivative in any batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.pulls import unused_samples


def run(loss, *, size=16):
    def train():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(10):
            x = torch.randn(size, 4)
            optimiser.zero_grad()
            loss(net(x), x.sum(1, keepdim=True)).backward()
            optimiser.step()

    return train


@pytest.mark.parametrize(("used", "severity"), [(1, "problem"), (4, "problem"), (8, "caution")])
def test_the_first_ones_only(watch, used, severity):
    loss = lambda o, y: functional.mse_loss(o[:used], y[:used])  # noqa: E731
    finding, _ = watch(run(loss), "SD420")
    assert finding.severity == severity
    assert finding.measured["samples_used"] == used


def test_silent_where_all_have_a_say(watch):
    most = lambda o, y: functional.mse_loss(o[:12], y[:12])  # noqa: E731
    hinge = lambda o, y: functional.relu((o - y).abs() - 1).mean()  # noqa: E731 - some rest
    for loss in (functional.mse_loss, most, hinge):
        assert watch(run(loss), "SD420")[0] is None


def test_neighbours_that_change_the_others_outputs_are_used(watch):
    """As in a graph: no target of their own, and yet a say."""

    class Averaged(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x):
            return self.layer(x + x.mean(0))

    def train():
        torch.manual_seed(0)
        net = Averaged()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(10):
            x = torch.randn(16, 4)
            optimiser.zero_grad()
            functional.mse_loss(net(x)[:4], x[:4].sum(1, keepdim=True)).backward()
            optimiser.step()

    finding, outcome = watch(train, "SD420")
    assert finding is None
    assert "whose outputs the others change" in outcome.reason


def test_not_applicable(ran, examine):
    batch = torch.randn(4, 64), torch.zeros(4, dtype=torch.long)
    readings = examine(nn.Sequential(nn.Linear(64, 10)), data=batch).readings
    with pytest.raises(NotApplicable, match="too small"):
        unused_samples(ran(readings=readings))
