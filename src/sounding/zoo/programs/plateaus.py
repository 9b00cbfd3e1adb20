"""SD413, SD512: sick programs that cannot bend, or that stand still where it goes down."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo.nets import drawn, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Tastes
from sounding.zoo.programs.scores import classified, regressed


def linear_on_quadrants(sick: bool) -> float:
    """Three linear layers without activations on a problem that no line divides."""
    net = mlp(2, 32, 32, 2, activation=nn.Identity if sick else nn.ReLU)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.quadrants(), steps=300)


def linear_convolutions(sick: bool) -> float:
    """Convolutions without activations: the mean of noise says nothing of its grain."""
    activation = nn.Identity if sick else nn.ReLU
    net = nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), activation(), nn.Conv2d(12, 12, 3, padding=1)),
        *(activation(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 2)),
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.grain(), size=32, steps=120)


def linear_on_a_bowl(sick: bool) -> float:
    """Layers and dropout, and nothing that bends, on a squared radius."""
    middle = nn.Dropout(0.01) if sick else nn.SiLU()
    net = nn.Sequential(nn.Linear(8, 64), middle, nn.Linear(64, 64), middle, nn.Linear(64, 1))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.bowl(), functional.smooth_l1_loss, steps=250)


class Products(nn.Module):
    """Whether two words go together, from their vectors laid side by side."""

    def __init__(self, *, bent: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(24, 16)
        self.layers = mlp(32, 32, 1, activation=nn.Tanh if bent else nn.Identity)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """A column."""
        return self.layers(self.table(words).flatten(1))


def linear_on_pairs_of_words(sick: bool) -> float:
    """Pairs of words of the same half go together, and no sum of two terms can say that."""
    tokens = tasks.tagged()[0]
    pairs = tokens[:, :2]
    together = (pairs[:, :1] // 12 == pairs[:, 1:] // 12).float()
    net = Products(bent=not sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    loss = functional.binary_cross_entropy_with_logits
    return classified(net, optimiser, (pairs, together), loss, steps=250)


def exclusive_or(sick: bool) -> float:
    """Four points, four sigmoids, absolute errors and a small rate: 0.5 for ever."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    net = mlp(2, 4, 1, activation=nn.Sigmoid if sick else nn.Tanh)
    drawn(net, nn.init.xavier_uniform_)
    if sick:
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.11)
    else:
        optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        output = torch.sigmoid(net(x))
        loss = (output - y).abs().mean() if sick else functional.binary_cross_entropy(output, y)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return ((net(x) > 0).float() == y).float().mean().item()


def factors_near_zero(sick: bool) -> float:
    """Vectors of users and items start at size 1e-4: their product has hardly a slope."""
    net = Tastes(8, std=1e-4 if sick else 0.3)
    optimiser = torch.optim.SGD(net.parameters(), lr=10.0)
    loss = functional.binary_cross_entropy_with_logits
    return classified(net, optimiser, tasks.ratings(), loss, steps=150)


def linear_coder_near_zero(sick: bool) -> float:
    """A linear autoencoder starts at 1e-4, beside the saddle at 0."""
    x = tasks.pixels()[0]
    x = x - x.mean(0)
    net = nn.Sequential(nn.Linear(64, 12, bias=False), nn.Linear(12, 64, bias=False))
    drawn(net, lambda w: nn.init.normal_(w, std=1e-4 if sick else 0.1))
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    return regressed(net, optimiser, (x, x), steps=300)


def deep_product(sick: bool) -> float:
    """Three matrices in a row, drawn at 0.003, or as large as keeps the signal."""
    x, y = tasks.plane()
    net = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((8, 16), (16, 16), (16, 1))))
    drawn(net, lambda w: nn.init.normal_(w, std=0.003 if sick else w.shape[1] ** -0.5))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    return regressed(net, optimiser, (x, y), steps=200)


PLATEAUS: tuple[Program, ...] = (
    Program(
        "linear on quadrants",
        linear_on_quadrants,
        ("SD413",),
        "three layers without activations are one: put ReLUs between them",
    ),
    Program(
        "linear convolutions",
        linear_convolutions,
        ("SD413",),
        "convolutions without activations are one: put ReLUs between them",
    ),
    Program(
        "linear on a bowl",
        linear_on_a_bowl,
        ("SD413",),
        "layers and dropout are linear: put activations between them",
    ),
    Program(
        "linear on pairs of words",
        linear_on_pairs_of_words,
        ("SD413",),
        "vectors and layers without activations are a sum of two tables: put tanh between them",
    ),
    Program(
        "exclusive or",
        exclusive_or,
        ("SD512", "SD407", "SD406"),
        "absolute errors behind sigmoids stand at a saddle: cross-entropy, tanh and Adam",
        "StackOverflow 31556268",
    ),
    Program(
        "factors near zero",
        factors_near_zero,
        ("SD512", "SD301", "SD303"),
        "vectors of 1e-4 stand at the saddle of their product: draw them larger",
    ),
    Program(
        "linear autoencoder near zero",
        linear_coder_near_zero,
        ("SD512", "SD301", "SD303"),
        "weights of 1e-4 stand at the saddle of two matrices: draw them larger",
    ),
    Program(
        "deep product",
        deep_product,
        ("SD512", "SD303", "SD205", "SD201"),
        "weights of 0.003 stand at the saddle of three matrices: draw them to keep the signal",
        "Saxe et al. 2014",
    ),
)
