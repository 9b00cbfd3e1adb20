"""SD207, SD208, SD502, SD507, SD603, SD609: sick programs where a line is missing or misplaced."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import accuracy, classified, regressed
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import Recurrent


def never_stepped(sick: bool) -> float:
    """Losses, gradients, and no `step`."""
    net = mlp(32, 64, 10)
    train, test = split(samples.CLUSTERS)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for x, y in batches(train, steps=150):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        if not sick:
            optimiser.step()
    return accuracy(net, test)


def zeroed_before_the_step(sick: bool) -> float:
    """`zero_grad` stands behind `backward`."""
    net = mlp(64, 64, 10)
    train, test = split(samples.flat_digits())
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for x, y in batches(train, steps=150):
        if not sick:
            optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        if sick:
            optimiser.zero_grad()
        optimiser.step()
    return accuracy(net, test)


def clipped_behind_the_step(sick: bool) -> float:
    """Gradients of a recurrence are clipped when they have been used."""
    net = Recurrent(nn.GRU)
    layer = nn.RNN(8, 48, nonlinearity="relu", batch_first=True)
    nn.init.orthogonal_(layer.get_parameter("weight_hh_l0"), 1.05)
    net.recurrent = layer  # type: ignore[assignment]
    train, test = split(tasks.recall(length=120, at=112))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3)
    for x, y in batches(train, size=32, steps=150):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        if not sick:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if sick:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    return accuracy(net, test)


def body_left_behind(sick: bool) -> float:
    """The rate of a pre-trained body is used for one that is not."""
    net = mlp(32, 64, 64, 10)
    slow = 1e-8 if sick else 2e-3
    optimiser = torch.optim.Adam(
        [
            {"params": net[:-1].parameters(), "lr": slow},
            {"params": net[-1].parameters(), "lr": 2e-3},
        ]
    )
    return classified(net, optimiser, samples.OVERLAPPING, steps=200)


def trained_in_evaluation_mode(sick: bool) -> float:
    """`eval()` comes before the training, and no `train()`."""
    x, y = samples.CLUSTERS
    net = nn.Sequential(
        *(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU()),
        *(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)),
    )
    train, test = split((30 * x, y))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train(not sick)
    for inputs, labels in batches(train, steps=150):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def dropped_predictions(sick: bool) -> float:
    """Dropout stands behind the last layer of a regression."""
    net = nn.Sequential(*mlp(8, 64, 1), *([nn.Dropout(0.5)] if sick else []))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.plane(), steps=300)


MISPLACED: tuple[Program, ...] = (
    Program(
        "never stepped",
        never_stepped,
        ("SD208",),
        "backward is called, optimizer.step() never",
        code_only=True,
    ),
    Program(
        "zeroed before the step",
        zeroed_before_the_step,
        ("SD207",),
        "zero_grad between backward and step leaves nothing to step with: before backward",
        code_only=True,
    ),
    Program(
        "clipped behind the step",
        clipped_behind_the_step,
        ("SD507", "SD506"),
        "gradients are clipped when they have been used: between backward and step",
        code_only=True,
    ),
    Program(
        "body left behind",
        body_left_behind,
        ("SD502",),
        "the body's group has a rate of 1e-8: as large as the head's",
    ),
    Program(
        "trained in evaluation mode",
        trained_in_evaluation_mode,
        ("SD609",),
        "batch norms with the statistics of the start normalise nothing: model.train()",
        code_only=True,
    ),
    Program(
        "dropped predictions",
        dropped_predictions,
        ("SD603",),
        "half of all predictions are set to 0: no dropout behind the last layer",
    ),
)
