"""SD301 to SD303: sick programs that start from weights of the wrong kind or size."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import Plain, PlainConv, drawn, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Autoencoder, Bag, Forecaster
from sounding.zoo.programs.scores import accuracy, classified, regressed
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import LanguageModel


@torch.no_grad()
def _filled(net: nn.Module, value: float) -> None:
    for parameter in net.parameters():
        parameter.fill_(value)


def zero_weights(sick: bool) -> float:
    """All parameters of three layers are 0."""
    net = mlp(32, 64, 64, 10)
    if sick:
        _filled(net, 0.0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    return classified(net, optimiser, samples.CLUSTERS, steps=200)


def zero_recurrence(sick: bool) -> float:
    """All parameters of an LSTM and of its head are 0, and so is every state."""
    net = Forecaster()
    if sick:
        _filled(net, 0.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return regressed(net, optimiser, tasks.series(), steps=150)


def zero_coders(sick: bool) -> float:
    """Encoder's and decoder's last layers are both 0: each waits for the other."""
    net = Autoencoder()
    if sick:
        for name in ("encoder.2", "decoder.0"):
            _filled(net.get_submodule(name), 0.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.pixels(), steps=200)


def zero_convolutions(sick: bool) -> float:
    """All weights of the convolutions are 0, their biases too."""
    net = PlainConv(3)
    if sick:
        drawn(net, nn.init.zeros_)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=100)


def constant_weights(sick: bool) -> float:
    """All weights are 0.1: 64 copies of one unit."""
    net = mlp(64, 64, 64, 10, activation=nn.Tanh)
    if sick:
        drawn(net, lambda w: nn.init.constant_(w, 0.1))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    return classified(net, optimiser, samples.flat_digits(), steps=200)


def constant_words(sick: bool) -> float:
    """Vectors of words start at 1, layers at 0.1: the net has one hidden unit."""
    net = Bag()
    if sick:
        _filled(net.table, 1.0)
        _filled(net.layers, 0.1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return classified(net, optimiser, tasks.bags(), steps=200)


def constant_coder(sick: bool) -> float:
    """An autoencoder of constant layers has a code of one number."""
    net = Autoencoder()
    if sick:
        drawn(net, lambda w: nn.init.constant_(w, 1 / w.shape[1]))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    return regressed(net, optimiser, tasks.pixels(), steps=300)


def constant_convolutions(sick: bool) -> float:
    """All weights of two convolutions are 0.05."""
    net = PlainConv(2)
    if sick:
        drawn(net, lambda w: nn.init.constant_(w, 0.05), bias=0.1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150)


def tiny_weights(sick: bool) -> float:
    """Ten layers of tanh from N(0, 0.01^2), or from Xavier's scale."""
    net = mlp(32, *[64] * 10, 10, activation=nn.Tanh)
    if sick:
        drawn(net, lambda w: nn.init.normal_(w, std=0.01))
    else:
        drawn(net, lambda w: nn.init.xavier_normal_(w, 5 / 3))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    return classified(net, optimiser, samples.CLUSTERS, steps=250)


def four_faults(sick: bool) -> float:
    """N(0, 1) weights, no activation, squared error of classes, a rate of 3; or none of them."""
    data = samples.flat_digits()
    net = mlp(64, 30, 10, activation=nn.Identity if sick else nn.Sigmoid)
    drawn(net, nn.init.normal_)
    train, test = split(data)
    optimiser = torch.optim.SGD(net.parameters(), lr=3.0 if sick else 0.3)
    for x, y in batches(train, size=10, steps=300):
        optimiser.zero_grad()
        if sick:
            loss = functional.mse_loss(net(x), functional.one_hot(y, 10).float())
        else:
            loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def positive_filters(sick: bool) -> float:
    """A function applied to all layers draws every weight between 0 and 1."""
    conv1, conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    net = nn.Sequential(
        *(conv1, nn.ReLU(), conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), nn.Linear(256, 4)
    )
    if sick:
        drawn(net, nn.init.uniform_)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return classified(net, optimiser, tasks.pictures(), size=32, steps=150)


def unit_normal_transformer(sick: bool) -> float:
    """Every matrix of a transformer is N(0, 1), or N(0, 0.02^2)."""
    net = LanguageModel(2)
    if sick:
        drawn(net, nn.init.normal_)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    train, test = split(samples.sentences())
    for x, y in batches(train, size=16, steps=100):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def default_weights_in_depth(sick: bool) -> float:
    """Twenty-four rectified layers from torch's default weights, or from He's."""
    net = Plain(8, *[64] * 24, 1)
    if not sick:
        drawn(net, nn.init.kaiming_normal_)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-4)
    return regressed(net, optimiser, tasks.bowl(), steps=250)


INITIALISATION: tuple[Program, ...] = (
    Program(
        "zero weights",
        zero_weights,
        ("SD301",),
        "nothing but the last bias ever moves: draw the weights at random",
    ),
    Program(
        "zero recurrence",
        zero_recurrence,
        ("SD301",),
        "every state of the LSTM is 0, so its head gets no gradient, and it gets none from there",
    ),
    Program(
        "zero coders",
        zero_coders,
        ("SD301",),
        "two layers in a row are 0, and each takes the other's gradient",
    ),
    Program(
        "zero convolutions",
        zero_convolutions,
        ("SD301",),
        "all filters are 0, and stay so",
    ),
    Program(
        "constant weights",
        constant_weights,
        ("SD302",),
        "equal weights get equal gradients: 64 copies of one unit",
    ),
    Program(
        "constant words",
        constant_words,
        ("SD302",),
        "all words start as the same vector, all units as the same one",
    ),
    Program(
        "constant coder",
        constant_coder,
        ("SD302",),
        "a code of twelve equal numbers holds one",
    ),
    Program(
        "constant convolutions",
        constant_convolutions,
        ("SD302",),
        "sixteen equal filters are one filter",
    ),
    Program(
        "tiny weights",
        tiny_weights,
        ("SD303", "SD205", "SD201"),
        "N(0, 0.01^2) shrinks the signal in each of ten layers: Xavier with gain 5/3",
    ),
    Program(
        "four faults",
        four_faults,
        ("SD303", "SD501", "SD413", "SD406", "SD101"),
        "weights, rate, loss and the missing activation: any of the first two alone diverges",
        "StackOverflow 48385830",
        code_only=True,
    ),
    Program(
        "positive filters",
        positive_filters,
        ("SD303", "SD302", "SD206"),
        "weights between 0 and 1 add up: the signal grows, and all units see the sum",
        "StackOverflow 77704108",
    ),
    Program(
        "unit normal transformer",
        unit_normal_transformer,
        ("SD303", "SD204", "SD206", "SD304"),
        "N(0, 1) in every matrix, where N(0, 0.02^2) belongs",
    ),
    Program(
        "default weights in depth",
        default_weights_in_depth,
        ("SD303", "SD205"),
        "torch's default weights lose five sixths of the mean square in every layer: He's",
    ),
)
