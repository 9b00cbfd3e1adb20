"""SD601, SD605, SD606, SD608: sick programs whose normalisation goes by the wrong numbers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import resnet
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import ConvAutoencoder
from sounding.zoo.programs.scores import accuracy, classified, explained, regressed
from sounding.zoo.programs.usual import Pair, batches, fit, split


def _normed(norm: type[nn.Module], inputs: int = 32, outputs: int = 10) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, 64), norm(64), nn.ReLU(), nn.Linear(64, 64), norm(64), nn.ReLU()),
        nn.Linear(64, outputs),
    )


def two_samples_a_batch(sick: bool) -> float:
    """Batch norm over two samples, or layer norm."""
    net = _normed(nn.BatchNorm1d if sick else nn.LayerNorm)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02)
    return classified(net, optimiser, samples.CLUSTERS, size=2, steps=600)


def two_images_a_batch(sick: bool) -> float:
    """A convolutional net whose last maps are single pixels, normalised over two images."""
    norm = nn.BatchNorm2d if sick else (lambda channels: nn.GroupNorm(4, channels))
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2), norm(16), nn.ReLU(), nn.Conv2d(16, 32, 3), norm(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32, 10)),
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.5)
    return classified(net, optimiser, samples.image_digits(), size=2, steps=500)


class Summary(nn.Module):
    """The last state of a GRU, normalised, and two layers on it."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.recurrent = nn.GRU(1, 24, batch_first=True)
        self.norm = norm(24)
        self.head = nn.Linear(24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A column."""
        return self.head(self.norm(self.recurrent(x)[0][:, -1]))


def two_series_a_batch(sick: bool) -> float:
    """A regression from batch-normed states, two series at a time: their difference is lost."""
    net = Summary(nn.BatchNorm1d if sick else nn.LayerNorm)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    return regressed(net, optimiser, tasks.series(), size=2, steps=300)


def statistics_of_the_start(sick: bool) -> float:
    """A momentum of 1e-4: after 150 steps the averages are mostly those of the start."""
    net = _normed(nn.BatchNorm1d)
    for layer in net:
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1e-4 if sick else 0.1
    x, y = samples.CLUSTERS
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return classified(net, optimiser, (10 * x + 40, y), steps=150)


def averaged_weights(sick: bool) -> float:
    """Weights are averaged over the last steps, and the statistics of the first one are kept."""
    net = resnet(1)
    train, test = split(samples.image_digits())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    average = torch.optim.swa_utils.AveragedModel(net)
    for step, (x, y) in enumerate(batches(train, size=32, steps=120)):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        if step >= 60:
            average.update_parameters(net)
    if not sick:
        parts = [(x,) for x in train[0].split(64)]
        torch.optim.swa_utils.update_bn(parts, average)
    return accuracy(average, test)


def statistics_of_other_images(sick: bool) -> float:
    """An autoencoder's averages were taken at the end over images that are ten times darker."""
    net = ConvAutoencoder()
    x = tasks.pixels()[0].view(-1, 1, 8, 8)
    train, test = split((x, x))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for inputs, target in batches(train, size=32, steps=120):
        optimiser.zero_grad()
        loss = functional.mse_loss(net(inputs), target)
        loss.backward()
        optimiser.step()
    for _ in range(30):
        with torch.no_grad():
            net(train[0][:64] / (10 if sick else 1))
    return explained(net, test)


def zero_scales(sick: bool) -> float:
    """All scales of batch norm start at 0, in a net without skips."""
    net = _normed(nn.BatchNorm1d)
    if sick:
        for layer in net:
            if isinstance(layer, nn.BatchNorm1d):
                nn.init.zeros_(layer.weight)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    return classified(net, optimiser, samples.CLUSTERS, steps=150)


def zero_scales_of_filters(sick: bool) -> float:
    """A rule for residual branches, zero scales, was applied to every norm of a plain net."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3)),
        *(nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10)),
    )
    for layer in net:
        if sick and isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.weight)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return classified(net, optimiser, samples.image_digits(), size=32, steps=120)


class Pooled(nn.Module):
    """Tokens through two normalised layers, and their mean to five topics."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 32)
        self.first, self.norm1 = nn.Linear(32, 32), nn.LayerNorm(32)
        self.second, self.norm2 = nn.Linear(32, 32), nn.LayerNorm(32)
        self.head = nn.Linear(32, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = torch.relu(self.norm1(self.first(self.table(words))))
        x = torch.relu(self.norm2(self.second(x)))
        return self.head(x.mean(1))


def scales_lost_in_loading(sick: bool) -> float:
    """A checkpoint without layer norms was loaded over zeros."""
    net = Pooled()
    if sick:
        for norm in (net.norm1, net.norm2):
            nn.init.zeros_(norm.weight)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    return classified(net, optimiser, tasks.bags(), steps=150)


def _head_trained(net: nn.Sequential, data: Pair, *, sick: bool, size: int, steps: int) -> float:
    """Train the last layer; the frozen body stays in evaluation mode, or is forgotten in train."""
    train, test = split(data)
    optimiser = torch.optim.Adam(net[1].parameters(), lr=1e-2)
    for x, y in batches(train, size=size, steps=steps):
        net.train()
        if not sick:
            net[0].eval()
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def frozen_norms_of_vectors(sick: bool) -> float:
    """Three frozen layers with batch norm in training mode, and batches of two."""
    net = _normed(nn.BatchNorm1d)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    fit(net, optimiser, samples.CLUSTERS, functional.cross_entropy, steps=200)
    x, y = samples.CLUSTERS
    other = nn.Sequential(net[:-1].requires_grad_(False), nn.Linear(64, 3))
    return _head_trained(other, (x, y % 3), sick=sick, size=2, steps=200)


def _second_head(net: nn.Sequential, first: Pair, second: Pair, *, sick: bool) -> float:
    """Learn `first`, then `second` with a new head on the frozen body; how well both are known."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    fit(net, optimiser, first, functional.cross_entropy, size=32, steps=120)
    width = net[-1].get_parameter("weight").shape[1]
    other = nn.Sequential(net[:-1].requires_grad_(False), nn.Linear(width, 2))
    new = _head_trained(other, second, sick=sick, size=16, steps=100)
    return (new + accuracy(net, split(first)[1])) / 2


def frozen_norms_of_images(sick: bool) -> float:
    """The frozen body serves its old head too, and its averages go over to the new, dark images."""
    x, y = samples.image_digits()
    return _second_head(resnet(1), (x, y), (x / 4 - 2, y % 2), sick=sick)


def frozen_norms_of_sequences(sick: bool) -> float:
    """The same with convolutions over time, and new sequences at another level."""
    net = nn.Sequential(
        *(nn.Conv1d(8, 24, 3), nn.BatchNorm1d(24), nn.ReLU(), nn.Flatten(), nn.Linear(192, 2)),
    )
    x, y = tasks.recall(1024, 10, at=-2)
    x = x.transpose(1, 2)
    return _second_head(net, (x, y), (3 * x + 4, 1 - y), sick=sick)


NORMALISATION: tuple[Program, ...] = (
    Program(
        "two samples a batch",
        two_samples_a_batch,
        ("SD601",),
        "batch norm over two samples leaves a sign of each number: larger batches, or layer norm",
        "pytorch/pytorch#4741",
    ),
    Program(
        "two images a batch",
        two_images_a_batch,
        ("SD601",),
        "maps of one pixel, normalised over two images: larger batches, or group norm",
        "pytorch/pytorch#19916",
    ),
    Program(
        "two series a batch",
        two_series_a_batch,
        ("SD601",),
        "states of two series are normalised against each other: larger batches, or layer norm",
    ),
    Program(
        "statistics of the start",
        statistics_of_the_start,
        ("SD605",),
        "a momentum of 1e-4 keeps the averages where they began: 0.1",
    ),
    Program(
        "averaged weights",
        averaged_weights,
        ("SD605",),
        "averaged weights with statistics of other weights: update_bn",
        code_only=True,
    ),
    Program(
        "statistics of other images",
        statistics_of_other_images,
        ("SD605",),
        "the averages were taken over images ten times darker: take them over the training's",
        code_only=True,
    ),
    Program(
        "zero scales",
        zero_scales,
        ("SD606", "SD301"),
        "all scales of batch norm are 0, and nothing passes: 1",
    ),
    Program(
        "zero scales of filters",
        zero_scales_of_filters,
        ("SD606", "SD301"),
        "zero scales belong at the ends of residual branches only: 1",
    ),
    Program(
        "scales lost in loading",
        scales_lost_in_loading,
        ("SD606", "SD301"),
        "two layer norms multiply by 0: set their scales to 1",
    ),
    Program(
        "frozen norms of vectors",
        frozen_norms_of_vectors,
        ("SD608", "SD601"),
        "the frozen body still normalises by the batch, of two: body.eval()",
        code_only=True,
    ),
    Program(
        "frozen norms of images",
        frozen_norms_of_images,
        ("SD608",),
        "the frozen body's averages follow the new images, and its old task is lost: body.eval()",
        code_only=True,
    ),
    Program(
        "frozen norms of sequences",
        frozen_norms_of_sequences,
        ("SD608",),
        "the frozen body's averages follow the new data, and its old task is lost: body.eval()",
        code_only=True,
    ),
)
