"""SD405 to SD407, SD412, SD414: sick programs whose loss asks for the wrong thing."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import (
    Autoencoder,
    Bag,
    Forecaster,
)
from sounding.zoo.programs.scores import accuracy, classified, explained, regressed
from sounding.zoo.programs.usual import batches, split


def column_against_row(sick: bool) -> float:
    """Outputs (N, 1) minus targets (N,) is a square of N x N differences."""
    x, y = tasks.plane()
    net = mlp(8, 32, 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    train, test = split((x, y.squeeze(1) if sick else y))
    for inputs, target in batches(train, steps=250):
        optimiser.zero_grad()
        loss = ((net(inputs) - target) ** 2).mean()
        loss.backward()
        optimiser.step()
    return explained(net, test)


def forecasts_against_a_row(sick: bool) -> float:
    """The same with an LSTM and absolute errors; torch's warning goes unread."""
    x, y = tasks.series()
    net = Forecaster()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = y.squeeze(1) if sick else y
        return regressed(net, optimiser, (x, target), nn.L1Loss(), size=32, steps=120)


def pixel_means_against_columns(sick: bool) -> float:
    """A convolutional net squeezes its output (N,), and the targets stay columns (N, 1)."""
    x, _y = samples.image_digits()
    amount = (x - x.mean()).abs().mean((1, 2, 3))
    target = ((amount - amount.mean()) / amount.std())[:, None]
    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 1)),
        nn.Flatten(0) if sick else nn.Identity(),
    )

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.cosh(output - target)).mean()

    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return regressed(net, optimiser, (x, target), loss, steps=150)


def squared_error_of_classes(sick: bool) -> float:
    """Ten classes, softmax and squared error with plain gradient descent."""
    net = mlp(32, 20, 20, 10)
    train, test = split(samples.CLUSTERS)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for x, y in batches(train, steps=300):
        optimiser.zero_grad()
        if sick:
            wanted = functional.one_hot(y, 10).float()
            loss = functional.mse_loss(net(x).softmax(1), wanted)
        else:
            loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def squared_error_of_images(sick: bool) -> float:
    """Convolutions, a sigmoid for each of ten classes, and their squared error."""
    net = LeNet()
    train, test = split(samples.image_digits())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for x, y in batches(train, size=32, steps=200):
        optimiser.zero_grad()
        if sick:
            wanted = functional.one_hot(y, 10).float()
            loss = ((torch.sigmoid(net(x)) - wanted) ** 2).mean()
        else:
            loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def squared_error_of_topics(sick: bool) -> float:
    """Five topics of texts by squared error of a softmax."""
    net = Bag()
    train, test = split(tasks.bags())
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    for x, y in batches(train, steps=300):
        optimiser.zero_grad()
        if sick:
            wanted = functional.one_hot(y, 5).float()
            loss = functional.mse_loss(functional.softmax(net(x), dim=1), wanted)
        else:
            loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def rectified_output(sick: bool) -> float:
    """A rectifier at the end of a regression whose targets have both signs."""
    net = nn.Sequential(mlp(1, 32, 1), nn.ReLU() if sick else nn.Identity())
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return regressed(net, optimiser, tasks.waves(), steps=250)


def rectified_scores(sick: bool) -> float:
    """A rectifier behind the scores: some classes are never chosen."""
    x, y = samples.CLUSTERS
    net = nn.Sequential(mlp(32, 64, 64, 10), nn.ReLU() if sick else nn.Identity())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return classified(net, optimiser, (8 * x + 4, y), steps=250)


def squashed_pixels(sick: bool) -> float:
    """An autoencoder with a sigmoid at its end, for standardised pixels down to -0.8 and to 2."""
    x = samples.flat_digits()[0]
    net = nn.Sequential(Autoencoder(), nn.Sigmoid() if sick else nn.Identity())
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, (x, x), steps=250)


def squashed_forecast(sick: bool) -> float:
    """A tanh at the end of a forecast of values between -10 and 10."""
    x, y = tasks.series()
    net = nn.Sequential(Forecaster(), nn.Tanh() if sick else nn.Identity())
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return regressed(net, optimiser, (x, 5 * y), functional.smooth_l1_loss, steps=200)


LOSS_FORMS: tuple[Program, ...] = (
    Program(
        "column against row",
        column_against_row,
        ("SD405",),
        "(N, 1) minus (N,) is N x N: unsqueeze the target",
        "pytorch/pytorch#16045",
        code_only=True,
    ),
    Program(
        "forecasts against a row",
        forecasts_against_a_row,
        ("SD405",),
        "every forecast is compared with every target: unsqueeze the target",
        "pytorch/pytorch#19699",
        code_only=True,
    ),
    Program(
        "row against column",
        pixel_means_against_columns,
        ("SD405",),
        "the squeezed output (N,) meets targets (N, 1): squeeze both or none",
        code_only=True,
    ),
    Program(
        "squared error of classes",
        squared_error_of_classes,
        ("SD406",),
        "behind a softmax its gradient is 2 / K^2 of the cross-entropy's: cross_entropy",
        "StackOverflow 38648195",
    ),
    Program(
        "squared error of image classes",
        squared_error_of_images,
        ("SD406",),
        "squared errors of ten sigmoids hardly move: cross_entropy on the scores",
        "StackOverflow 38648195",
    ),
    Program(
        "squared error of topics",
        squared_error_of_topics,
        ("SD406",),
        "squared errors of a softmax hardly move: cross_entropy on the scores",
    ),
    Program(
        "rectified output",
        rectified_output,
        ("SD407",),
        "half of the targets are negative, no output is: end with a linear layer",
        "StackOverflow 51971180",
    ),
    Program(
        "rectified scores",
        rectified_scores,
        ("SD407",),
        "a class whose score is 0 for all samples learns no more: end with a linear layer",
        "StackOverflow 72965428",
    ),
    Program(
        "squashed pixels",
        squashed_pixels,
        ("SD407",),
        "standardised pixels lie outside of a sigmoid's range: end with a linear layer",
    ),
    Program(
        "squashed forecast",
        squashed_forecast,
        ("SD407",),
        "values up to 10 lie outside of a tanh's range: end with a linear layer",
    ),
)
