"""SD508, SD509: sick programs whose first steps destroy what there was."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer, lr_scheduler

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, Residual, mlp, resnet
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Tagger
from sounding.zoo.programs.scores import accuracy, classified
from sounding.zoo.programs.usual import Pair, batches, fit
from sounding.zoo.sequences import LanguageModel


def _learned(net: nn.Module, data: Pair, *, lr: float, steps: int, size: int = 32) -> None:
    """What somebody else has trained before."""
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    fit(net, optimiser, data, functional.cross_entropy, steps=steps, size=size)


def _refined(net: nn.Module, data: Pair, *, lr: float, steps: int = 60) -> None:
    """Train on a few samples of another task."""
    optimiser = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    net.train()
    for x, y in batches(data, size=16, steps=steps):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()


def refined_too_hot(sick: bool) -> float:
    """Ten clusters are known, three groups of them are to be told apart from 48 samples."""
    x, y = samples.CLUSTERS
    net = mlp(32, 64, 64, 10)
    _learned(net, (x, y), lr=2e-3, steps=300)
    net[4] = nn.Linear(64, 3)
    _refined(net, (x[:48], y[:48] % 3), lr=1.5 if sick else 0.01)
    return accuracy(net, (x[48:], y[48:] % 3))


def refined_images_too_hot(sick: bool) -> float:
    """A residual net knows ten digits, and is to tell even from odd by 64 of them."""
    x, y = samples.image_digits()
    net = resnet(1)
    _learned(net, (x, y), lr=1e-2, steps=120)
    net[-1] = nn.Linear(16, 2)
    _refined(net, (x[:64], y[:64] % 2), lr=1.0 if sick else 0.005)
    return accuracy(net, (x[64:], y[64:] % 2))


def refined_tagger_too_hot(sick: bool) -> float:
    """A recurrent tagger knows four tags, and is to say from 40 texts whether two halves agree."""
    tokens, tags = tasks.tagged()
    net = Tagger()
    _learned(net, (tokens, tags), lr=1e-2, steps=100)
    net.head = nn.Linear(48, 2)
    same = (tags // 2 == tags % 2).long()
    _refined(net, (tokens[:40], same[:40]), lr=3.0 if sick else 0.02)
    return accuracy(net, (tokens[40:], same[40:]))


def _begun(sick: bool, optimiser: Optimizer) -> lr_scheduler.LRScheduler:
    """The full rate from the first step on, or a hundredth of it that grows for 80 steps."""
    return lr_scheduler.LinearLR(optimiser, 1.0 if sick else 0.01, 1.0, total_iters=80)


def post_norm_without_warm_up(sick: bool) -> float:
    """Three blocks that are normalised behind the sums, and plain descent at 0.5."""
    net = LanguageModel(3, before=False)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    rate = _begun(sick, optimiser)
    return classified(net, optimiser, samples.sentences(), size=16, steps=140, schedule=rate)


def convolutions_without_warm_up(sick: bool) -> float:
    """Adam at 0.05, before its second moments mean anything."""
    net = LeNet()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    rate = _begun(sick, optimiser)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=150, schedule=rate)


def residual_without_warm_up(sick: bool) -> float:
    """Eight residual blocks without normalisation at 0.05."""
    net = Residual(8)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rate = _begun(sick, optimiser)
    return classified(net, optimiser, samples.flat_digits(), steps=150, schedule=rate)


FINE_TUNED: tuple[Program, ...] = (
    Program(
        "refined too hot",
        refined_too_hot,
        ("SD508", "SD501"),
        "a rate 150 times too large destroys what the body knew: 0.01",
    ),
    Program(
        "images refined too hot",
        refined_images_too_hot,
        ("SD508", "SD501"),
        "a rate 200 times too large destroys what the body knew: 0.005",
    ),
    Program(
        "tags refined too hot",
        refined_tagger_too_hot,
        ("SD508", "SD501"),
        "a rate 150 times too large destroys what the body knew: 0.02",
    ),
    Program(
        "post-norm without warm-up",
        post_norm_without_warm_up,
        ("SD509", "SD501", "SD101"),
        "the first steps at full rate leave a place in which the later ones are stable: warm up",
        "Xiong et al. 2020",
    ),
    Program(
        "convolutions without warm-up",
        convolutions_without_warm_up,
        ("SD509", "SD501"),
        "Adam's first steps are as large as its rate in every weight: warm up",
        "Liu et al. 2020",
    ),
    Program(
        "residual net without warm-up",
        residual_without_warm_up,
        ("SD509", "SD501", "SD101", "SD206"),
        "the blocks are too sharp for the full rate at first, not later: warm up",
        "Goyal et al. 2017",
    ),
)
