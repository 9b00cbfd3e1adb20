"""SD101, SD102: sick programs whose numbers leave what their format can hold."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import Residual, mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.models import Autoencoder, Bag, critic
from sounding.zoo.programs.scores import accuracy, classified, explained, negated
from sounding.zoo.programs.usual import Loss, Pair, batches, fit, split


def coinciding_points(sick: bool) -> float:
    """Distances of mapped pairs are fitted; the two points of some pairs are the same."""
    pairs = torch.randn(512, 2, 8)
    pairs[::8, 1] = pairs[::8, 0]
    distance = (pairs[:, 0] - pairs[:, 1]).norm(dim=1)
    net = nn.Linear(8, 8, bias=False)
    inside = 0.0 if sick else 1e-8

    def loss(mapped: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        square = (mapped[:, 0] - mapped[:, 1]).square().sum(1)
        return functional.mse_loss((square + inside).sqrt(), target)

    fit(net, torch.optim.Adam(net.parameters(), lr=1e-2), (pairs, distance), loss, steps=200)
    return negated(net, split((pairs, distance))[1], loss)


class SquaredRelu(nn.Module):
    """The square of a rectifier, in a narrow format."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 256), nn.Linear(256, 10)
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = torch.relu(self.up(x)).to(self.dtype).square()
        return functional.linear(x, self.down.weight.to(self.dtype) * 1e-4).float()


def squares_in_half(sick: bool) -> float:
    """Inputs of size 300, squared in float16, which ends at 65,504, or in bfloat16."""
    x, y = samples.CLUSTERS
    net = SquaredRelu(torch.float16 if sick else torch.bfloat16)
    return classified(net, torch.optim.Adam(net.parameters()), (300 * x, y), steps=150)


def log_of_certainty(sick: bool) -> float:
    """A critic's cross-entropy written out: once p is exactly 1, it adds 0 times log(1 - p)."""
    net = critic()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    points = torch.cat([2 * tasks.crescent(), 0.3 * torch.randn(1024, 2) - 4])
    real = (torch.arange(2048) < 1024).float()[:, None]
    for x, y in batches((points, real), steps=250):
        optimiser.zero_grad()
        if sick:
            p = torch.sigmoid(net(x))
            loss = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
        else:
            loss = functional.binary_cross_entropy_with_logits(net(x), y)
        loss.backward()
        optimiser.step()
    return accuracy(net, (points, real))


class Attending(nn.Module):
    """Attention over the words that are there; `out` is what the others' scores are set to."""

    def __init__(self, out: float) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 32)
        self.query, self.head = nn.Linear(32, 1), nn.Linear(32, 5)
        self.out = out

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = self.table(words)
        scores = self.query(torch.tanh(x)).masked_fill((words == 0)[..., None], self.out)
        return self.head((scores.softmax(1) * x).sum(1))


def _some_empty() -> tuple[torch.Tensor, torch.Tensor]:
    words, topic = tasks.bags()
    words = words.clone()
    words[::50] = 0
    return words, topic


def attention_to_nothing(sick: bool) -> float:
    """A text of padding alone: all scores are -inf, and their softmax is 0 / 0."""
    net = Attending(float("-inf") if sick else -1e4)
    return classified(net, torch.optim.Adam(net.parameters(), lr=1e-2), _some_empty(), steps=150)


class MeanOfWords(nn.Module):
    """The mean of the words that are there, divided by their number or at least by `least`."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 32)
        self.layers = mlp(32, 32, 5)
        self.least = least

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        there = (words != 0).float()[..., None]
        total = (self.table(words) * there).sum(1)
        return self.layers(total / there.sum(1).clamp_min(self.least))


def mean_of_nothing(sick: bool) -> float:
    """The mean of the words of a text that has none."""
    net = MeanOfWords(0.0 if sick else 1.0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    return classified(net, optimiser, _some_empty(), steps=150)


def _autocast(net: nn.Module, data: Pair, loss: Loss, *, scaled: bool, lr: float) -> float:
    """Train with float16 inside of the net; the share of the variance that is explained."""
    train, test = split(data)
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    for x, y in batches(train, steps=150):
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            output = net(x)
        scaler.scale(loss(output.float(), y)).backward()
        scaler.step(optimiser)
        scaler.update()
    return explained(net, test)


def square_metres(sick: bool) -> float:
    """Millimetres as metres: 1e-6 in the loss, 1e-8 in its gradient, 6e-8 the least of float16."""

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(1e-3 * output, 1e-3 * target)

    return _autocast(mlp(8, 32, 32, 1), tasks.bowl(), loss, scaled=not sick, lr=1e-2)


def small_share_of_a_loss(sick: bool) -> float:
    """A reconstruction that is weighted by 1e-5 against other terms."""

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 1e-5 * functional.mse_loss(output, target)

    return _autocast(Autoencoder(width=32), tasks.pixels(), loss, scaled=not sick, lr=1e-2)


def epsilon_in_half(sick: bool) -> float:
    """Adam on float16 weights: its epsilon of 1e-8 is 0 there, and a squared gradient too."""
    net = Bag()
    if sick:
        net.half()
    train, test = split(tasks.bags())
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for words, topic in batches(train, steps=100):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(words).float(), topic)
        loss.backward()
        optimiser.step()
    return accuracy(net, test)


def updates_rounded_away(sick: bool) -> float:
    """Weights in bfloat16, of 8 binary digits: a step below 1/512 of a weight is lost."""
    net = Residual(3, last=0.3)
    train, test = split(samples.flat_digits())
    kind = torch.bfloat16 if sick else torch.float32
    net.to(kind)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    for x, y in batches(train, steps=400, size=32):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x.to(kind)).float(), y)
        loss.backward()
        optimiser.step()
    return accuracy(net.float(), test)


NUMBERS = (
    Program(
        "distance of coinciding points",
        coinciding_points,
        ("SD101",),
        "sqrt has an infinite slope at 0, and infinity times 0 is no number: add 1e-8 inside",
        "pytorch/pytorch#6394",
        code_only=True,
    ),
    Program(
        "squares beyond float16",
        squares_in_half,
        ("SD101",),
        "a hidden activation exceeds 65,504: compute it in bfloat16 or float32",
        "huggingface/transformers#5651",
        code_only=True,
    ),
    Program(
        "cross-entropy written out",
        log_of_certainty,
        ("SD101",),
        "log(1 - p) of a p that has been rounded to 1: binary_cross_entropy_with_logits",
        code_only=True,
    ),
    Program(
        "attention to padding alone",
        attention_to_nothing,
        ("SD101",),
        "a softmax over -inf only is 0 / 0: mask with a large finite number",
        "pytorch/pytorch#103749",
        code_only=True,
    ),
    Program(
        "mean of no words",
        mean_of_nothing,
        ("SD101",),
        "a sum of nothing is divided by a count of 0: count at least 1",
        code_only=True,
    ),
    Program(
        "square metres in float16",
        square_metres,
        ("SD102",),
        "gradients of 1e-8 are 0 in float16: scale the loss (GradScaler)",
        code_only=True,
    ),
    Program(
        "small share of a loss in float16",
        small_share_of_a_loss,
        ("SD102",),
        "a loss of weight 1e-5 has no gradient in float16: scale it (GradScaler)",
        code_only=True,
    ),
    Program(
        "adam on float16 weights",
        epsilon_in_half,
        ("SD102", "SD101"),
        "Adam's epsilon underflows to 0: keep the weights in float32",
        "pytorch/pytorch#8860",
        code_only=True,
    ),
    Program(
        "updates rounded away",
        updates_rounded_away,
        ("SD102",),
        "steps are below the spacing of bfloat16 weights: keep the weights in float32",
        code_only=True,
    ),
)
