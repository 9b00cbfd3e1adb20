"""Healthy trainings by other losses than cross-entropy of logits, or by that one written out."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from sounding.zoo import samples
from sounding.zoo.nets import mlp
from sounding.zoo.program import Program
from sounding.zoo.programs import tasks
from sounding.zoo.programs.usual import Loss, Pair, fit

CLUSTERS, DIGITS = samples.CLUSTERS, samples.flat_digits()
CLOUDS = tasks.two_clouds()
OFTEN_RARE = tasks.rare_class(2048, share=0.05, shift=0.8)
PROPORTIONS = torch.tensor([1.0, 19.0])


def _trained(
    net: nn.Module, data: Pair, loss: Loss, *, lr: float = 3e-3, steps: int = 250, size: int = 64
) -> float:
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    return -fit(net, optimiser, data, loss, steps=steps, size=size)


def log_of_softmax(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The net ends in a softmax, of which this takes the logarithm, as it must."""
    return functional.nll_loss(torch.log(p + 1e-9), labels)


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Lin et al. 2017: what is right already counts little."""
    p = torch.sigmoid(logits[:, 1] - logits[:, 0])
    right = torch.where(labels == 1, p, 1 - p)
    return -((1 - right).square() * torch.log(right.clamp_min(1e-6))).mean()


def weighted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The few count as much as the many."""
    return functional.cross_entropy(logits, labels, weight=PROPORTIONS)


def quantiles(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Pinball loss of three quantiles (N, 3) and one target (N, 1), on purpose side by side."""
    share = torch.tensor([0.1, 0.5, 0.9])
    error = target - output
    return torch.maximum(share * error, (share - 1) * error).mean()


def squared_error_of_scores(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Hui and Belkin 2021: squared error on plain outputs, no softmax, classifies well."""
    return functional.mse_loss(output, functional.one_hot(labels, 10).float())


def brier(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared error of probabilities, summed over the classes (Brier 1950)."""
    return (logits.softmax(1) - functional.one_hot(labels, 10)).square().sum(1).mean()


def ranking(score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """RankNet (Burges et al. 2005): every pair of the batch, (N, 1) against (1, N) on purpose."""
    first, more = score - score.T, (target > target.T).float()
    return functional.binary_cross_entropy_with_logits(first, more)


def several_labels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Five yes-or-no questions about a digit."""
    questions = torch.stack([labels % 2, labels > 4, labels == 0, labels % 3 == 0, labels < 8], 1)
    return functional.binary_cross_entropy_with_logits(logits, questions.float())


def counts(count: int = 1024) -> Pair:
    """Poisson counts whose mean is the exponential of a sum; a column."""
    x = torch.randn(count, 6)
    return x, torch.poisson(torch.exp(1 + 0.5 * x[:, :1] - 0.5 * x[:, 1:2]))


def uneven_noise(count: int = 1024) -> Pair:
    """A sine whose noise grows from left to right."""
    x = 2 * torch.rand(count, 1) - 1
    return x, torch.sin(3 * x) + (0.15 + 0.1 * x) * torch.randn(count, 1)


def outliers(count: int = 1024) -> Pair:
    """A plane; one target in fifty is off by 15."""
    x, y = tasks.plane(count)
    return x, y + 15 * (torch.rand(count, 1) < 0.02)


class Gaussian(nn.Module):
    """A mean and a variance, both of them predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Columns."""
        mean, raw = self.body(x).chunk(2, 1)
        return mean, functional.softplus(raw) + 1e-4


def _two_outputs(output: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    return functional.gaussian_nll_loss(output[0], y, output[1])


def mixture(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Two normal distributions (Bishop 1994): weights, means, deviations in six columns."""
    logits, mean, log_std = output.chunk(3, 1)
    z = (y - mean) / log_std.exp()
    terms = logits.log_softmax(1) - log_std - 0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    return -terms.logsumexp(1).mean()


def two_branches(count: int = 1024) -> Pair:
    """One input, two possible answers: x or -x."""
    x = 0.5 + torch.rand(count, 1)
    return x, x * torch.randint(0, 2, (count, 1)).mul(2).sub(1) + 0.1 * torch.randn(count, 1)


def _last(net: nn.Sequential, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(*net, activation)


def _relu_counts(_: bool) -> float:
    net = _last(mlp(6, 64, 1), nn.ReLU())
    nn.init.constant_(net[2].bias, 3.0)  # type: ignore[arg-type]
    return _trained(net, counts(), functional.mse_loss, lr=1e-2, steps=300)


LOSSES: tuple[Program, ...] = (
    Program(
        "log of softmax",
        lambda _: _trained(_last(mlp(32, 64, 10), nn.Softmax(1)), CLUSTERS, log_of_softmax),
        (),
        "missing logarithm, softmax before the loss: the logarithm is there",
    ),
    Program(
        "log-softmax and nll",
        lambda _: _trained(_last(mlp(32, 64, 10), nn.LogSoftmax(1)), CLUSTERS, nn.NLLLoss()),
        (),
        "softmax before the loss: this one belongs there",
    ),
    Program(
        "sigmoid and cross-entropy",
        lambda _: _trained(_last(mlp(32, 32, 1), nn.Sigmoid()), CLOUDS, nn.BCELoss()),
        (),
        "sigmoid before the loss: this loss wants one",
    ),
    Program(
        "focal loss",
        lambda _: _trained(mlp(16, 32, 2), OFTEN_RARE, focal, steps=300),
        (),
        "sigmoid before the loss, class imbalance: written by hand, as published",
    ),
    Program(
        "class weights",
        lambda _: _trained(mlp(16, 32, 2), OFTEN_RARE, weighted, steps=300),
        (),
        "class imbalance: the weights make up for it",
    ),
    Program(
        "poisson regression",
        lambda _: _trained(mlp(6, 32, 1), counts(), nn.PoissonNLLLoss(), lr=5e-3),
        (),
        "negative loss, exploding output: the loss takes the exponential of the output itself",
    ),
    Program(
        "quantile regression",
        lambda _: _trained(mlp(1, 32, 3), uneven_noise(), quantiles, lr=1e-2),
        (),
        "broadcast loss: three quantiles are compared with one target on purpose",
    ),
    Program(
        "huber regression with outliers",
        lambda _: _trained(mlp(8, 32, 1), outliers(), functional.huber_loss, size=256),
        (),
        "gradient spikes, loss stays high: the loss of an outlier is 15 for ever, its slope 1",
    ),
    Program(
        "counts behind a relu",
        _relu_counts,
        (),
        "output range: counts are never negative; the floor is their own variance",
    ),
    Program(
        "squared error of scores",
        lambda _: _trained(mlp(64, 128, 10), DIGITS, squared_error_of_scores),
        (),
        "wrong loss for classes: without a softmax in between it is a good one",
    ),
    Program(
        "brier score",
        lambda _: _trained(mlp(32, 64, 10), CLUSTERS, brier),
        (),
        "wrong loss for classes: a proper score, and trained to the end",
    ),
    Program(
        "margins",
        lambda _: _trained(mlp(32, 64, 10), CLUSTERS, nn.MultiMarginLoss()),
        (),
        "vanishing gradient: exactly zero for whoever is right by the margin",
    ),
    Program(
        "ranking",
        lambda _: _trained(mlp(8, 32, 1), tasks.plane(), ranking, size=32),
        (),
        "broadcast loss, mixed samples: it compares all pairs of the batch on purpose",
    ),
    Program(
        "several labels",
        lambda _: _trained(mlp(64, 64, 5), DIGITS, several_labels),
        (),
        "class imbalance: each of the five questions has its own share of yes",
    ),
    Program(
        "mean and variance",
        lambda _: _trained(Gaussian(), uneven_noise(), _two_outputs, lr=1e-2, steps=400),  # type: ignore[arg-type]
        (),
        "negative loss, ascent: a density may be above 1",
    ),
    Program(
        "mixture of two answers",
        lambda _: _trained(mlp(1, 32, 6), two_branches(), mixture, lr=1e-2, steps=400),
        (),
        "loss stays high: which of two answers it will be cannot be told",
    ),
)
