"""SD401 to SD404: sick programs whose loss is given something else than it expects."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.data import clusters
from sounding.zoo import samples
from sounding.zoo.nets import LeNet, UNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Forecaster, Tagger, Variational, divergence
from sounding.zoo.programs.scores import (
    accuracy,
    classified,
    explained,
    hits,
    negated,
    one_by_one,
    regressed,
)
from sounding.zoo.programs.usual import batches, fit, split

BCE = functional.binary_cross_entropy
LOGITS = functional.binary_cross_entropy_with_logits


def _ended(net: nn.Module, last: nn.Module, sick: bool) -> nn.Sequential:
    """`net` with `last` behind it where it is to be sick."""
    return nn.Sequential(net, last) if sick else nn.Sequential(net)


def softmax_twice(sick: bool) -> float:
    """A hundred classes, a softmax in the net, and another in the loss."""
    data = clusters(4096, features=128, classes=100, distance=7.0)
    net = _ended(mlp(128, 128, 100), nn.Softmax(dim=1), sick)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    return classified(net, optimiser, data, steps=200)


def softmax_twice_on_images(sick: bool) -> float:
    """The same behind a small convolutional net."""
    net = _ended(LeNet(), nn.Softmax(dim=-1), sick)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=200)


def softmax_of_tags(sick: bool) -> float:
    """A recurrent tagger that gives probabilities to cross_entropy."""
    net = Tagger()
    train, test = split(tasks.tagged())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    for x, y in batches(train, size=32, steps=120):
        optimiser.zero_grad()
        output = net(x)
        if sick:
            output = output.softmax(1)
        loss = functional.cross_entropy(output, y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def sigmoid_twice(sick: bool) -> float:
    """Two overlapping clouds; what the user takes for a probability is squashed again."""
    net = _ended(mlp(32, 64, 1), nn.Sigmoid(), sick)
    optimiser = torch.optim.Adam(net.parameters())
    fit(net, optimiser, tasks.two_clouds(), LOGITS, steps=250)
    return negated(net, split(tasks.two_clouds())[1], LOGITS)


def sigmoid_twice_on_pixels(sick: bool) -> float:
    """Segmentation: the net ends in a sigmoid, the loss begins with one."""
    net = _ended(UNet(), nn.Sigmoid(), sick)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    fit(net, optimiser, tasks.ink(), LOGITS, size=32, steps=60)
    return negated(net, split(tasks.ink())[1], LOGITS)


def sigmoid_twice_in_a_decoder(sick: bool) -> float:
    """A variational autoencoder whose pixels are squashed before the loss does it."""
    net = Variational()
    train, test = split(tasks.pixels())
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for x, _ in batches(train, steps=200):
        logits, mean, log_variance = net(x)
        if sick:
            logits = torch.sigmoid(logits)
        pixels = LOGITS(logits, x, reduction="sum") / len(x)
        loss = pixels + divergence(mean, log_variance)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        output = torch.sigmoid(net.eval()(test[0])[0])
    return -functional.mse_loss(output, test[0]).item()


def softmax_of_one(sick: bool) -> float:
    """One output unit behind a softmax, which is 1 for every sample."""
    net = nn.Sequential(mlp(32, 50, 1), nn.Softmax(dim=1) if sick else nn.Sigmoid())
    train, test = split(tasks.two_clouds())
    optimiser = torch.optim.Adam(net.parameters())
    fit(net, optimiser, train, BCE, steps=250)
    with torch.no_grad():
        return hits(net(test[0]) - 0.5, test[1]).mean().item()


def softmax_over_one_channel(sick: bool) -> float:
    """A mask of one channel, and a softmax over the channels."""
    net = nn.Sequential(UNet(), nn.Softmax(dim=1) if sick else nn.Sigmoid())
    train, test = split(tasks.ink())
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    fit(net, optimiser, train, BCE, size=32, steps=50)
    return explained(net, test)


def softmax_of_a_forecast(sick: bool) -> float:
    """A forecast of one number, squeezed through a softmax."""
    x, y = tasks.series()
    net = nn.Sequential(Forecaster(), nn.Softmax(dim=-1) if sick else nn.Identity())
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    return regressed(net, optimiser, (x, y), functional.l1_loss, steps=100)


def softmax_over_the_batch(sick: bool) -> float:
    """log_softmax along the samples; the service is asked one sample at a time."""
    net = nn.Sequential(mlp(32, 64, 10), nn.LogSoftmax(dim=0 if sick else 1))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    fit(net, optimiser, samples.CLUSTERS, functional.nll_loss, steps=250)
    return one_by_one(net, split(samples.CLUSTERS)[1])


class Gated(nn.Module):
    """Three experts on images, weighted by a softmax of their scores."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 3)
        self.experts = nn.ModuleList(mlp(64, 32, 10) for _ in range(3))
        self.dimension = dimension

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        weights = self.gate(x).softmax(self.dimension)
        parts = [w[:, None] * e(x) for w, e in zip(weights.T, self.experts, strict=True)]
        return torch.stack(parts).sum(0)


def experts_gated_over_the_batch(sick: bool) -> float:
    """The weights of a sample's experts sum to 1 over the batch, not over the experts."""
    net = Gated(0 if sick else 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    data = samples.flat_digits()
    fit(net, optimiser, data, functional.cross_entropy, steps=250)
    return one_by_one(net, split(data)[1])


class AttentiveTagger(nn.Module):
    """Attention among the tokens of a sample, or by mistake among samples."""

    def __init__(self, dimension: int, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(24, width)
        self.places = nn.Parameter(torch.randn(12, width))
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.layers = nn.Linear(width, width), mlp(width, 64, tasks.TAGS)
        self.dimension = dimension

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (samples, tags, tokens)."""
        x = self.table(tokens) + self.places
        scores = self.query(x) @ self.key(x).transpose(1, 2) / x.shape[-1] ** 0.5
        mixed = functional.softmax(scores, dim=self.dimension) @ self.value(x)
        return self.layers(x + mixed).transpose(1, 2)


def attention_over_the_batch(sick: bool) -> float:
    """(samples, tokens, tokens) and softmax(dim=0): a token competes with those of other texts."""
    net = AttentiveTagger(0 if sick else -1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    fit(net, optimiser, tasks.tagged(), functional.cross_entropy, size=32, steps=250)
    return one_by_one(net, split(tasks.tagged())[1])


LOSS: tuple[Program, ...] = (
    Program(
        "softmax twice",
        softmax_twice,
        ("SD401",),
        "cross_entropy applies a softmax of its own: give it the scores",
        "bowang-lab/Transformer-GCN-QA#32",
    ),
    Program(
        "softmax twice on images",
        softmax_twice_on_images,
        ("SD401",),
        "cross_entropy applies a softmax of its own: give it the scores",
    ),
    Program(
        "softmax of tags",
        softmax_of_tags,
        ("SD401",),
        "the loop applies a softmax, and cross_entropy another one",
        code_only=True,
    ),
    Program(
        "sigmoid twice",
        sigmoid_twice,
        ("SD402",),
        "the loss applies a sigmoid of its own, so no probability is below 0.5",
        "yudi-mars/daisyRec#15",
    ),
    Program(
        "sigmoid twice on pixels",
        sigmoid_twice_on_pixels,
        ("SD402",),
        "the loss applies a sigmoid of its own, so no pixel is ever said to be empty",
    ),
    Program(
        "sigmoid twice in a decoder",
        sigmoid_twice_in_a_decoder,
        ("SD402",),
        "the loop applies a sigmoid, and the loss another one",
        code_only=True,
    ),
    Program(
        "softmax of one unit",
        softmax_of_one,
        ("SD403",),
        "a softmax over one unit is 1 for all samples: a sigmoid",
        "StackOverflow 33969059",
        code_only=True,
    ),
    Program(
        "softmax over one channel",
        softmax_over_one_channel,
        ("SD403",),
        "a softmax over one channel is 1 for all pixels: a sigmoid",
        code_only=True,
    ),
    Program(
        "softmax of a forecast",
        softmax_of_a_forecast,
        ("SD403",),
        "a softmax over one number is 1: leave it out",
        "StackOverflow 64151679",
    ),
    Program(
        "softmax over the batch",
        softmax_over_the_batch,
        ("SD404",),
        "dim=0 makes a prediction depend on the other samples: dim=1",
        "perone/euclidesdb#2",
        code_only=True,
    ),
    Program(
        "experts gated over the batch",
        experts_gated_over_the_batch,
        ("SD404",),
        "the experts' weights sum to 1 over the samples: softmax(1)",
        code_only=True,
    ),
    Program(
        "attention over the batch",
        attention_over_the_batch,
        ("SD404",),
        "attention is normalised over the samples: softmax(-1)",
        code_only=True,
    ),
)
