"""SD602, SD607: sick programs that are evaluated otherwise than they are trained."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp, resnet
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Forecaster
from sounding.zoo.programs.scores import accuracy, explained, hits, kept_finite
from sounding.zoo.programs.usual import Pair, batches, split


def _trained(net: nn.Module, train: Pair, *, lr: float, steps: int, size: int = 64) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    net.train()
    for x, y in batches(train, size=size, steps=steps):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()


def dropping_at_the_test(sick: bool) -> float:
    """`eval()` is forgotten before the test of a net with dropout."""
    train, test = split(samples.OVERLAPPING)
    net = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Dropout(0.6), nn.Linear(128, 10))
    _trained(net, train, lr=2e-3, steps=200)
    if not sick:
        net.eval()
    with torch.no_grad():
        return hits(net(test[0]), test[1]).mean().item()


def normed_by_the_test(sick: bool) -> float:
    """`eval()` is forgotten, and images of one class come together, four at a time."""
    train, test = split(samples.image_digits())
    net = resnet(1)
    _trained(net, train, lr=1e-2, steps=100, size=32)
    if not sick:
        net.eval()
    order = test[1].argsort()
    right = []
    with torch.no_grad():
        for rows in order.split(4):
            right.append(hits(net(test[0][rows]), test[1][rows]))
    return torch.cat(right).mean().item()


class DroppedForecaster(nn.Module):
    """Two recurrent layers with dropout between them and behind."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(1, 24, 2, dropout=p, batch_first=True)
        self.drop, self.head = nn.Dropout(p), nn.Linear(24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A column."""
        return self.head(self.drop(self.recurrent(x)[0][:, -1]))


def dropping_forecasts(sick: bool) -> float:
    """`train()` is called after each epoch's test, and `eval()` only before the first one."""
    train, test = split(tasks.series())
    net = DroppedForecaster(0.5)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    score = -1.0
    net.eval()
    for _ in range(4):
        if not sick:
            net.eval()
        with torch.no_grad():
            output = net(test[0])
            score = 1 - ((output - test[1]).square().mean() / test[1].var()).item()
        net.train()
        for x, y in batches(train, size=32, steps=50):
            optimiser.zero_grad()
            loss = functional.mse_loss(net(x), y)
            loss.backward()
            optimiser.step()
    return kept_finite(score, -1.0)


def unscaled_test(sick: bool) -> float:
    """The training inputs are scaled, the test's are not."""
    (x, y), (other, labels) = split(samples.CLUSTERS)
    raw, raw_test = 60 * x + 120, 60 * other + 120
    mean, std = raw.mean(0), raw.std(0)
    net = mlp(32, 64, 10)
    _trained(net, ((raw - mean) / std, y), lr=1e-3, steps=250)
    return accuracy(net, (raw_test if sick else (raw_test - mean) / std, labels))


def turned_images(sick: bool) -> float:
    """Rows and columns of the test's images are exchanged by a mixed-up transpose."""
    train, (x, y) = split(samples.image_digits())
    net = LeNet()
    _trained(net, train, lr=2e-3, steps=200, size=32)
    return accuracy(net, (x.transpose(2, 3) if sick else x, y))


def cents_for_euros(sick: bool) -> float:
    """A forecaster learned from euros, and is asked in cents."""
    train, (x, y) = split(tasks.series())
    net = Forecaster()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for past, value in batches(train, size=32, steps=120):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(past), value)
        loss.backward()
        optimiser.step()
    return explained(net, (100 * x if sick else x, y))


EVALUATION: tuple[Program, ...] = (
    Program(
        "dropping at the test",
        dropping_at_the_test,
        ("SD602",),
        "the test drops six units in ten: model.eval() before it",
        "ipolharvard/ethos-ares#20",
        code_only=True,
    ),
    Program(
        "normed by the test",
        normed_by_the_test,
        ("SD602",),
        "the test normalises by its own small batches of one class: model.eval() before it",
        code_only=True,
    ),
    Program(
        "dropping forecasts",
        dropping_forecasts,
        ("SD602",),
        "eval() is called once, train() after every test: model.eval() before each test",
        code_only=True,
    ),
    Program(
        "unscaled test",
        unscaled_test,
        ("SD607",),
        "training inputs are scaled, the test's are not: one function for both",
        "StackOverflow 59325381",
        code_only=True,
    ),
    Program(
        "turned images",
        turned_images,
        ("SD607",),
        "the test's rows and columns are exchanged: the same transpose for both",
        code_only=True,
    ),
    Program(
        "cents for euros",
        cents_for_euros,
        ("SD607",),
        "the test's values are 100 times the training's: one unit for both",
        code_only=True,
    ),
)
