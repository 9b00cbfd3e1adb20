"""SD603, SD604: sick programs that drop too much, or for too long."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import classified


def keep_rate_as_drop_rate(sick: bool) -> float:
    """0.95 was meant to be kept, and is dropped."""
    p = 0.95 if sick else 0.05
    net = nn.Sequential(
        *(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 64), nn.ReLU()),
        *(nn.Dropout(p), nn.Linear(64, 10)),
    )
    optimiser = torch.optim.Adam(net.parameters())
    return classified(net, optimiser, samples.CLUSTERS, steps=250)


def dropped_channels(sick: bool) -> float:
    """Whole channels of a convolutional net are dropped, nine in ten, twice."""
    p = 0.9 if sick else 0.1
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Dropout2d(p), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.Dropout2d(p), nn.Flatten(), nn.Linear(256, 10)),
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


def dropped_words(sick: bool) -> float:
    """Words' vectors and hidden units are dropped, nine in ten."""
    p = 0.9 if sick else 0.1
    net = nn.Sequential(
        *(nn.EmbeddingBag(200, 16), nn.Dropout(p), nn.Linear(16, 32), nn.ReLU()),
        *(nn.Dropout(p), nn.Linear(32, 5)),
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.bags(), steps=200)


class AlwaysDropped(nn.Module):
    """Dropout as a function, which is told the mode or not."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(32, 64), nn.Linear(64, 10)
        self.always = always

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = torch.relu(self.hidden(x))
        return self.head(functional.dropout(x, 0.6, training=self.always or self.training))


def functional_dropout(sick: bool) -> float:
    """`functional.dropout(x, 0.6)` goes on after `eval()`."""
    net = AlwaysDropped(always=sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return classified(net, optimiser, samples.OVERLAPPING, steps=250)


class DropsItself(nn.Module):
    """Convolutions with a dropout that is made where it is used, or before."""

    def __init__(self, *, fresh: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(64, 10)
        self.drop = nn.Dropout(0.5)
        self.fresh = fresh

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2).flatten(1)
        drop = nn.Dropout(0.5) if self.fresh else self.drop
        return self.head(drop(x))


def dropout_made_in_forward(sick: bool) -> float:
    """A new module is in training mode, whatever the net's mode is."""
    net = DropsItself(fresh=sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=120)


class DroppedAttention(nn.Module):
    """A tagger by attention, a part of which is dropped in training, or always."""

    def __init__(self, *, always: bool, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(24, width)
        self.places = nn.Parameter(torch.randn(12, width))
        self.qkv, self.layers = nn.Linear(width, 3 * width), mlp(width, 64, tasks.TAGS)
        self.always = always

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (samples, tags, tokens)."""
        x = self.table(tokens) + self.places
        query, key, value = self.qkv(x)[:, None].chunk(3, -1)
        p = 0.3 if self.always or self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=p)[:, 0]
        return self.layers(x + mixed).transpose(1, 2)


def attention_always_dropped(sick: bool) -> float:
    """`dropout_p` of scaled_dot_product_attention does not know the mode."""
    net = DroppedAttention(always=sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return classified(net, optimiser, tasks.tagged(), size=32, steps=250)


DROPOUT: tuple[Program, ...] = (
    Program(
        "keep rate as drop rate",
        keep_rate_as_drop_rate,
        ("SD603",),
        "95 % of the units are dropped: p is what is dropped, not what is kept",
        "StackOverflow 31880720",
    ),
    Program(
        "dropped channels",
        dropped_channels,
        ("SD603",),
        "nine channels in ten are dropped, twice: 0.1",
    ),
    Program(
        "dropped words",
        dropped_words,
        ("SD603",),
        "nine numbers in ten are dropped, twice: 0.1",
    ),
    Program(
        "functional dropout",
        functional_dropout,
        ("SD604",),
        "functional.dropout goes on after eval(): training=self.training",
        "pytorch/pytorch#26338",
        code_only=True,
    ),
    Program(
        "dropout made in forward",
        dropout_made_in_forward,
        ("SD604",),
        "a module made in the forward pass is in training mode: make it in __init__",
        code_only=True,
    ),
    Program(
        "attention always dropped",
        attention_always_dropped,
        ("SD604",),
        "dropout_p does not know the mode: 0.3 if self.training else 0.0",
        code_only=True,
    ),
)
