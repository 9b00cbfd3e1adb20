"""SD203, SD204: sick programs whose units say the same whatever they are shown."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import Plain, drawn, mlp, normal
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Autoencoder, Bag, Forecaster
from sounding.zoo.programs.scores import classified, regressed


def biases_far_below_zero(sick: bool) -> float:
    """The biases of the second of three layers start at -15."""
    net = mlp(32, 64, 64, 10)
    if sick:
        nn.init.constant_(net.get_parameter("2.bias"), -15.0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    return classified(net, optimiser, samples.CLUSTERS, steps=300)


def dead_code(sick: bool) -> float:
    """The code of an autoencoder is rectified, and was initialised negative."""
    net = Autoencoder()
    if sick:
        nn.init.constant_(net.get_parameter("encoder.2.bias"), -6.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.pixels(), steps=200)


class Positive(nn.Module):
    """Convolutions that start from positive filters, on images times `sign`."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 12, 3), nn.Conv2d(12, 16, 3)
        self.head = nn.Linear(64, 10)
        nn.init.uniform_(self.conv1.weight, 0.0, 0.4)
        self.sign = sign

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.relu(self.conv1(self.sign * x))
        return self.head(functional.max_pool2d(functional.relu(self.conv2(x)), 2).flatten(1))


def sign_lost_before_relu(sick: bool) -> float:
    """Images between 0 and 1 are negated before positive filters and a rectifier."""
    pixels, y = tasks.pixels()[0].view(-1, 1, 8, 8), samples.flat_digits()[1]
    net = Positive(-1.0 if sick else 1.0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return classified(net, optimiser, (pixels + 0.3, y), steps=150)


def bag_behind_dead_units(sick: bool) -> float:
    """A threshold of 2 was meant for counts of words; the mean of vectors is never above it."""
    net = Bag()
    if sick:
        net.layers[0] = nn.Sequential(nn.Linear(16, 32), nn.Threshold(2.0, 0.0))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.bags(), steps=150)


def steep_tanh(sick: bool) -> float:
    """Six layers of tanh(20 x), or of tanh(x)."""
    factor = 20.0 if sick else 1.0
    net = drawn(
        Plain(64, *[64] * 6, 10, activation=lambda x: torch.tanh(factor * x)), normal(5 / 3)
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    return classified(net, optimiser, samples.flat_digits(), steps=150)


def stuck_gates(sick: bool) -> float:
    """An LSTM whose weights are drawn between -12 and 12: its gates are open or shut for good."""
    net = Forecaster()
    if sick:
        for weight in net.recurrent.parameters():
            nn.init.uniform_(weight, -12.0, 12.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.series(), steps=150)


class Peaked(nn.Module):
    """One layer of attention whose products are not divided by the root of the width."""

    def __init__(self, factor: float, width: int = 64) -> None:
        super().__init__()
        self.table = nn.Embedding(24, width)
        self.places = nn.Parameter(torch.randn(12, width))
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.head = nn.Linear(width, width), nn.Linear(width, tasks.TAGS)
        self.factor = factor
        drawn(self, normal(1.0))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (samples, tags, tokens)."""
        x = self.table(tokens) + self.places
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        mixed = (self.factor * scores).softmax(-1) @ self.value(x)
        return self.head(torch.relu(x + mixed)).transpose(1, 2)


def peaked_attention(sick: bool) -> float:
    """Products of queries and keys are multiplied by the width, where they should be divided."""
    net = Peaked(8.0 if sick else 1 / 8)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return classified(net, optimiser, tasks.tagged(), size=32, steps=150)


UNITS: tuple[Program, ...] = (
    Program(
        "biases far below zero",
        biases_far_below_zero,
        ("SD203",),
        "biases of -15 let no unit of the second layer fire: start them at 0",
        "StackOverflow 69364684",
    ),
    Program(
        "dead code",
        dead_code,
        ("SD203",),
        "no unit of a rectified code ever fires, and all images give the same one",
    ),
    Program(
        "sign lost before relu",
        sign_lost_before_relu,
        ("SD203",),
        "negated images under positive filters: the first rectifier is 0 everywhere",
    ),
    Program(
        "threshold above everything",
        bag_behind_dead_units,
        ("SD203",),
        "a threshold of 2 behind units that never get there",
        code_only=True,
    ),
    Program(
        "steep tanh",
        steep_tanh,
        ("SD204", "SD303"),
        "tanh(20 x) is flat nearly everywhere: tanh(x)",
        code_only=True,
    ),
    Program(
        "stuck gates",
        stuck_gates,
        ("SD204", "SD303"),
        "weights between -12 and 12 keep the gates of an LSTM open or shut",
    ),
    Program(
        "peaked attention",
        peaked_attention,
        ("SD204",),
        "unscaled products make each softmax choose one token: divide by the root of the width",
        code_only=True,
    ),
)
