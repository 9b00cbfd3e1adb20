"""The usual training loop, for programs in which something else is of interest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

Pair = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def split(data: Pair) -> tuple[Pair, Pair]:
    """Four fifths to train on, and the rest."""
    count = len(data[0]) * 4 // 5
    return (data[0][:count], data[1][:count]), (data[0][count:], data[1][count:])


def batches(data: Pair, *, size: int = 64, steps: int = 250) -> Iterator[Pair]:
    """So many batches, none of which has a sample twice."""
    for _ in range(steps):
        rows = torch.randperm(len(data[0]))[:size]
        yield data[0][rows], data[1][rows]


def ending(losses: list[float]) -> float:
    """Mean of the last tenth, at least of one."""
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def fit(
    net: nn.Module,
    optimiser: Optimizer,
    data: Pair,
    loss: Loss,
    *,
    steps: int = 250,
    size: int = 64,
    clip: float | None = None,
    schedule: Any = None,
) -> float:
    """Train on four fifths of the data, evaluate on the rest; the last training loss.

    The schedule, if there is one, goes on after every step.
    """
    train, test = split(data)
    losses: list[float] = []
    net.train()
    for x, y in batches(train, size=size, steps=steps):
        optimiser.zero_grad()
        value = loss(net(x), y)
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimiser.step()
        if schedule is not None:
            schedule.step()
        losses.append(value.item())
    evaluate(net, test, loss)
    return ending(losses)


def evaluate(net: nn.Module, data: Pair, loss: Loss) -> float:
    """The loss of all of `data` in evaluation mode, in which the net is left."""
    net.eval()
    with torch.no_grad():
        return loss(net(data[0]), data[1]).item()
