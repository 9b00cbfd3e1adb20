"""SD412, SD414: sick programs that climb, or that nobody took the logarithm for."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Forecaster
from sounding.zoo.programs.scores import accuracy, classified, explained
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import LanguageModel


def flipped_sign(sick: bool) -> float:
    """Minus the cross-entropy is minimised."""
    net = mlp(32, 64, 10)
    train, test = split(samples.CLUSTERS)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02)
    for x, y in batches(train, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        (-loss if sick else loss).backward()
        optimiser.step()
    return accuracy(net, test)


def maximised(sick: bool) -> float:
    """`maximize=True`, left over from a score that was to grow."""
    net = LeNet()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, maximize=sick)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=120)


def forgotten_minus(sick: bool) -> float:
    """A logarithm of likelihood, of which the negative should be minimised."""
    net = Forecaster()
    train, test = split(tasks.series())
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for x, y in batches(train, steps=100):
        optimiser.zero_grad()
        likelihood = torch.distributions.Normal(net(x), 0.5).log_prob(y).mean()
        (likelihood if sick else -likelihood).backward()
        optimiser.step()
    return explained(net, test)


def rewarded_in_reverse(sick: bool) -> float:
    """Policy gradient: actions that pay become rarer."""
    x, y = samples.CLUSTERS
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    train, test = split((x, y))
    for states, best in batches(train, size=128, steps=250):
        policy = torch.distributions.Categorical(logits=net(states))
        action = policy.sample()
        reward = (action == best).float() - 0.1
        loss = (policy.log_prob(action) * reward).mean()
        optimiser.zero_grad()
        (loss if sick else -loss).backward()
        optimiser.step()
    return accuracy(net, test)


def probabilities_to_nll(sick: bool) -> float:
    """nll_loss of probabilities, whose logarithm nobody took."""
    net = nn.Sequential(mlp(32, 64, 10), nn.Softmax(dim=1) if sick else nn.LogSoftmax(dim=1))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    return classified(net, optimiser, samples.OVERLAPPING, functional.nll_loss, steps=200)


def image_probabilities_to_nll(sick: bool) -> float:
    """The same with a convolutional net."""
    net = nn.Sequential(LeNet(), nn.Softmax(dim=1) if sick else nn.LogSoftmax(dim=1))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    return classified(net, optimiser, samples.image_digits(), nn.NLLLoss(), size=32, steps=200)


def token_probabilities_to_nll(sick: bool) -> float:
    """The same with a language model."""
    net = LanguageModel(1)
    train, test = split(samples.sentences())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for x, y in batches(train, size=16, steps=120):
        optimiser.zero_grad()
        output = net(x)
        output = output.softmax(1) if sick else output.log_softmax(1)
        loss = functional.nll_loss(output, y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


LOSS_SIGNS: tuple[Program, ...] = (
    Program(
        "flipped sign",
        flipped_sign,
        ("SD412",),
        "minus the cross-entropy is minimised: take the minus away",
        code_only=True,
    ),
    Program(
        "maximised loss",
        maximised,
        ("SD412",),
        "the optimiser was told to maximise: take maximize=True away",
        code_only=True,
    ),
    Program(
        "forgotten minus",
        forgotten_minus,
        ("SD412",),
        "the likelihood is minimised: put a minus before it",
        code_only=True,
    ),
    Program(
        "rewarded in reverse",
        rewarded_in_reverse,
        ("SD412",),
        "rewarded actions are made rarer: put a minus before the product",
        code_only=True,
    ),
    Program(
        "probabilities to nll_loss",
        probabilities_to_nll,
        ("SD414",),
        "nll_loss expects logarithms: LogSoftmax, or cross_entropy of the scores",
        code_only=True,
    ),
    Program(
        "image probabilities to nll_loss",
        image_probabilities_to_nll,
        ("SD414",),
        "nll_loss expects logarithms: LogSoftmax, or cross_entropy of the scores",
        code_only=True,
    ),
    Program(
        "token probabilities to nll_loss",
        token_probabilities_to_nll,
        ("SD414",),
        "nll_loss expects logarithms: log_softmax in the loop",
        code_only=True,
    ),
)
