"""Healthy trainings that begin with a net which has been trained before, or has a teacher."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.nets import resnet as small_resnet
from sounding.zoo.program import Program
from sounding.zoo.programs.usual import batches, ending, evaluate, fit, split

CLUSTERS, DIGITS, IMAGES = samples.CLUSTERS, samples.flat_digits(), samples.image_digits()
HALVES = (IMAGES[0], (IMAGES[1] > 4).long())  # another question about the same images


def _pretrained(*widths: int) -> nn.Sequential:
    """A net that tells the digits apart, fairly well."""
    net = mlp(*widths)
    fit(net, torch.optim.Adam(net.parameters(), lr=2e-3), DIGITS, functional.cross_entropy)
    return net


def frozen_backbone(_: bool) -> float:
    """Only the new head learns; the rest asks for no gradient."""
    net = _pretrained(64, 64, 64, 10)
    net.requires_grad_(False)
    net[4] = nn.Linear(64, 2)
    optimiser = torch.optim.Adam(net[4].parameters(), lr=5e-3)
    return -fit(net, optimiser, (DIGITS[0], HALVES[1]), functional.cross_entropy)


def frozen_statistics(_: bool) -> float:
    """The stem is frozen, and every batch norm keeps the statistics that it came with."""
    net = small_resnet(1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    fit(net, optimiser, IMAGES, functional.cross_entropy, steps=120)
    net[-1] = nn.Linear(16, 2)
    net[:3].requires_grad_(False)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=2e-3)
    (train, test), losses = split(HALVES), []
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for x, y in batches(train, size=32, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def small_steps(_: bool) -> float:
    """A good net, a small rate, slightly other data."""
    x, y = CLUSTERS
    net = mlp(32, 64, 64, 10)
    fit(net, torch.optim.Adam(net.parameters(), lr=2e-3), CLUSTERS, functional.cross_entropy)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-5)
    return -fit(net, optimiser, (x + 0.1, y), functional.cross_entropy)


def linear_probe(_: bool) -> float:
    """How much do the features know? The encoder runs without gradients."""
    encoder = _pretrained(64, 64, 64, 10)[:3]
    encoder.eval()
    probe = nn.Linear(64, 2)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=1e-2)
    losses = []
    for x, y in batches((DIGITS[0], HALVES[1]), steps=200):
        with torch.no_grad():
            features = encoder(x)
        loss = functional.cross_entropy(probe(features), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return -ending(losses)


class Adapted(nn.Module):
    """A frozen layer and a change of low rank beside it, zero at first (Hu et al. 2022)."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the layer, changed."""
        return self.layer(x) + x @ self.down.T @ self.up.T


def low_rank(_: bool) -> float:
    """The same digits with their pixels in reverse order: adapters learn to read them."""
    net = _pretrained(64, 128, 128, 10)
    for place in (0, 2, 4):
        layer = net[place]
        assert isinstance(layer, nn.Linear)
        net[place] = Adapted(layer)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    data = (DIGITS[0].flip(1), DIGITS[1])
    return -fit(net, optimiser, data, functional.cross_entropy, steps=300)


def thawed(_: bool) -> float:
    """First the new head, then layer by layer what lies below it (Howard and Ruder 2018)."""
    net = _pretrained(64, 64, 64, 10)
    net[4] = nn.Linear(64, 2)
    train, test = split((DIGITS[0], HALVES[1]))
    net[0].requires_grad_(False)
    net[2].requires_grad_(False)
    optimiser = torch.optim.Adam(net[4].parameters(), lr=2e-3)
    losses = []
    for step, (x, y) in enumerate(batches(train, steps=240)):
        if step in (80, 160):
            layer = net[2 if step == 80 else 0].requires_grad_(True)
            optimiser.add_param_group({"params": list(layer.parameters()), "lr": 5e-4})
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def distillation(_: bool) -> float:
    """A small net learns what a large one thinks (Hinton et al. 2015): two softened softmaxes."""
    teacher = _pretrained(64, 256, 10).eval()
    student, temperature, losses = mlp(64, 32, 10), 3.0, []
    optimiser = torch.optim.Adam(student.parameters(), lr=5e-3)
    train, test = split(DIGITS)
    for x, _y in batches(train, steps=250):
        with torch.no_grad():
            thought = (teacher(x) / temperature).softmax(1)
        guess = (student(x) / temperature).log_softmax(1)
        loss = temperature**2 * functional.kl_div(guess, thought, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(student, test, functional.cross_entropy)
    return -ending(losses)


def own_teacher(_: bool) -> float:
    """Grill et al. 2020: the target is a slow copy of the net itself, behind no gradient."""
    online = nn.Sequential(mlp(64, 64, 32), nn.BatchNorm1d(32), nn.Linear(32, 32))
    target = copy.deepcopy(online[:2]).requires_grad_(False)
    optimiser = torch.optim.Adam(online.parameters(), lr=2e-3)
    losses = []
    for x, _y in batches(DIGITS, steps=250):
        first, second = (x + 0.3 * torch.randn_like(x) for _ in range(2))
        with torch.no_grad():
            wanted = target(second)
        loss = 2 - 2 * functional.cosine_similarity(online(first), wanted).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), online[:2].parameters(), strict=True):
                slow.lerp_(fast, 0.05)
        losses.append(loss.item())
    return -ending(losses)


class WithPooler(nn.Module):
    """An encoder that comes with a part which this task has no use for."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = mlp(64, 64, 64)
        self.pooler = nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        return self.head(torch.relu(self.encoder(x)))


def unused_pooler(_: bool) -> float:
    """The optimiser was given all parameters; some are never called."""
    net = WithPooler()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    return -fit(net, optimiser, DIGITS, functional.cross_entropy, clip=5.0)


FINE_TUNING: tuple[Program, ...] = (
    Program(
        "frozen backbone",
        frozen_backbone,
        (),
        "blocked gradient, missing from the optimiser: frozen on purpose",
    ),
    Program(
        "frozen statistics",
        frozen_statistics,
        (),
        "batch norm in evaluation while training: its statistics are those of these very images",
    ),
    Program(
        "small steps",
        small_steps,
        (),
        "learning rate too low: there is next to nothing to learn, and it is not to be spoilt",
    ),
    Program(
        "linear probe",
        linear_probe,
        (),
        "blocked gradient: the encoder runs without gradients on purpose; the probe is linear",
    ),
    Program(
        "low-rank adapters",
        low_rank,
        (),
        "zero initialisation: half of each adapter starts at zero, and so does nothing at first",
    ),
    Program(
        "thawed layer by layer",
        thawed,
        (),
        "missing from the optimiser: for the first part of the training, on purpose",
    ),
    Program(
        "distillation",
        distillation,
        (),
        "softmax before the loss: of the teacher; the student's is a log-softmax",
    ),
    Program(
        "own teacher",
        own_teacher,
        (),
        "blocked gradient: the slow copy is behind no_grad, or both would agree on nothing",
    ),
    Program(
        "unused pooler",
        unused_pooler,
        (),
        "cut graph: a part that is never called, of which nothing depends",
    ),
)
