"""A remedy applied to one net, on a batch of digits."""

import pytest
import torch
from torch import nn

from sounding.data import digits
from sounding.remedies import Remedy, prescribe, treat


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def x():
    """64 digits, (64, 64)."""
    return digits().train.x[:64]


@pytest.fixture
def cure(x):
    """`cure(net, 'reinitialise', scheme='lecun')`: the net, treated in place."""

    def take(net: nn.Module, name: str, *, inputs=None, **arguments):
        given = x if inputs is None else inputs
        remedy = Remedy(name=name, arguments=arguments, touches="weights")
        treat(remedy, net, lambda: net(given))
        return net

    return take


class Run:
    """A short training, written out: the losses, the net and the optimiser at its end."""

    def __init__(self, make, remedies=(), schedule=None, *, before=True, steps=25, loop=None):
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU())
        self.net.append(nn.Linear(12, 1))
        self.x, self.y = torch.randn(32, 6), torch.randn(32, 1)
        self.optimizer = make(self.net)
        scheduler = schedule(self.optimizer) if schedule and before else None
        for name, arguments in remedies:
            self.treat(name, **arguments)
        if schedule and not before:
            scheduler = schedule(self.optimizer)
        self.losses = []
        for step in range(steps):
            loop(self, step) if loop else self.step()
            if scheduler is not None:
                scheduler.step()

    def treat(self, name, **arguments):
        remedy = prescribe(name, **arguments)
        treat(remedy, self.net, lambda: self.net(self.x), self.optimizer)

    def loss(self):
        return (self.net(self.x) - self.y).square().mean()

    def step(self):
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.losses.append(float(loss.detach()))


@pytest.fixture
def run():
    """`run(make, [('scale_lr', {'factor': 0.1})])`: `make` gives the net's optimiser."""
    return Run


@pytest.fixture
def sgd():
    """`sgd(lr=0.1)(net)`: the optimiser of a net."""
    return lambda **settings: lambda net: torch.optim.SGD(net.parameters(), **settings)


def equal(one, other, rtol=0.0):
    """Whether two runs went the same way, and did move."""
    assert len(one.losses) == len(other.losses)
    assert one.losses == pytest.approx(other.losses, rel=rtol, abs=0)
    assert one.losses[-1] != one.losses[0]


@pytest.fixture
def same():
    return equal
