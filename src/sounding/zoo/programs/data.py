"""SD408 to SD411: sick programs whose data are not what the net can learn from."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import ConvAutoencoder, Forecaster
from sounding.zoo.programs.scores import accuracy, balanced, classified, explained, regressed
from sounding.zoo.programs.usual import Pair, batches, fit, split
from sounding.zoo.sequences import Recurrent


def permuted_labels(sick: bool) -> float:
    """Inputs and labels were shuffled by different permutations."""
    train, test = split(samples.CLUSTERS)
    if sick:
        train = train[0], train[1][torch.randperm(len(train[1]))]
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters())
    for inputs, labels in batches(train, steps=250):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def labels_in_another_order(sick: bool) -> float:
    """Each epoch shuffles the sequences, and leaves their labels in the old order."""
    (x, y), test = split(tasks.recall(512, 12, at=-2))
    net = Recurrent(nn.GRU)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(12):
        order = torch.randperm(len(x))
        for at in range(0, len(x), 32):
            rows = order[at : at + 32]
            labels = y[at : at + 32] if sick else y[rows]
            optimiser.zero_grad()
            loss = functional.cross_entropy(net(x[rows]), labels)
            loss.backward()
            optimiser.step()
    return accuracy(net, test)


def neighbour_targets(sick: bool) -> float:
    """A regression on images whose targets slipped by one row of the table."""
    x, _ = samples.image_digits()
    target = x[:, 0, 2:6, 2:6].mean((1, 2), keepdim=True).flatten(1)
    target = (target - target.mean()) / target.std()
    train, test = split((x, target))
    if sick:
        train = train[0], train[1].roll(1, 0)
    conv = nn.Conv2d(1, 8, 3, padding=1)
    net = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), mlp(128, 32, 1))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for inputs, wanted in batches(train, steps=150):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(inputs), wanted)
        loss.backward()
        optimiser.step()
    return explained(net, test)


def bytes_as_they_are(sick: bool) -> float:
    """Features around 128 with a deviation of 40, as they come or standardised."""
    x, y = samples.CLUSTERS
    x = 128 + 40 * x
    x = x if sick else (x - x.mean(0)) / x.std(0)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    return classified(net, optimiser, (x, y), steps=250)


def raw_images(sick: bool) -> float:
    """Grey values from 0 to 255 for a small convolutional net."""
    pixels, y = tasks.pixels()[0].view(-1, 1, 8, 8), samples.flat_digits()[1]
    x = 255 * pixels if sick else (pixels - pixels.mean()) / pixels.std()
    net = LeNet()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    return classified(net, optimiser, (x, y), size=32, steps=150)


def one_loud_channel(sick: bool) -> float:
    """One channel of a sequence is a pressure in pascal, the others are of size 1."""
    x, y = tasks.recall(512, 12, at=-2)
    x = x.clone()
    x[:, :, 7] = 101_325 + 500 * x[:, :, 7]
    x = x if sick else (x - x.mean((0, 1))) / x.std((0, 1))
    net = Recurrent(nn.LSTM)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return classified(net, optimiser, (x, y), size=32, steps=150)


def parabola_in_the_large(sick: bool) -> float:
    """A parabola from -100 to 100, through a sigmoid layer: raw, or both sides standardised."""
    x = 200 * torch.rand(800, 1) - 100
    y = x**2
    if not sick:
        x, y = x / x.std(), (y - y.mean()) / y.std()
    net = nn.Sequential(
        *(nn.Linear(1, 50), nn.Sigmoid(), nn.Linear(50, 50), nn.ELU(), nn.Linear(50, 1))
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, (x, y), size=32, steps=400)


def prices(sick: bool) -> float:
    """A price around 30,000 is forecast by an LSTM from its standardised past."""
    x, y = tasks.series()
    net = Forecaster()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, (x, 30_000 + 2_000 * y if sick else y), steps=200)


def energies(sick: bool) -> float:
    """Energies of about 1e5 joules, or megajoules."""
    x, y = tasks.bowl()
    net = mlp(8, 64, 64, 1, activation=nn.SiLU)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    return regressed(net, optimiser, (x, 1e5 * y if sick else y), steps=250)


def grey_values_to_reproduce(sick: bool) -> float:
    """A convolutional autoencoder is to put out 0 to 255, or 0 to 1."""
    x = tasks.pixels()[0].view(-1, 1, 8, 8)
    net = ConvAutoencoder()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return regressed(net, optimiser, (x, 255 * x if sick else x), size=32, steps=100)


def _weighted(net: nn.Module, data: Pair, ratio: float, *, lr: float, steps: int) -> float:
    """Train two classes, of which the second counts `ratio` times; balanced accuracy."""
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss(None if ratio == 1 else torch.tensor([1.0, ratio]))
    fit(net, optimiser, data, criterion, steps=steps)
    return balanced(net, split(data)[1])


def one_in_a_hundred(sick: bool) -> float:
    """One sample in a hundred is of class 1, and counts 99 times as much or not."""
    ratio = 1.0 if sick else 99.0
    return _weighted(mlp(16, 32, 2), tasks.rare_class(), ratio, lr=1e-3, steps=250)


def rare_digit(sick: bool) -> float:
    """Eights among other digits, one in sixty, seen through noise; the test has one in ten."""
    x, y = samples.image_digits()
    data = x + 0.7 * torch.randn(x.shape), (y == 8).long()
    train, test = split(data)
    rows = torch.cat([(train[1] == 0).nonzero()[:, 0], (train[1] == 1).nonzero()[::6, 0]])
    conv = nn.Conv2d(1, 16, 3, padding=1)
    net = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss(None if sick else torch.tensor([1.0, 50.0]))
    for inputs, labels in batches((train[0][rows], train[1][rows]), steps=150):
        optimiser.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimiser.step()
    return balanced(net, test)


def rare_sequences(sick: bool) -> float:
    """One sequence in fifty has a high first channel near its end."""
    x = torch.randn(2560, 10, 8)
    high = (torch.rand(2560) < 0.02).float()
    x[:, -3, :4] += 1.2 * high[:, None]
    return _weighted(Recurrent(nn.GRU), (x, high.long()), 1.0 if sick else 49.0, lr=3e-3, steps=150)


DATA: tuple[Program, ...] = (
    Program(
        "permuted labels",
        permuted_labels,
        ("SD408",),
        "inputs and labels were shuffled apart: shuffle both by one permutation",
        code_only=True,
    ),
    Program(
        "labels in another order",
        labels_in_another_order,
        ("SD408",),
        "the inputs are taken by shuffled rows, the labels by their old ones",
        code_only=True,
    ),
    Program(
        "neighbour's targets",
        neighbour_targets,
        ("SD408",),
        "targets slipped by one row against their inputs",
        code_only=True,
    ),
    Program(
        "bytes as they are",
        bytes_as_they_are,
        ("SD409",),
        "features around 128 kill the units in the first steps: standardise them",
        "StackOverflow 39525358",
    ),
    Program(
        "raw images",
        raw_images,
        ("SD409",),
        "grey values up to 255 make the first steps far too large: standardise them",
        "StackOverflow 55328966",
    ),
    Program(
        "one loud channel",
        one_loud_channel,
        ("SD409",),
        "a channel of size 1e5 saturates every gate: standardise each channel",
        "StackOverflow 68716219",
    ),
    Program(
        "parabola in the large",
        parabola_in_the_large,
        ("SD409", "SD410", "SD204"),
        "inputs of 100 saturate the sigmoids, targets of 10,000 are out of reach: standardise both",
        "StackOverflow 52800582",
    ),
    Program(
        "prices",
        prices,
        ("SD410", "SD305"),
        "Adam moves an output by about its rate a step; targets of 30,000 are out of reach",
    ),
    Program(
        "energies",
        energies,
        ("SD410",),
        "targets of size 1e5 are out of reach for weights that move by 0.002 a step",
    ),
    Program(
        "grey values to reproduce",
        grey_values_to_reproduce,
        ("SD410",),
        "pixels up to 255 are out of reach: divide them by 255",
    ),
    Program(
        "one in a hundred",
        one_in_a_hundred,
        ("SD411",),
        "99 % of the labels are of one class, and nothing else is ever said: weigh the classes",
    ),
    Program(
        "rare digit",
        rare_digit,
        ("SD411",),
        "one image in sixty is of the class that is looked for: weigh the classes",
    ),
    Program(
        "rare sequences",
        rare_sequences,
        ("SD411",),
        "one sequence in fifty is of the class that is looked for: weigh the classes",
    ),
)
