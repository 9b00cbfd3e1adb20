"""SD209: sick programs with layers and tables that are no parameters of the net."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import classified, regressed


class Listed(nn.Module):
    """Three layers in a list of one kind or the other."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.layers = kind([nn.Linear(32, 16), nn.Linear(16, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


def layers_in_a_list(sick: bool) -> float:
    """A Python list of layers, which the optimiser cannot see."""
    net = Listed(list if sick else nn.ModuleList)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return classified(net, optimiser, samples.CLUSTERS, steps=350)


class Renewed(nn.Module):
    """Convolutions and a head that is made in the forward pass, or before."""

    def __init__(self, *, fresh: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(72, 10)
        self.fresh = fresh

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1)
        head = nn.Linear(72, 10) if self.fresh else self.head
        return head(x)


def layer_made_in_forward(sick: bool) -> float:
    """A new linear layer for every batch."""
    net = Renewed(fresh=sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


class BareTable(nn.Module):
    """Vectors of words in a plain tensor, or in a parameter."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        vectors = 0.1 * torch.randn(200, 4)
        self.vectors = nn.Parameter(vectors) if registered else vectors.requires_grad_()
        self.layers = mlp(4, 32, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.layers(functional.embedding(words, self.vectors).mean(1))


def bare_tensor(sick: bool) -> float:
    """The table of word vectors is a tensor that wants a gradient, but no parameter."""
    net = BareTable(registered=not sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.bags(), steps=150)


class Branches(nn.Module):
    """A forecast as the sum of branches in a dictionary, each on its own part of the past."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.branches = kind({"early": nn.GRU(1, 16, batch_first=True), "late": mlp(8, 32, 16)})
        self.head = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A column."""
        early = self.branches["early"](x[:, :-8])[0][:, -1]
        late = torch.relu(self.branches["late"](x[:, -8:, 0]))
        return self.head(torch.cat([early, late], 1))


def branches_in_a_dictionary(sick: bool) -> float:
    """A Python dictionary of branches, which the optimiser cannot see."""
    net = Branches(dict if sick else nn.ModuleDict)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.series(), functional.smooth_l1_loss, steps=120)


UNREGISTERED: tuple[Program, ...] = (
    Program(
        "layers in a list",
        layers_in_a_list,
        ("SD209",),
        "layers in a Python list are no parameters of the net: nn.ModuleList",
        "pytorch/pytorch#715",
        code_only=True,
    ),
    Program(
        "layer made in forward",
        layer_made_in_forward,
        ("SD209",),
        "every batch gets a new random head: make it in __init__",
        "StackOverflow 74980651",
        code_only=True,
    ),
    Program(
        "bare tensor",
        bare_tensor,
        ("SD209",),
        "a tensor that wants a gradient is no parameter of the net: nn.Parameter",
        code_only=True,
    ),
    Program(
        "branches in a dictionary",
        branches_in_a_dictionary,
        ("SD209",),
        "layers in a Python dictionary are no parameters of the net: nn.ModuleDict",
        code_only=True,
    ),
)
