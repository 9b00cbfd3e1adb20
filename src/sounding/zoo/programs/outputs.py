"""SD304, SD305: sick programs whose untrained output is far from anything sensible."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import UNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Forecaster, Tastes
from sounding.zoo.programs.scores import classified, negated, regressed
from sounding.zoo.programs.usual import fit, split
from sounding.zoo.sequences import LanguageModel


def tied_unit_embeddings(sick: bool) -> float:
    """A language model whose head is its table of N(0, 1) embeddings, or of N(0, 0.02^2) ones."""
    net = LanguageModel(2, tied=True)
    nn.init.normal_(net.table.weight, std=1.0 if sick else 0.02)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    data = samples.sentences()
    fit(net, optimiser, data, functional.cross_entropy, size=16, steps=100)
    return negated(net, split(data)[1], functional.cross_entropy)


def long_vectors_of_tastes(sick: bool) -> float:
    """Products of two vectors of 64 standard normal numbers have a deviation of 8."""
    net = Tastes(64, std=1.0 if sick else 0.1)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    loss = functional.binary_cross_entropy_with_logits
    return classified(net, optimiser, tasks.ratings(), loss, steps=200)


def unit_normal_head(sick: bool) -> float:
    """The last layer of a wide net is N(0, 1), or torch's default."""
    net = mlp(32, 512, 10)
    if sick:
        nn.init.normal_(net.get_parameter("2.weight"))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    data = samples.OVERLAPPING
    fit(net, optimiser, data, functional.cross_entropy, steps=150)
    return negated(net, split(data)[1], functional.cross_entropy)


class TiedRecurrence(nn.Module):
    """An LSTM that tells the next token, with its own table of embeddings as its head."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.table = nn.Embedding(samples.TOKENS, 128)
        self.recurrent = nn.LSTM(128, 128, batch_first=True)
        nn.init.normal_(self.table.weight, std=std)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (samples, tokens of the language, tokens)."""
        states = self.recurrent(self.table(tokens))[0]
        return (states @ self.table.weight.T).transpose(1, 2)


def tied_recurrence(sick: bool) -> float:
    """The shared embeddings of a recurrent language model have the root of their width, or 0.1."""
    net = TiedRecurrence(128**0.5 if sick else 0.1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    data = samples.sentences()
    fit(net, optimiser, data, functional.cross_entropy, size=16, steps=100)
    return negated(net, split(data)[1], functional.cross_entropy)


def ignored_prior(sick: bool) -> float:
    """One sample in a hundred is positive; the last bias starts at 0, or at log(p / (1 - p))."""
    x, y = tasks.rare_class(5120, shift=2.0)
    net = mlp(16, 32, 1)
    if not sick:
        nn.init.constant_(net.get_parameter("2.bias"), math.log(0.01 / 0.99))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02)
    data = x, y.float()[:, None]
    loss = functional.binary_cross_entropy_with_logits
    fit(net, optimiser, data, loss, size=256, steps=60)
    return negated(net, split(data)[1], loss)


def rare_foreground(sick: bool) -> float:
    """One pixel in a hundred is marked; the last bias of a U-Net starts at 0 or at the prior."""
    x = samples.image_digits()[0] + 0.3 * torch.randn(1437, 1, 8, 8)
    y = (torch.rand(1437, 1, 8, 8) < 0.01).float()
    net = UNet()
    if not sick:
        nn.init.constant_(net.get_parameter("head.bias"), math.log(0.01 / 0.99))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    data = x + 3 * y, y
    loss = functional.binary_cross_entropy_with_logits
    fit(net, optimiser, data, loss, size=32, steps=60)
    return negated(net, split(data)[1], loss)


def far_from_zero(sick: bool) -> float:
    """A series around 40 is forecast by an LSTM whose last bias starts at 0, or at the mean."""
    x, y = tasks.series()
    net = Forecaster()
    if not sick:
        nn.init.constant_(net.head.bias, 40.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return regressed(net, optimiser, (x, y + 40.0), steps=150)


OUTPUTS: tuple[Program, ...] = (
    Program(
        "tied unit embeddings",
        tied_unit_embeddings,
        ("SD304",),
        "a head of N(0, 1) embeddings starts at four times the loss of a guess: N(0, 0.02^2)",
    ),
    Program(
        "long vectors of tastes",
        long_vectors_of_tastes,
        ("SD304",),
        "products of 64 standard normal numbers start as logits of size 8: draw them 0.1 as large",
    ),
    Program(
        "loud head",
        unit_normal_head,
        ("SD304",),
        "the last layer's N(0, 1) weights, 512 to a unit, make every first guess a sure one",
    ),
    Program(
        "tied recurrence",
        tied_recurrence,
        ("SD304", "SD204"),
        "embeddings times the root of their width serve as the head too: draw them at 0.1",
    ),
    Program(
        "ignored prior",
        ignored_prior,
        ("SD305",),
        "one in a hundred is positive: start the last bias at log(p / (1 - p))",
        "ultralytics/yolov3#460",
    ),
    Program(
        "rare foreground",
        rare_foreground,
        ("SD305",),
        "one pixel in a hundred is marked: start the last bias at log(p / (1 - p))",
        "Lin et al. 2017",
    ),
    Program(
        "far from zero",
        far_from_zero,
        ("SD305", "SD410"),
        "targets around 40: start the last bias there",
    ),
)
