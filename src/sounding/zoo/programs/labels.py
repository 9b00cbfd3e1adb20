"""SD415, SD416: sick programs with labels beside their classes, or samples that come twice."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import LeNet, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Tagger
from sounding.zoo.programs.scores import accuracy
from sounding.zoo.programs.usual import batches, split
from sounding.zoo.sequences import Recurrent


def counted_from_one(sick: bool) -> float:
    """Training labels run from 1 to 10, and a net of 11 outputs hides it; the test's from 0."""
    (x, y), test = split(samples.CLUSTERS)
    net = mlp(32, 64, 11 if sick else 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for inputs, labels in batches((x, y + 1 if sick else y), steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def ignored_class(sick: bool) -> float:
    """`ignore_index=0`, meant for padding, leaves out the tag 0 of a tagger."""
    train, test = split(tasks.tagged())
    net = Tagger(nn.LSTM)
    criterion = nn.CrossEntropyLoss(ignore_index=0 if sick else -100)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for tokens, tags in batches(train, size=32, steps=80):
        optimiser.zero_grad()
        loss = criterion(net(tokens), tags)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def clamped_labels(sick: bool) -> float:
    """Labels were shifted by one and clamped to fit: the last two classes are one."""
    (x, y), test = split(samples.image_digits())
    net = LeNet()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    labels = (y + 1).clamp(max=9) if sick else y
    for images, wanted in batches((x, labels), size=32, steps=150):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(images), wanted)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def few_samples_many_times(sick: bool) -> float:
    """Two samples fill a batch of 64, 32 times each."""
    train, test = split(samples.OVERLAPPING)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(120):
        rows = torch.randperm(len(train[0]))[:64]
        rows = rows[:2].repeat(32) if sick else rows
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(train[0][rows]), train[1][rows])
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def workers_of_one_seed(sick: bool) -> float:
    """Sixteen workers that draw with the same seed bring the same two images each."""
    train, test = split(samples.image_digits())
    net = LeNet()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for step in range(120):
        parts = []
        for worker in range(16):
            seed = step if sick else 16 * step + worker
            generator = torch.Generator().manual_seed(seed)
            parts.append(torch.randint(0, len(train[0]), (2,), generator=generator))
        rows = torch.cat(parts)
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(train[0][rows]), train[1][rows])
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def repeated_instead_of_augmented(sick: bool) -> float:
    """A sequence was to come in 32 noisy versions; it comes 32 times as it is."""
    train, test = split(tasks.recall(512, 12, at=-2))
    net = Recurrent(nn.LSTM)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for x, y in batches(train, size=1 if sick else 32, steps=120):
        many = 32 if sick else 1
        inputs, labels = x.repeat_interleave(many, 0), y.repeat_interleave(many, 0)
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


LABELS: tuple[Program, ...] = (
    Program(
        "counted from one",
        counted_from_one,
        ("SD415",),
        "labels from 1 to 10 for outputs from 0 to 10: subtract 1",
        code_only=True,
    ),
    Program(
        "ignored class",
        ignored_class,
        ("SD415",),
        "ignore_index=0 leaves out a class that is none: leave it at -100",
        code_only=True,
    ),
    Program(
        "clamped labels",
        clamped_labels,
        ("SD415", "SD408"),
        "labels are shifted by one, and the last two classes are one: count from 0",
        code_only=True,
    ),
    Program(
        "few samples many times",
        few_samples_many_times,
        ("SD416",),
        "each sample is in the batch 32 times, so it holds two",
        code_only=True,
    ),
    Program(
        "workers of one seed",
        workers_of_one_seed,
        ("SD416",),
        "sixteen workers draw with the same seed, and bring the same images",
        "pytorch/pytorch#5059",
        code_only=True,
    ),
    Program(
        "repeated instead of augmented",
        repeated_instead_of_augmented,
        ("SD416",),
        "32 copies of one sequence make a batch: augment them, or draw 32",
        code_only=True,
    ),
)
