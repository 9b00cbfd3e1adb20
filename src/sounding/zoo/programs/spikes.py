"""SD506, SD507: sick programs with rare huge gradients, or with clipping that shapes every step."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Forecaster
from sounding.zoo.programs.scores import accuracy, classified, explained
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import Recurrent


def outliers(sick: bool) -> float:
    """One target in 400 is 3,000 in place of about 1; with clipping and without."""
    train, test = split(tasks.waves(2048))
    x, y = train[0], train[1].clone()
    y[::400] = 3000.0
    net = mlp(1, 64, 64, 1, activation=nn.Tanh)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for inputs, target in batches((x, y), size=32, steps=500):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(inputs), target)
        loss.backward()
        if not sick:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return explained(net, test)


def broken_sensor(sick: bool) -> float:
    """A forecaster meets a series that a broken sensor multiplied by 1,000, every 50 batches."""
    train, test = split(tasks.series())
    net = Forecaster()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step, (x, y) in enumerate(batches(train, size=32, steps=250)):
        target = 1000 * y if step % 50 == 20 else y
        optimiser.zero_grad()
        loss = functional.mse_loss(net(x), target)
        loss.backward()
        if not sick:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return explained(net, test)


def corrupt_images(sick: bool) -> float:
    """One image in 500 was decoded wrongly, with grey values of 1e4."""
    x = tasks.pixels()[0].view(-1, 1, 8, 8).clone()
    (train, _), (test, _) = split((x, x))
    train[::500] *= 1e4
    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)),
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for inputs, target in batches((train, train), size=32, steps=200):
        optimiser.zero_grad()
        noisy = inputs + 0.3 * torch.randn_like(inputs)
        loss = functional.mse_loss(net(noisy), target)
        loss.backward()
        if not sick:
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimiser.step()
    return explained(net, (test, test))


def clipped_before_unscaling(sick: bool) -> float:
    """Gradients of a loss times 65,536 are clipped to 1, and then divided by 65,536."""
    train, test = split(samples.CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    for x, y in batches(train, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        if not sick:
            scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimiser)
        scaler.update()
    return accuracy(net, test)


def clipped_to_almost_nothing(sick: bool) -> float:
    """A bound of 1e-3 for gradients of norm 1: a convolutional net at a thousandth of its rate."""
    net = LeNet()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    bound = 1e-3 if sick else 5.0
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150, clip=bound)


def clipped_by_value(sick: bool) -> float:
    """Each entry of a recurrent net's gradient is cut at 1e-5."""
    net = Recurrent(nn.LSTM)
    train, test = split(tasks.recall(512, 12, at=-2))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    for x, y in batches(train, size=32, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        nn.utils.clip_grad_value_(net.parameters(), 1e-5 if sick else 0.5)
        optimiser.step()
    return accuracy(net, test)


SPIKES: tuple[Program, ...] = (
    Program(
        "outliers",
        outliers,
        ("SD506",),
        "one target in 400 is 3,000, and its gradient throws the net away: clip, or look at it",
        "arXiv 2504.02507",
    ),
    Program(
        "broken sensor",
        broken_sensor,
        ("SD506",),
        "every 50th batch is 1,000 times too large: clip the gradients, or leave it out",
    ),
    Program(
        "corrupt images",
        corrupt_images,
        ("SD506", "SD409", "SD101"),
        "one image in 500 has grey values of 1e4: clip the gradients, or leave it out",
    ),
    Program(
        "clipped before unscaling",
        clipped_before_unscaling,
        ("SD507",),
        "scaled gradients are clipped to 1 and then divided by 65,536: unscale_ first",
        "Lightning-AI/pytorch-lightning#9599",
        code_only=True,
    ),
    Program(
        "clipped to almost nothing",
        clipped_to_almost_nothing,
        ("SD507",),
        "every gradient is shortened to 0.001, which sets the rate: a bound above most of them",
    ),
    Program(
        "clipped by value",
        clipped_by_value,
        ("SD507",),
        "nearly every entry of the gradient is cut at 1e-5: a bound above most of them",
    ),
)
