"""Healthy trainings at odd moments and of odd data: plateaus, noise, nothing left to learn."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs.healthy import dropped
from sounding.zoo.programs.usual import Pair, batches, ending, evaluate, fit, split

DIGITS = samples.flat_digits()
SMALL: Pair = (samples.CLUSTERS[0][:128], samples.CLUSTERS[1][:128])


def many_dropped_predictions(_: bool) -> float:
    """Gal and Ghahramani 2016: the spread of thirty noisy predictions is the uncertainty."""
    train, test = split(samples.OVERLAPPING)
    net = dropped()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for x, y in batches(train, steps=300):
        loss = functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    net.train()  # on purpose: without dropout there is no spread
    with torch.no_grad():
        predictions = torch.stack([net(test[0]).softmax(1) for _ in range(30)])
    predictions.std(0).mean().item()
    return -ending(losses)


def linear_regression(_: bool) -> float:
    """One layer without an activation, because the truth is linear."""
    x = torch.randn(1024, 8)
    y = x @ torch.randn(8, 1) + 0.1 * torch.randn(1024, 1)
    net = nn.Linear(8, 1)
    return -fit(
        net, torch.optim.SGD(net.parameters(), lr=0.1), (x, y), functional.mse_loss, steps=150
    )


def product_of_matrices(_: bool) -> float:
    """Three linear layers from small weights (Saxe et al. 2014): a plateau that ends by itself."""
    target = torch.randn(4, 16, generator=torch.Generator().manual_seed(1)) / 2
    net = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((16, 32), (32, 32), (32, 4))))
    for layer in net.children():
        nn.init.normal_(layer.weight, std=0.05)  # type: ignore[arg-type]
    x = torch.randn(512, 16)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    return -fit(net, optimiser, (x, x @ target.T), functional.mse_loss, steps=600)


def noise_floor(_: bool) -> float:
    """A twelfth of the variance can be explained."""
    net = mlp(8, 32, 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, samples.noisy_line(4096), functional.mse_loss, size=128, steps=400)


def wrong_labels(_: bool) -> float:
    """Three labels in ten are drawn at random."""
    x, y = samples.CLUSTERS
    random = torch.rand(len(y)) < 0.3
    y = torch.where(random, torch.randint(0, 10, y.shape), y)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    return -fit(net, optimiser, (x, y), functional.cross_entropy, steps=200)


def label_smoothing(_: bool) -> float:
    """The loss has a floor of 0.5: the entropy of a smoothed label."""
    net = mlp(64, 128, 10)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    return -fit(net, optimiser, DIGITS, criterion, steps=300)


def tiny_data(_: bool) -> float:
    """Sixteen samples, learned by heart: a test that a net can learn at all."""
    x, y = DIGITS[0][:16], DIGITS[1][:16]
    net = mlp(64, 64, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _step in range(300):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


def converged(_: bool) -> float:
    """Trained until nothing is left to learn, and on with a second optimiser."""
    net = mlp(32, 256, 10)
    fit(net, torch.optim.Adam(net.parameters(), lr=3e-3), SMALL, functional.cross_entropy)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, SMALL, functional.cross_entropy, size=102, steps=200)


def five_steps(_: bool) -> float:
    """Looked at before much could happen."""
    net = mlp(64, 64, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, steps=5)


def best_kept(_: bool) -> float:
    """Early stopping: the weights of the best evaluation are put back at the end."""
    train, test = split(samples.OVERLAPPING)
    net = mlp(32, 128, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    best, kept, losses = float("inf"), net.state_dict(), []
    for epoch in range(12):
        net.train()
        for x, y in batches(train, steps=13):
            optimiser.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        value = evaluate(net, test, nn.CrossEntropyLoss())
        if value < best:
            best, kept = value, copy.deepcopy(net.state_dict())
        elif epoch > 8:
            break
    net.load_state_dict(kept)
    return -ending(losses)


def double_precision(_: bool) -> float:
    """All in float64, as physicists do."""
    x, y = samples.CLUSTERS
    net = mlp(32, 64, 10, activation=nn.Tanh).double()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return -fit(net, optimiser, (x.double(), y), functional.cross_entropy)


def bare_tensors(_: bool) -> float:
    """No module at all: weights in a list."""
    x, y = samples.CLUSTERS
    weights = [0.2 * torch.randn(32, 64), torch.zeros(64), 0.1 * torch.randn(64, 10)]
    weights = [w.requires_grad_() for w in weights]
    optimiser = torch.optim.SGD(weights, lr=0.2)
    losses = []
    for inputs, labels in batches((x, y), steps=200):
        hidden = torch.relu(inputs @ weights[0] + weights[1])
        loss = functional.cross_entropy(hidden @ weights[2], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


def pruned(_: bool) -> float:
    """Four weights in five are cut off (Han et al. 2015); the rest goes on learning."""
    net = mlp(64, 256, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    fit(net, optimiser, DIGITS, functional.cross_entropy, steps=100)
    for layer in net.children():
        if isinstance(layer, nn.Linear):
            prune.l1_unstructured(layer, "weight", amount=0.8)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, steps=150)


MOMENTS: tuple[Program, ...] = (
    Program(
        "dropout at evaluation",
        many_dropped_predictions,
        (),
        "evaluated in training mode: on purpose, averaged over thirty passes without gradients",
    ),
    Program(
        "linear regression",
        linear_regression,
        (),
        "linear network: the truth is linear, and the loss at the noise",
    ),
    Program(
        "product of matrices",
        product_of_matrices,
        (),
        "saddle, linear network, too slow: a plateau at first, then down to zero",
    ),
    Program(
        "noise floor",
        noise_floor,
        (),
        "loss does not fall, labels carry no information: noise is most of the target",
    ),
    Program(
        "wrong labels, three in ten",
        wrong_labels,
        (),
        "labels carry no information: they do, and the loss stays high where they lie",
    ),
    Program(
        "label smoothing",
        label_smoothing,
        (),
        "loss stays high: it cannot fall below 0.5",
    ),
    Program(
        "tiny data",
        tiny_data,
        (),
        "vanishing gradient, the same batch again and again: sixteen samples learned by heart",
    ),
    Program(
        "converged",
        converged,
        (),
        "loss does not fall, tiny updates: nothing is left to learn",
    ),
    Program(
        "five steps",
        five_steps,
        (),
        "too slow: it has only just begun",
    ),
    Program(
        "best weights kept",
        best_kept,
        (),
        "evaluation gets worse while training gets better: the best is put back at the end",
    ),
    Program(
        "double precision",
        double_precision,
        (),
        "odd types: all of them are the same",
    ),
    Program(
        "bare tensors",
        bare_tensors,
        (),
        "unregistered parameters: there is no module, and the optimiser holds all of them",
    ),
    Program(
        "pruned",
        pruned,
        (),
        "dead weights: four in five are masked on purpose; an optimiser whose time is over",
    ),
)
