"""Healthy trainings whose step is more than one backward call in single precision."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs.usual import batches, ending, evaluate, split

CLUSTERS, DIGITS = samples.CLUSTERS, samples.flat_digits()


def accumulation(_: bool) -> float:
    """Eight small batches a step, each loss divided by eight; zeroed only after the step."""
    train, test = split(CLUSTERS)
    net = mlp(32, 64, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for number, (x, y) in enumerate(batches(train, size=8, steps=1200)):
        loss = functional.cross_entropy(net(x), y)
        (loss / 8).backward()
        losses.append(loss.item())
        if (number + 1) % 8 == 0:
            optimiser.step()
            optimiser.zero_grad()
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def worse_and_worse_labels(_: bool) -> float:
    """The clean labels come first; in the end six in ten are drawn at random."""
    train, test = split(CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for step, (x, y) in enumerate(batches(train, steps=400)):
        wrong = torch.rand(len(y)) < 0.6 * step / 400
        labels = torch.where(wrong, torch.randint(0, 10, y.shape), y)
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def scaled_loss(_: bool) -> float:
    """As mixed precision does by hand: scaled up, scaled down, and only then clipped."""
    train, test = split(CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2)
    losses, scale = [], 2.0**16
    for x, y in batches(train, steps=250):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        (scale * loss).backward()
        for p in net.parameters():
            assert p.grad is not None
            p.grad /= scale
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def gradient_scaler(_: bool) -> float:
    """Torch's own scaler around float16, in its five lines."""
    train, test = split(CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cpu")
    losses = []
    for x, y in batches(train, steps=200):
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = functional.cross_entropy(net(x).float(), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimiser)
        scaler.update()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def bfloat16(_: bool) -> float:
    """Autocast around the forward pass and the loss; no scaling is needed."""
    train, test = split(DIGITS)
    net = mlp(64, 128, 10)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    losses = []
    for x, y in batches(train, steps=200):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def towards_flat_minima(_: bool) -> float:
    """Foret et al. 2021: the gradient is taken a little uphill, and used where the step began."""
    train, test = split(CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for x, y in batches(train, steps=200):
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        slopes = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        norm = torch.stack([s.norm() for s in slopes]).norm() + 1e-12
        with torch.no_grad():
            moves = [0.05 * s / norm for s in slopes]
            for p, move in zip(net.parameters(), moves, strict=True):
                p.add_(move)
        optimiser.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for p, move in zip(net.parameters(), moves, strict=True):
                p.sub_(move)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


def regularised_by_hand(_: bool) -> float:
    """An L2 term in the loss, the sum over the batch instead of the mean, a rate to match."""
    train, test = split(CLUSTERS)
    net = mlp(32, 64, 10)
    optimiser = torch.optim.SGD(net.parameters(), lr=2e-3, momentum=0.9)
    losses = []
    for x, y in batches(train, steps=200):
        penalty = sum(p.square().sum() for p in net.parameters())
        entropy = functional.cross_entropy(net(x), y, reduction="sum")
        optimiser.zero_grad()
        (entropy + 1e-3 * penalty).backward()
        optimiser.step()
        losses.append(entropy.item() / len(y))
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


class Signs(torch.autograd.Function):
    """Forward the sign, backward the identity where |w| < 1 (Courbariaux et al. 2016)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, w: torch.Tensor) -> torch.Tensor:
        """1 or -1."""
        ctx.save_for_backward(w)
        return w.sign()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor):
        """As if the sign had slope 1 near zero."""
        (w,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0] * (w.abs() < 1)


class Binary(nn.Module):
    """A hidden layer whose weights are signs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(128, 32))
        self.norm = nn.BatchNorm1d(128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        x = functional.linear(x, Signs.apply(self.weight))
        return self.head(torch.relu(self.norm(x)))


def binary_weights(_: bool) -> float:
    """The gradient is not the one of the loss, on purpose."""
    train, test = split(CLUSTERS)
    net = Binary()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for x, y in batches(train, steps=200):
        optimiser.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluate(net, test, functional.cross_entropy)
    return -ending(losses)


STEPS: tuple[Program, ...] = (
    Program(
        "accumulation",
        accumulation,
        (),
        "accumulated gradients: on purpose over eight batches, divided by eight, zeroed after",
    ),
    Program(
        "scaled loss",
        scaled_loss,
        (),
        "exploding gradient, clipping sets the rate: 65,536 times too large, until unscaled",
    ),
    Program(
        "worse and worse labels",
        worse_and_worse_labels,
        (),
        "what was learnt is lost: the loss rises, for the batches become harder",
    ),
    Program(
        "gradient scaler",
        gradient_scaler,
        (),
        "half-precision underflow: float16, but scaled",
    ),
    Program("bfloat16", bfloat16, (), "half-precision underflow: it has float32's range"),
    Program(
        "towards flat minima",
        towards_flat_minima,
        (),
        "accumulated gradients, ascent: two backward calls a step, the first one to go uphill",
    ),
    Program(
        "regularised by hand",
        regularised_by_hand,
        (),
        "loss is not the mean: a sum over the batch and a penalty, with a rate to match",
    ),
    Program(
        "binary weights",
        binary_weights,
        (),
        "step is no descent, dead weights: the sign's slope is zero, so another is used",
    ),
)
