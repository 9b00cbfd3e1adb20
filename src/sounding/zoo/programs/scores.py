"""How well a net does at the end of a program: higher is better, the worst where it is not finite.

All of them put the net into evaluation mode, in which they leave it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

from sounding.zoo.programs.usual import Loss, Pair, fit, split

WORST = -100.0  # of a loss, negated


def classified(
    net: nn.Module,
    optimiser: Optimizer,
    data: Pair,
    loss: Loss = functional.cross_entropy,
    **how: Any,
) -> float:
    """Train as usual; the accuracy on what was held out."""
    fit(net, optimiser, data, loss, **how)
    return accuracy(net, split(data)[1])


def regressed(
    net: nn.Module,
    optimiser: Optimizer,
    data: Pair,
    loss: Loss = functional.mse_loss,
    **how: Any,
) -> float:
    """Train as usual; the share of the variance that is explained on what was held out."""
    fit(net, optimiser, data, loss, **how)
    return explained(net, split(data)[1])


def accuracy(net: nn.Module, data: Pair) -> float:
    """Share of the classes that are right; of a single output the sign decides."""
    return hits(_output(net, data), data[1]).mean().item()


def balanced(net: nn.Module, data: Pair) -> float:
    """Mean over the classes of the share that is found."""
    right = hits(_output(net, data), data[1])
    labels = data[1].flatten().long()
    return torch.stack([right[labels == k].mean() for k in labels.unique()]).mean().item()


def hits(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 where the class is right, else 0, flat; without finite outputs nothing is right."""
    single = output.dim() == 1 or output.shape[1] == 1
    chosen = (output > 0).long() if single else output.argmax(1)
    right = (chosen.flatten() == labels.flatten().long()).float()
    return right * bool(torch.isfinite(output).all())


def explained(net: nn.Module, data: Pair) -> float:
    """Share of the targets' variance that is explained, at least -1."""
    output, target = _output(net, data).flatten(), data[1].flatten()
    share = (1 - (output - target).square().mean() / target.var()).item()
    return max(-1.0, share) if share == share else -1.0


def negated(net: nn.Module, data: Pair, loss: Loss) -> float:
    """Minus the loss, at least `WORST`."""
    with torch.no_grad():
        return kept_finite(-loss(net.eval()(data[0]), data[1]).item())


def kept_finite(score: float, worst: float = WORST) -> float:
    """The score, or the worst one for something that is no number or below it."""
    return max(worst, score) if score == score else worst


def likeness(fake: torch.Tensor, real: torch.Tensor) -> float:
    """Minus the energy distance of two clouds of points: 0 where they are alike."""
    between = 2 * torch.cdist(fake, real).mean()
    within = torch.cdist(fake, fake).mean() + torch.cdist(real, real).mean()
    return kept_finite((within - between).item())


def one_by_one(net: Callable[[torch.Tensor], torch.Tensor], data: Pair, count: int = 128) -> float:
    """Accuracy where every sample comes alone, as a service is asked."""
    with torch.no_grad():
        outputs = [net(row[None]) for row in data[0][:count]]
    return hits(torch.cat(outputs), data[1][:count]).mean().item()


def _output(net: nn.Module, data: Pair) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(data[0])
