"""SD201, SD202, SD205, SD206: sick programs whose signals or gradients die out or blow up."""

from __future__ import annotations

import torch
from torch import nn

from sounding.zoo import samples
from sounding.zoo.nets import Plain, PlainConv, drawn, mlp, normal
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import classified, regressed

RELU = 2**0.5  # the gain that keeps the second moment


def stacked_sigmoids(sick: bool) -> float:
    """Four layers of sigmoids from small normal weights, or rectifiers from default ones."""
    net = mlp(32, *[64] * 4, 10, activation=nn.Sigmoid if sick else nn.ReLU)
    if sick:
        drawn(net, lambda w: nn.init.normal_(w, std=0.05))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    return classified(net, optimiser, samples.CLUSTERS, steps=400)


def sigmoid_convolutions(sick: bool) -> float:
    """Six convolutions with sigmoids, or with rectifiers."""
    net = PlainConv(6, activation=torch.sigmoid if sick else torch.relu)
    drawn(net, normal(RELU))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=120)


class TanhRecurrence(nn.Module):
    """A tanh recurrence over many steps, whose state is multiplied by `size` each time."""

    def __init__(self, size: float, width: int = 32) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(2, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 2)
        nn.init.orthogonal_(self.state.weight, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        state = x.new_zeros(len(x), self.head.in_features)
        for column in x.unbind(1):
            state = torch.tanh(self.input(column) + self.state(state))
        return self.head(state)


def forgotten_beginning(sick: bool) -> float:
    """The third of 14 moments decides; a recurrent weight of norm 0.3 forgets it, or one of 1."""
    net = TanhRecurrence(0.3 if sick else 1.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return classified(net, optimiser, tasks.recall(length=14, channels=2), size=32, steps=250)


class SquashedCoder(nn.Module):
    """Pixels through many narrow squashed layers, to a code and back."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        widths = (64, 48, 48, 32, 12)
        self.encoder = mlp(*widths, activation=activation)
        self.decoder = mlp(*widths[::-1], activation=activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pixels again."""
        return self.decoder(self.encoder(x))


def squashed_autoencoder(sick: bool) -> float:
    """Eight layers of an autoencoder with sigmoids between them, or SiLUs."""
    net = SquashedCoder(nn.Sigmoid if sick else nn.SiLU)
    drawn(net, normal(RELU))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    return regressed(net, optimiser, tasks.pixels(), steps=300)


class Relu120(nn.Module):
    """A rectified recurrence of torch's own, with a recurrent weight of norm 1.1."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.RNN(8, 48, batch_first=True, nonlinearity="relu")
        nn.init.orthogonal_(self.recurrent.weight_hh_l0, 1.1)  # type: ignore[arg-type]
        self.head = nn.Linear(48, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.head(self.recurrent(x)[0][:, -1])


def unclipped_recurrence(sick: bool) -> float:
    """120 steps of a rectified recurrence that grows, with clipping and without."""
    net = Relu120()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    data = tasks.recall(512, 120, at=-4)
    return classified(net, optimiser, data, size=32, steps=120, clip=None if sick else 1.0)


def steep_sines(sick: bool) -> float:
    """Sine layers of slope 30 (Sitzmann et al. 2020) with default weights, or with theirs."""
    net = Plain(1, *[64] * 5, 1, activation=lambda x: torch.sin(30 * x))
    with torch.no_grad():
        for layer in net.layers if not sick else ():
            layer.get_parameter("weight").div_(30 if layer is net.layers[0] else 12)
            layer.get_parameter("bias").zero_()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
    return regressed(net, optimiser, tasks.waves(160), size=32, steps=400)


class Skip(nn.Module):
    """x + factor * branch(x)."""

    def __init__(self, branch: nn.Module, factor: float = 0.2, stream: float = 1.0) -> None:
        super().__init__()
        self.branch = branch
        self.factor, self.stream = factor, stream

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the shape of x."""
        return self.stream * x + self.factor * self.branch(x)


def normed_without_skips(sick: bool) -> float:
    """Forty layers with batch norm before the rectifiers; with skips around them, or without."""
    layers: list[nn.Module] = [nn.Linear(64, 64)]
    for _ in range(40):
        branch = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())
        layers.append(branch if sick else Skip(branch))
    net = nn.Sequential(*layers, nn.Linear(64, 10))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    return classified(net, optimiser, samples.flat_digits(), steps=60)


GRADIENTS: tuple[Program, ...] = (
    Program(
        "stacked sigmoids",
        stacked_sigmoids,
        ("SD201", "SD303"),
        "each sigmoid multiplies the gradient by a quarter at most, small weights by less",
        "StackOverflow 39217567",
    ),
    Program(
        "convolutions with sigmoids",
        sigmoid_convolutions,
        ("SD201",),
        "six sigmoids in a row let no gradient through: ReLU",
    ),
    Program(
        "forgotten beginning",
        forgotten_beginning,
        ("SD201", "SD205", "SD303"),
        "a recurrent weight of norm 0.3 shrinks the gradient at every moment: start it orthogonal",
    ),
    Program(
        "squashed autoencoder",
        squashed_autoencoder,
        ("SD201",),
        "eight layers of sigmoids leave no gradient for the first ones",
    ),
    Program(
        "recurrence without clipping",
        unclipped_recurrence,
        ("SD202", "SD506", "SD501"),
        "gradients grow by the norm of the recurrent weight at each of 120 moments: clip them",
        "StackOverflow 67236480",
    ),
    Program(
        "steep sines",
        steep_sines,
        ("SD202", "SD303"),
        "a slope of 30 in every layer multiplies the gradient: draw the weights 1 / 30 as large",
        "Sitzmann et al. 2020",
    ),
    Program(
        "batch norm without skips",
        normed_without_skips,
        ("SD202",),
        "batch norm before ReLU multiplies the gradient by 1.2 a layer: add skips",
        "Yang et al. 2019",
        code_only=True,
    ),
)
