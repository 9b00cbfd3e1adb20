"""SD501, SD502, SD503: sick programs that step too far, too little, or not for long enough."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from sounding.zoo import samples
from sounding.zoo.nets import mlp, resnet
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import (
    ConvAutoencoder,
    Forecaster,
    Tagger,
    Variational,
    divergence,
    pixel_loss,
)
from sounding.zoo.programs.scores import accuracy, classified, explained, kept_finite, regressed
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import Recurrent, VisionTransformer


def exploding_parabola(sick: bool) -> float:
    """Fifty points of 5 x^2 with heavy noise, plain descent at 0.1 or at 3e-4."""
    x = torch.arange(0.0, 5.0, 0.1)[:, None]
    y = 5 * x**2 + torch.randn_like(x) ** 3
    net = mlp(1, 50, 30, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1 if sick else 3e-4)
    for inputs, target in batches((x, y), size=32, steps=600):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(inputs), target)
        loss.backward()
        optimiser.step()
    return explained(net, (x, 5 * x**2))


def at_the_edge(sick: bool) -> float:
    """Batches of 16 and a momentum of 0.95: the loss jumps up and down."""
    net = mlp(32, 64, 10)
    lr, momentum = (0.3, 0.95) if sick else (0.02, 0.9)
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    return classified(net, optimiser, samples.OVERLAPPING, size=16, steps=300)


def hot_transformer(sick: bool) -> float:
    """AdamW at 0.1 on a vision transformer, or at 0.005."""
    net = VisionTransformer(2, 32)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1 if sick else 5e-3)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


def hot_coder(sick: bool) -> float:
    """Adam at 0.5 on a variational autoencoder, or at 0.003."""
    net = Variational()
    train, test = split(tasks.pixels())
    optimiser = torch.optim.Adam(net.parameters(), lr=0.5 if sick else 3e-3)
    for x, _ in batches(train, steps=200):
        logits, mean, log_variance = net(x)
        loss = pixel_loss(logits, x) + divergence(mean, log_variance)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        return kept_finite(-pixel_loss(net(test[0])[0], test[0]).item())


def hardly_begun(sick: bool) -> float:
    """160 steps of Adam at 1e-3 on two sigmoids, or at 5e-2."""
    y = torch.randint(0, 2, (1024,))
    x = (0.2 + 0.2 * torch.rand(1024) + 0.35 * y)[:, None]
    net = mlp(1, 2, 2, activation=nn.Sigmoid)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3 if sick else 5e-2)
    return classified(net, optimiser, (x, y), size=32, steps=160)


def timid_convolutions(sick: bool) -> float:
    """Descent at 1e-4 on a residual net of convolutions, or at 0.05."""
    net = resnet(1)
    lr = 1e-4 if sick else 0.05
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=120)


def timid_tagger(sick: bool) -> float:
    """Adam at 1e-5, a rate for fine-tuning, on an LSTM from scratch."""
    net = Tagger(nn.LSTM)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-5 if sick else 1e-2)
    return classified(net, optimiser, tasks.tagged(), size=32, steps=120)


def timid_forecast(sick: bool) -> float:
    """Descent at 1e-4 for a forecast, whose line stays flat."""
    net = Forecaster(nn.GRU)
    lr = 1e-4 if sick else 0.1
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    return regressed(net, optimiser, tasks.series(), size=32, steps=150)


def stepped_every_batch(sick: bool) -> float:
    """A tenth of the rate every 5 epochs, stepped every batch instead."""
    net = mlp(32, 64, 10)
    train, test = split(samples.CLUSTERS)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = lr_scheduler.StepLR(optimiser, 5, 0.1)
    for _ in range(12):
        for x, y in batches(train, steps=13):
            optimiser.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
            if sick:
                schedule.step()
        if not sick:
            schedule.step()
    return accuracy(net, test)


def planned_for_fewer_steps(sick: bool) -> float:
    """A linear fall to 0 planned for the epochs, and stepped for the batches."""
    net = Recurrent(nn.LSTM)
    train, test = split(tasks.recall(512, 12, at=-2))
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    epochs, length = 12, 13
    total = epochs if sick else epochs * length
    schedule = lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=total)
    for x, y in batches(train, size=32, steps=epochs * length):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        schedule.step()
    return accuracy(net, test)


def shrunk_every_batch(sick: bool) -> float:
    """Ten per cent off the rate of an autoencoder for every batch, or for every epoch."""
    net = ConvAutoencoder()
    x = tasks.pixels()[0].view(-1, 1, 8, 8)
    train, test = split((x, x))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = lr_scheduler.ExponentialLR(optimiser, 0.9 if sick else 0.9 ** (1 / 36))
    for inputs, target in batches(train, size=32, steps=150):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(inputs), target)
        loss.backward()
        optimiser.step()
        schedule.step()
    return explained(net, test)


RATES: tuple[Program, ...] = (
    Program(
        "exploding parabola",
        exploding_parabola,
        ("SD501", "SD410"),
        "steps at 0.1 overshoot until all units are dead: 3e-4, or scaled targets",
        "StackOverflow 48934338",
    ),
    Program(
        "at the edge",
        at_the_edge,
        ("SD501",),
        "rate and momentum are beyond the stable limit, and the loss jumps: smaller ones",
    ),
    Program(
        "hot transformer",
        hot_transformer,
        ("SD501",),
        "AdamW at 0.1 moves every weight by its own size: 0.005",
    ),
    Program(
        "hot autoencoder",
        hot_coder,
        ("SD501", "SD101", "SD203"),
        "Adam at 0.5 throws every weight far away in the first step: 0.003",
    ),
    Program(
        "hardly begun",
        hardly_begun,
        ("SD502",),
        "160 steps of 0.001 cannot leave the start: 0.05, or more steps",
        "StackOverflow 50306988",
    ),
    Program(
        "timid convolutions",
        timid_convolutions,
        ("SD502",),
        "steps at 1e-4 hardly move a net with batch norm: 0.05",
    ),
    Program(
        "timid tagger",
        timid_tagger,
        ("SD502",),
        "Adam at 1e-5 is a rate for fine-tuning: 0.01",
    ),
    Program(
        "timid forecast",
        timid_forecast,
        ("SD502", "SD705"),
        "steps at 1e-4 leave a flat line: 0.1",
        "StackOverflow 73457069",
    ),
    Program(
        "stepped every batch",
        stepped_every_batch,
        ("SD503",),
        "a schedule for epochs is stepped for every batch, and the rate is gone after twenty",
        "leftthomas/SRGAN#94",
    ),
    Program(
        "planned for fewer steps",
        planned_for_fewer_steps,
        ("SD503",),
        "a linear fall is planned for 12 steps of 156: total_iters=epochs * batches",
    ),
    Program(
        "shrunk every batch",
        shrunk_every_batch,
        ("SD503",),
        "ten per cent off the rate for every batch in place of every epoch",
    ),
)
