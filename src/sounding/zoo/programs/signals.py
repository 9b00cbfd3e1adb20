"""SD205, SD206: sick programs whose signals become alike, or grow without bound."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import GraphConvolutions, Plain, Residual, drawn, mlp, normal
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.gradients import RELU, Skip
from sounding.zoo.programs.scores import classified, regressed


class Blurred(nn.Module):
    """Convolutions, each followed by a mean over 5 x 5 pixels, or by nothing of the kind."""

    def __init__(self, depth: int, *, blur: bool) -> None:
        super().__init__()
        widths = [1] + [8] * depth
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.head = nn.Linear(8 * 16, 10)
        self.blur = blur
        drawn(self, normal(RELU))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        for layer in self.layers:
            x = torch.relu(layer(x))
            if self.blur:
                x = functional.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
        return self.head(functional.avg_pool2d(x, 2).flatten(1))


def blurred_images(sick: bool) -> float:
    """A mean over the neighbours behind every one of eight convolutions."""
    net = Blurred(8, blur=sick)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


class AttentionOnly(nn.Module):
    """Layers of attention, with skips or without: alone, it makes all tokens alike."""

    def __init__(self, depth: int, *, skips: bool, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(24, width)
        self.places = nn.Parameter(torch.randn(12, width))
        layers = [
            nn.MultiheadAttention(width, 2, batch_first=True, bias=False) for _ in range(depth)
        ]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, tasks.TAGS)
        self.skips = skips

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (samples, tags, tokens)."""
        x = self.table(tokens) + self.places
        for layer in self.layers:
            mixed = layer(x, x, x, need_weights=False)[0]
            x = x + mixed if self.skips else mixed
            x = functional.layer_norm(x, x.shape[-1:])
        return self.head(x).transpose(1, 2)


def attention_without_skips(sick: bool) -> float:
    """Six layers of attention and nothing around them (Dong et al. 2021)."""
    net = AttentionOnly(6, skips=not sick)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return classified(net, optimiser, tasks.tagged(), size=32, steps=150)


def smoothed_graph(sick: bool) -> float:
    """A mean over the neighbours in each of 24 layers, or in 2; half of the labels are known."""
    x, y = (t[:128] for t in samples.flat_digits())
    net = GraphConvolutions(samples.graph(), 24) if sick else mlp(64, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(150):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x)[:96], y[:96])
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return (net(x)[96:].argmax(1) == y[96:]).float().mean().item()


def drowned_in_offsets(sick: bool) -> float:
    """A time stamp in seconds since 1970 in every layer: float32 holds the rest to 128 of them."""
    net = Plain(8, *[64] * 4, 1, activation=lambda x: torch.relu(x) + (1.7e9 if sick else 0.0))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    return regressed(net, optimiser, tasks.bowl(), steps=200)


def growing_residuals(sick: bool) -> float:
    """Forty residual blocks without normalisation, whose branches end at full size or at zero."""
    net = Residual(40, last=1.0 if sick else 0.0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    return classified(net, optimiser, samples.flat_digits(), steps=100)


def doubled_skip(sick: bool) -> float:
    """One skip too many, h + (h + f(h)): the stream is doubled in each of 24 blocks."""
    body = []
    for _ in range(24):
        branch = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU())
        body.append(Skip(branch, 0.2, 2.0 if sick else 1.0))
    stem, head = nn.Conv2d(3, 12, 3, padding=1), nn.Linear(12 * 16, 4)
    net = nn.Sequential(stem, *body, nn.AvgPool2d(2), nn.Flatten(), head)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return classified(net, optimiser, tasks.pictures(), size=32, steps=60)


class Integrator(nn.Module):
    """x + step f(x) many times over, as a differential equation is solved."""

    def __init__(self, step: float, count: int = 40) -> None:
        super().__init__()
        self.slope = mlp(8, 32, 8)
        self.head = nn.Linear(8, 1)
        self.step, self.count = step, count
        drawn(self.slope, normal(RELU))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A column."""
        for _ in range(self.count):
            x = x + self.step * self.slope(x)
        return self.head(x)


def long_steps_of_an_integrator(sick: bool) -> float:
    """Forty steps of length 1 in place of 1/40."""
    net = Integrator(1.0 if sick else 1 / 40)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.bowl(), steps=200)


SIGNALS: tuple[Program, ...] = (
    Program(
        "blurred images",
        blurred_images,
        ("SD205",),
        "a mean over the neighbours in every layer makes all places, and so all images, alike",
    ),
    Program(
        "attention without skips",
        attention_without_skips,
        ("SD205",),
        "attention alone makes all tokens alike: add its input to its output",
        "Dong et al. 2021",
        code_only=True,
    ),
    Program(
        "over-smoothed graph",
        smoothed_graph,
        ("SD205",),
        "24 means over the neighbours make all nodes alike: two layers are enough",
        "Oono and Suzuki 2020",
    ),
    Program(
        "drowned in time stamps",
        drowned_in_offsets,
        ("SD205", "SD206", "SD303"),
        "float32 cannot hold a signal beside a constant of 1.7e9: take it away",
        code_only=True,
    ),
    Program(
        "residual net of full-size branches",
        growing_residuals,
        ("SD206", "SD303", "SD101"),
        "the variance grows in every block: start the branches' last layers at zero",
    ),
    Program(
        "skip added twice",
        doubled_skip,
        ("SD206", "SD101"),
        "x + (x + f(x)) doubles the stream in each block",
        code_only=True,
    ),
    Program(
        "long steps of an integrator",
        long_steps_of_an_integrator,
        ("SD206", "SD101"),
        "forty steps of length 1 let the state grow exponentially: divide by their number",
        code_only=True,
    ),
)
