"""SD704 to SD708: sick programs that go wrong on the way, though they have begun well."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.scores import classified, negated, regressed
from sounding.zoo.programs.usual import Pair, batches, evaluate, split

DIGITS = samples.flat_digits()


def units_die_at_once(sick: bool) -> float:
    """Adam at 0.2 kills most of a layer in its first steps, or at 0.003 does not."""
    net = mlp(32, 32, 32, 32, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.2 if sick else 3e-3)
    return classified(net, optimiser, samples.CLUSTERS, steps=150)


def units_die_one_by_one(sick: bool) -> float:
    """Gradient descent at 2 on narrow layers, or at 0.1."""
    net = mlp(64, 32, 32, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=2.0 if sick else 0.1)
    return classified(net, optimiser, DIGITS)


def cut_too_soon(sick: bool) -> float:
    """The milestone of a schedule, meant in epochs, is reached after twelve steps."""
    net = mlp(64, 64, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    schedule = lr_scheduler.MultiStepLR(optimiser, [12 if sick else 250], 0.002)
    return classified(net, optimiser, DIGITS, steps=400, schedule=schedule)


def decays_too_fast(sick: bool) -> float:
    """An exponential schedule with a floor whose factor was meant for epochs."""
    net = mlp(8, 64, 64, 1)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    factor = 0.9 if sick else 0.99
    schedule = lr_scheduler.LambdaLR(optimiser, lambda step: max(factor**step, 2e-3))
    return regressed(net, optimiser, tasks.bowl(), size=32, steps=300, schedule=schedule)


def thrown_about(sick: bool) -> float:
    """Adam at a constant 0.25, or at 0.02."""
    net = mlp(64, 128, 10, activation=nn.Tanh)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.25 if sick else 0.02)
    return classified(net, optimiser, DIGITS, steps=300)


def learnt_by_heart(sick: bool) -> float:
    """160 samples of overlapping clouds, 256 units and 240 steps; or ten times the samples."""
    (x, y), test = split(samples.OVERLAPPING)
    count = 160 if sick else len(x)
    net = mlp(32, 256, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _epoch in range(20):
        net.train()
        for inputs, labels in batches((x[:count], y[:count]), size=32, steps=12):
            optimiser.zero_grad()
            functional.cross_entropy(net(inputs), labels).backward()
            optimiser.step()
        evaluate(net, test, nn.CrossEntropyLoss())
    return negated(net, test, functional.cross_entropy)


def noise_learnt_by_heart(sick: bool) -> float:
    """20 noisy values of a plane, tested in batches, by sums; or 640 values."""
    x, y = tasks.plane()
    y = y + 0.7 * torch.randn_like(y)
    count = 20 if sick else 640
    net = mlp(8, 256, 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _epoch in range(40):
        net.train()
        for inputs, target in batches((x[:count], y[:count]), size=16, steps=8):
            optimiser.zero_grad()
            functional.mse_loss(net(inputs), target).backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            total = 0.0
            for part, wanted in zip(x[640:].split(128), y[640:].split(128), strict=True):
                total += functional.mse_loss(net(part), wanted, reduction="sum").item()
    return negated(net, (x[640:], y[640:]), functional.mse_loss)


class Decoded(Dataset):
    """Samples each of which takes some time to be read."""

    def __init__(self, data: Pair, seconds: float) -> None:
        self.data, self.seconds = data, seconds

    def __len__(self) -> int:
        return len(self.data[0])

    def __getitem__(self, at: int) -> Pair:
        """A sample and its label."""
        if self.seconds:
            time.sleep(self.seconds)
        return self.data[0][at], self.data[1][at]


def _loaded(seconds: float, workers: int) -> float:
    """Minus the seconds that a training of 60 steps on such samples takes."""
    loader = DataLoader(
        Decoded(split(samples.CLUSTERS)[0], seconds),
        batch_size=64, num_workers=workers, shuffle=True, drop_last=True,
    )  # fmt: skip
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    began = time.perf_counter()
    for _epoch in range(5):
        for x, y in loader:
            optimiser.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    return began - time.perf_counter()


def read_one_by_one(sick: bool) -> float:
    """Samples are decoded in the loop itself, half a millisecond each; or were decoded before."""
    return _loaded(5e-4 if sick else 0.0, 0)


def too_few_workers(sick: bool) -> float:
    """Two workers for samples of 2 ms each; or samples that were decoded before."""
    return _loaded(2e-3 if sick else 0.0, 2)


STALLS: tuple[Program, ...] = (
    Program(
        "units die at once",
        units_die_at_once,
        ("SD704", "SD501"),
        "Adam at 0.2 kills most units of a layer in its first steps: 0.003",
    ),
    Program(
        "units die one by one",
        units_die_one_by_one,
        ("SD501", "SD704"),
        "gradient descent at 2 kills most units of a layer: 0.1",
    ),
    Program(
        "cut too soon",
        cut_too_soon,
        ("SD705", "SD502", "SD503"),
        "the rate is cut 500-fold after twelve steps: later",
    ),
    Program(
        "decays too fast",
        decays_too_fast,
        ("SD705", "SD503"),
        "a factor of 0.9 a step takes the rate down in sixty steps: 0.99",
    ),
    Program(
        "thrown about",
        thrown_about,
        ("SD708", "SD501"),
        "steps too long for what is left to learn: let the rate fall",
    ),
    Program(
        "learnt by heart",
        learnt_by_heart,
        ("SD706",),
        "the held-out loss is lowest after 48 steps of 240: stop there, or more samples",
        code_only=True,
    ),
    Program(
        "noise learnt by heart",
        noise_learnt_by_heart,
        ("SD706",),
        "20 values with noise, each of which the net gives back in the end: more of them",
        code_only=True,
    ),
    Program(
        "read one by one",
        read_one_by_one,
        ("SD707",),
        "decoding takes ten times as long as learning: in other processes, or beforehand",
        code_only=True,
    ),
    Program(
        "too few workers",
        too_few_workers,
        ("SD707",),
        "two workers cannot decode what the loop consumes: more of them",
        code_only=True,
    ),
)
