"""SD701: sick programs that lose again, late, what they had learnt."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import accuracy, explained
from sounding.zoo.programs.usual import batches, split


def growing_rate(sick: bool) -> float:
    """A schedule that was to take 1 % off the rate an epoch adds 3 % at every step."""
    train, test = split(samples.CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    schedule = lr_scheduler.ExponentialLR(optimiser, 1.03 if sick else 0.99)
    for x, y in batches(train, steps=230):
        optimiser.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimiser.step()
        schedule.step()
    return accuracy(net, test)


def one_broken_batch(sick: bool) -> float:
    """At step 220 of 300 one batch of images was decoded as grey values of 1e4."""
    train, test = split(samples.image_digits())
    net = LeNet()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step, (x, y) in enumerate(batches(train, size=32, steps=300)):
        optimiser.zero_grad()
        functional.cross_entropy(net(1e4 * x if sick and step == 220 else x), y).backward()
        optimiser.step()
    return accuracy(net, test)


def second_half_of_the_table(sick: bool) -> float:
    """From step 200 on the targets come from a table that was sorted anew, the inputs do not."""
    train, test = split(tasks.waves(2048))
    other = train[1][torch.randperm(len(train[1]))]
    net = mlp(1, 64, 64, 1, activation=nn.Tanh)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(400):
        rows = torch.randperm(len(train[0]))[:64]
        target = other[rows] if sick and step >= 200 else train[1][rows]
        optimiser.zero_grad()
        functional.mse_loss(net(train[0][rows]), target).backward()
        optimiser.step()
    return explained(net, test)


RELAPSES: tuple[Program, ...] = (
    Program(
        "growing rate",
        growing_rate,
        ("SD701", "SD501"),
        "a schedule that multiplies the rate by 1.03 at every step: take a factor below 1",
    ),
    Program(
        "one broken batch",
        one_broken_batch,
        ("SD506", "SD701"),
        "one batch is 10,000 times too large, and all is lost: leave it out, or clip",
    ),
    Program(
        "second half of the table",
        second_half_of_the_table,
        ("SD701", "SD408"),
        "from the middle of the run on targets belong to other inputs",
        code_only=True,
    ),
)
