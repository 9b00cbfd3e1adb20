"""Choi et al. 2019: with a large epsilon, Adam and RMSProp are momentum and gradient descent.

Each pair of optimisers trains the same net on the same batches in float64. The learning rate of the
adaptive one is that of the other times epsilon, so that lr / (sqrt(v) + eps) tends to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.samples import digit_images
from sounding.train import seeded
from sounding.verdict import Verdict, mean, overall, slope, within

BETA, LR = 0.9, 0.1
PAIRS = ("Adam and momentum", "RMSProp and gradient descent", "RMSProp and heavy ball")
EPSILONS = (1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
SEEDS, TOLERANCE = (0, 1, 2), 0.02

STATEMENT = (
    "Momentum is a special case of Adam, and gradient descent and heavy ball of RMSProp: with the "
    "learning rate scaled by epsilon the paths differ in proportion to 1 / epsilon"
)
CRITERION = (
    "a tanh net on digits, float64, {} steps, epsilon from 1e2 to 1e8: the slope of log distance "
    "between the weights over log epsilon is -1, its mean over {} seeds within "
    f"±{TOLERANCE} (t-interval), for Adam without bias correction against momentum with dampening, "
    "RMSProp against gradient descent, RMSProp with momentum against heavy ball"
)


def quick(lab: Lab, *, steps: int = 100, seeds: Sequence[int] = SEEDS) -> Measured:
    """Every pair at every epsilon."""
    settings = grid(seeds, pair=list(PAIRS), steps=[steps], epsilons=[list(EPSILONS)])
    runs = lab.map(distances, settings)
    table = np.array([run["distances"] for run in runs]).reshape(len(PAIRS), len(seeds), -1)
    parts = [_slopes(pair, rows, seeds) for pair, rows in zip(PAIRS, table, strict=True)]
    verdict = overall(
        parts[0], parts, statement=STATEMENT, criterion=CRITERION.format(steps, len(seeds))
    )
    return (verdict, *parts), [_chart(table)]


CLAIM = Claim(
    name="choi-2019-inclusion",
    topic="adaptive methods",
    claim=STATEMENT,
    source=(
        "Choi, Shallue, Nado, Lee, Maddison, Dahl, 'On Empirical Comparisons of Optimizers for "
        "Deep Learning', 2019, section 3"
    ),
    link="https://arxiv.org/abs/1910.05446",
    criterion=CRITERION.format(100, len(SEEDS)),
    full_criterion=CRITERION.format(1000, 10),
    quick=quick,
    full=functools.partial(quick, steps=1000, seeds=tuple(range(10))),
    how=(
        "The distance is that between the two weight vectors at the end, over the length of the "
        "way that the non-adaptive one has come. Gradient descent, heavy ball and both RMSProps "
        "are torch's; Adam without bias correction and momentum with dampening from the first "
        "step, which torch lacks, are written out."
    ),
    depends=(
        "So a search space of Adam that holds large epsilons holds momentum, and a comparison that "
        "tunes everything cannot find Adam worse; one that leaves epsilon at 1e-8 can. With bias "
        "correction Adam tends to momentum with a learning rate that falls over the first steps."
    ),
)


# --- paths ----------------------------------------------------------------------------------------


def distances(pair: str, steps: int, epsilons: Sequence[float], seed: int) -> dict[str, np.ndarray]:
    """(epsilons,) Relative distance of the adaptive path's end from the other one's."""
    start = _descend(seed, 0)
    plain = _descend(seed, steps, pair)
    way = torch.linalg.vector_norm(plain - start)
    ends = [_descend(seed, steps, pair, epsilon) for epsilon in epsilons]
    return {
        "distances": np.array([float(torch.linalg.vector_norm(end - plain) / way) for end in ends])
    }


def _descend(
    seed: int, steps: int, pair: str = PAIRS[0], epsilon: float | None = None
) -> torch.Tensor:
    """The weights after `steps`, by the second optimiser of the pair; by the first with epsilon."""
    x, y = digit_images().train
    with seeded(seed):
        net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    rows = torch.Generator().manual_seed(seed)
    weights = list(net.parameters())
    step = _optimiser(pair, weights, epsilon)
    for _ in range(steps):
        batch = torch.randint(len(y), (64,), generator=rows)
        loss = functional.cross_entropy(net(x[batch].double()), y[batch])
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        step()
    return torch.cat([weight.detach().flatten() for weight in weights])


def _optimiser(
    pair: str, weights: list[nn.Parameter], epsilon: float | None
) -> Callable[[], object]:
    """What makes one step, given gradients."""
    if pair == PAIRS[0]:
        return _Moments(weights, epsilon).step
    momentum = BETA if pair == PAIRS[2] else 0.0
    if epsilon is None:
        return torch.optim.SGD(weights, lr=LR, momentum=momentum).step
    return torch.optim.RMSprop(weights, lr=LR * epsilon, eps=epsilon, momentum=momentum).step


class _Moments:
    """Adam without bias correction; without epsilon momentum with dampening 1 - beta."""

    def __init__(self, weights: list[nn.Parameter], epsilon: float | None) -> None:
        self.weights, self.epsilon = weights, epsilon
        self.first = [torch.zeros_like(weight) for weight in weights]
        self.second = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients that the weights hold."""
        for weight, first, second in zip(self.weights, self.first, self.second, strict=True):
            assert weight.grad is not None
            first.mul_(BETA).add_(weight.grad, alpha=1 - BETA)
            if self.epsilon is None:
                weight -= LR * first
                continue
            second.mul_(0.999).addcmul_(weight.grad, weight.grad, value=0.001)
            weight -= LR * self.epsilon * first / (second.sqrt() + self.epsilon)


# --- verdicts -------------------------------------------------------------------------------------


def _slopes(pair: str, rows: np.ndarray, seeds: Sequence[int]) -> Verdict:
    """`rows` (S, epsilons)."""
    slopes = [slope(np.log(EPSILONS), np.log(row)).value for row in rows]
    return within(
        mean(slopes),
        -1 - TOLERANCE,
        -1 + TOLERANCE,
        statement=f"{pair} differ in proportion to 1 / epsilon",
        unit="decades a decade",
        seeds=seeds,
        note=f"mean distance {rows[:, 0].mean():.2g} at epsilon {EPSILONS[0]:g}, "
        f"{rows[:, -1].mean():.2g} at {EPSILONS[-1]:g}",
    )


def _chart(table: np.ndarray) -> Chart:
    """`table` (pairs, S, epsilons)."""
    epsilons = np.array(EPSILONS)
    lines = [
        Line(label=pair, x=epsilons, y=rows.mean(0))
        for pair, rows in zip(PAIRS, table, strict=True)
    ]
    theory = table[0, :, 0].mean() * epsilons[0] / epsilons
    lines.append(Line(label="1 / epsilon", x=epsilons, y=theory, theory=True))
    return Chart(
        title="An adaptive method becomes the one that it holds",
        x_label="epsilon",
        y_label="distance of the weights, of the way",
        lines=tuple(lines),
        log_x=True,
        log_y=True,
    )
