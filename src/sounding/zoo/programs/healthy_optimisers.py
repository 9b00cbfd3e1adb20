"""Healthy trainings by other optimisers and schedules."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Tastes
from sounding.zoo.programs.usual import batches, ending, evaluate, fit, split

CLUSTERS, DIGITS = samples.CLUSTERS, samples.flat_digits()


def cosine(_: bool) -> float:
    """Half a cosine down to zero."""
    net = mlp(64, 128, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
    schedule = lr_scheduler.CosineAnnealingLR(optimiser, T_max=250)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, schedule=schedule)


def one_cycle(_: bool) -> float:
    """Up and down, per step, to a rate that would be high if it lasted (Smith 2018)."""
    net = mlp(64, 128, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(optimiser, max_lr=0.3, total_steps=200)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, steps=200, schedule=schedule)


def warm_restarts(_: bool) -> float:
    """The rate jumps back to the top twice (Loshchilov and Hutter 2017)."""
    net = mlp(64, 128, 10)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=80)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, steps=240, schedule=schedule)


def lowered_on_plateaus(_: bool) -> float:
    """The rate is halved when evaluation gets no better."""
    train, test = split(samples.OVERLAPPING)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=1)
    losses = []
    for _epoch in range(15):
        net.train()
        for x, y in batches(train, steps=12):
            optimiser.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        schedule.step(evaluate(net, test, nn.CrossEntropyLoss()))
    return -ending(losses)


def second_order(_: bool) -> float:
    """L-BFGS, which calls the net many times a step."""
    x, y = split(tasks.waves(512))[0]
    net = mlp(1, 20, 20, 1, activation=nn.Tanh)
    optimiser = torch.optim.LBFGS(
        net.parameters(), max_iter=20, history_size=20, line_search_fn="strong_wolfe"
    )
    losses = []

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.mse_loss(net(x), y)
        loss.backward()
        return loss

    for _step in range(20):
        losses.append(optimiser.step(closure).item())
    return -ending(losses)


def high_momentum(_: bool) -> float:
    """Momentum 0.99 with a rate to match: gradients a hundred times as large as they need be."""
    net = mlp(64, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.003, momentum=0.99)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, steps=400)


def adagrad(_: bool) -> float:
    """Steps that get smaller on their own."""
    net = Tastes()
    optimiser = torch.optim.Adagrad(net.parameters(), lr=0.3)
    loss = functional.binary_cross_entropy_with_logits
    return -fit(net, optimiser, tasks.ratings(), loss, steps=400, size=128)


def rmsprop(_: bool) -> float:
    """Centred, with momentum."""
    net = mlp(64, 64, 10)
    optimiser = torch.optim.RMSprop(net.parameters(), lr=1e-3, momentum=0.5, centered=True)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy)


def near_the_limit(_: bool) -> float:
    """Gradient descent on a parabola, at nine tenths of the rate at which it would diverge."""
    x = torch.randn(512, 8) * torch.linspace(0.3, 1.5, 8)
    y = x @ torch.randn(8, 1) + 0.1 * torch.randn(512, 1)
    inside = torch.cat([x, torch.ones(512, 1)], 1)
    curvature = torch.linalg.eigvalsh(2 / 512 * inside.T @ inside)[-1].item()
    net = nn.Linear(8, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.9 * 2 / curvature)
    losses = []
    for _step in range(150):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


def whole_batch(_: bool) -> float:
    """Gradient descent on all data, which ends at the edge of stability (Cohen et al. 2021)."""
    x, y = split(CLUSTERS)[0]
    net = mlp(32, 64, 64, 10, activation=nn.Tanh)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for _step in range(300):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, split(CLUSTERS)[1], functional.cross_entropy)
    return -ending(losses)


def averaged_weights(_: bool) -> float:
    """What is evaluated is a running mean of the weights, never the net itself."""
    train, test = split(samples.OVERLAPPING)
    net = mlp(32, 64, 10)
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.95))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for x, y in batches(train, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        mean.update_parameters(net)
        losses.append(loss.item())
    evaluate(mean, test, functional.cross_entropy)
    return -ending(losses)


def sparse_rows(_: bool) -> float:
    """Two optimisers for one net: rows of a table that were used, and all the rest."""
    train, test = split(tasks.rare_words())
    table = nn.EmbeddingBag(5000, 32, sparse=True)
    net = nn.Sequential(table, nn.Linear(32, 4))
    rows = torch.optim.SparseAdam(list(table.parameters()), lr=1e-2)
    dense = torch.optim.Adam(net[1].parameters(), lr=1e-2)
    losses = []
    for x, y in batches(train, steps=200):
        rows.zero_grad()
        dense.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        rows.step()
        dense.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def layer_by_layer(_: bool) -> float:
    """Deeper layers learn more slowly: a rate for each layer, a fifth from one to the next."""
    net = mlp(64, 64, 64, 10)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    groups = [
        {"params": layer.parameters(), "lr": 5e-3 * 0.2**depth}
        for depth, layer in enumerate(reversed(layers))
    ]
    optimiser = torch.optim.AdamW(groups)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy)


OPTIMISERS: tuple[Program, ...] = (
    Program("cosine", cosine, (), "schedule ended early: zero is where it should end"),
    Program(
        "one cycle",
        one_cycle,
        (),
        "learning rate too high: only at the top of the cycle, and the net stands it",
    ),
    Program(
        "warm restarts",
        warm_restarts,
        (),
        "loss rises: whenever the rate jumps back, for a moment",
    ),
    Program(
        "lowered on plateaus",
        lowered_on_plateaus,
        (),
        "schedule ended early: the rate falls when evaluation has no more to gain",
    ),
    Program(
        "second order",
        second_order,
        (),
        "accumulated gradients: a step of L-BFGS has many backward calls, each zeroed before",
    ),
    Program(
        "high momentum",
        high_momentum,
        (),
        "learning rate too low: times a hundred, by the momentum",
    ),
    Program("adagrad", adagrad, (), "schedule ended early: its steps shrink by design"),
    Program("rmsprop", rmsprop, (), "gradient noise: its own scale divides it out"),
    Program(
        "near the limit",
        near_the_limit,
        (),
        "learning rate too high: one direction jumps to and fro, and still settles",
    ),
    Program(
        "all data at once",
        whole_batch,
        (),
        "the same batch again and again, unstable: at the edge the loss falls all the same",
    ),
    Program(
        "averaged weights",
        averaged_weights,
        (),
        "evaluated net never trained, parameters in no optimiser: it is a mean of the other",
    ),
    Program(
        "sparse rows",
        sparse_rows,
        (),
        "missing from the optimiser: what one of the two lacks the other one has",
    ),
    Program(
        "rates by layer",
        layer_by_layer,
        (),
        "learning rate too low: in the deep layers only, where default features do",
    ),
)
