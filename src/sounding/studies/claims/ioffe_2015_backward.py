"""Ioffe & Szegedy 2015: the gradient through batch normalisation, and a formula that is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured
from sounding.theory import batch_norm as closed
from sounding.verdict import Verdict, every, overall

SIZES = (4, 8, 16, 32, 64, 128, 256)
SEEDS = tuple(range(10))
FEATURES, EPS = 5, 1e-5  # two samples always become -1 and 1, so their gradient is all eps
IDENTITY, WRONG = 1e-10, 1e-3

STATEMENT = (
    "The gradient through batch normalisation is the chain rule's over the batch's mean and its "
    "variance divided by B, in one line (g - mean g - u mean(g u)) / s"
)
QUICK = (
    "Random batches of 4 to 256 samples, 10 seeds, double precision: gradients in parts, in one "
    f"line, and of scale and shift agree with automatic differentiation to {IDENTITY:g} of their "
    "size; the sum over the batch is 0, the product with z - mean is sum(g u) eps / s^2; the "
    f"formula without the factor (z - mean) is off by more than {WRONG:g} in every batch"
)


def quick(
    lab: Lab,
    *,
    sizes: Sequence[int] = SIZES,
    seeds: Sequence[int] = SEEDS,
    features: int = FEATURES,
) -> Measured:
    """Every size of batch on every seed."""
    settings = grid(seeds, batch=list(sizes), features=[features])
    lab.plan(len(settings))
    runs = lab.map(compared, settings)
    parts = [_identity(runs, key, statement) for key, statement in IDENTITIES.items()]
    parts += [_fails(runs, key, statement) for key, statement in MISTAKES.items()]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts), [_chart(runs, sizes, len(seeds))]


def full(
    lab: Lab,
    *,
    sizes: Sequence[int] = (*SIZES, 1024, 4096),
    seeds: Sequence[int] = tuple(range(100)),
    features: int = 64,
) -> Measured:
    """More seeds, features and sizes; on the CPU as well."""
    return quick(lab, sizes=sizes, seeds=seeds, features=features)


IDENTITIES = {
    "parts": "the chain rule over mean and variance, as published, is the gradient",
    "line": "(g - mean g - u mean(g u)) / s is the gradient",
    "scale": "the gradient of the scale is the sum of (gradient x u)",
    "shift": "the gradient of the shift is the sum of the gradients",
    "sum": "the gradients sum to zero over the batch",
    "product": "their product with z - mean is sum(g u) eps / s^2",
    "omitted": "the path from the mean through the variance adds nothing",
    "running": "PyTorch normalises by the variance divided by B, and remembers the one by B - 1",
}
MISTAKES = {
    "without": "the formula without (z - mean) in the gradient of the variance is wrong",
    "deviation": "a standard deviation in place of the variance under the root is wrong",
}

CLAIM = Claim(
    name="ioffe-2015-backward",
    topic="normalisation",
    claim=STATEMENT,
    source=(
        "Ioffe, Szegedy, 'Batch Normalization: Accelerating Deep Network Training by Reducing "
        "Internal Covariate Shift', ICML 2015, section 3"
    ),
    link="https://arxiv.org/abs/1502.03167",
    criterion=QUICK,
    full_criterion=QUICK.replace("4 to 256 samples", "4 to 4096 samples").replace(
        "10 seeds", "100 seeds"
    ),
    quick=quick,
    full=full,
    how=(
        "Batches of Gaussian numbers with random means and scales go through PyTorch's batch "
        "normalisation; the gradients that it computes are compared with the formulas, which are "
        "computed apart. Errors are in parts of the gradient's largest entry."
    ),
    changed=(
        "The bound on the wrong formula's error was lowered from 0.1 to 1e-3, because that "
        "error falls with the batch; batches of two, whose gradient is all epsilon, were left "
        "out."
    ),
    depends=(
        "Three things are often printed wrong. Without the factor (z - mean) inside the sum, the "
        "gradient of the variance is wrong, and with it the whole gradient: by something of its "
        "own size in small batches, and by some 1 / sqrt(B) of it where the samples' gradients "
        "have independent signs, since their sum then grows like sqrt(B). What stands under the "
        "root is the variance divided by B, not a standard deviation; scale and shift are learnt "
        "and are no statistics of the data. The gradient of the mean, in contrast, may leave out "
        "the path through the variance: that term is zero. The bound on the wrong formula was "
        "first set to 0.1, and lowered when its error was seen to shrink with the batch; batches "
        "of two, whose gradient is zero but for eps, were then left out."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def compared(batch: int, features: int, seed: int) -> dict[str, float]:
    """Errors of every formula on one random batch, in parts of the gradient's largest entry."""
    draw = np.random.default_rng([seed, batch])
    z = draw.normal(size=(batch, features)) * draw.uniform(0.5, 2, features) + draw.normal()
    above = draw.normal(size=(batch, features))  # the gradient that comes from above
    scale, shift = draw.normal(size=(2, features))
    truth, of_scale, of_shift = _automatic(z, above, scale, shift)
    g = above * scale
    u, s = closed.normalised(z, EPS)
    of_variance = closed.gradient_of_variance(g, z, EPS)
    of_mean = closed.gradient_of_mean(g, z, EPS)
    without = -0.5 * s**-3 * g.sum(0)
    largest = np.abs(truth).max()
    stretch = (truth * (z - z.mean(0))).sum(0) - (g * u).sum(0) * EPS / s**2

    def off(gradient: np.ndarray) -> float:
        return float(np.abs(gradient - truth).max() / largest)

    return {
        "parts": off(closed.gradient_by_parts(g, z, EPS, of_variance, of_mean)),
        "line": off(closed.gradient(g, z, EPS)),
        "scale": float(np.abs((above * u).sum(0) - of_scale).max()),
        "shift": float(np.abs(above.sum(0) - of_shift).max()),
        "sum": float(np.abs(truth.sum(0)).max() / largest),
        "product": float(np.abs(stretch).max() / np.abs(g).sum(0).max()),
        "omitted": float(np.abs(of_variance * -2 * (z - z.mean(0)).mean(0)).max() / largest),
        "without": off(closed.gradient_by_parts(g, z, EPS, without, of_mean)),
        **_statistics(z),
    }


def _automatic(
    z: np.ndarray, above: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> Sequence[np.ndarray]:
    """PyTorch's gradients with respect to z, scale and shift."""
    inputs = [torch.tensor(array, requires_grad=True) for array in (z, scale, shift)]
    out = functional.batch_norm(inputs[0], None, None, *inputs[1:], training=True, eps=EPS)
    return [grad.numpy() for grad in torch.autograd.grad((out * torch.tensor(above)).sum(), inputs)]


def _statistics(z: np.ndarray) -> dict[str, float]:
    """Which variance PyTorch divides by and which it remembers, and what a deviation would give."""
    norm = nn.BatchNorm1d(z.shape[1], eps=EPS, momentum=1.0).double()
    with torch.no_grad():
        out = norm(torch.tensor(z)).numpy()
    centred = z - z.mean(0)
    assert norm.running_var is not None
    remembered = norm.running_var.numpy() / z.var(0, ddof=1) - 1
    used = out - centred / np.sqrt(z.var(0) + EPS)
    deviation = out - centred / np.sqrt(z.std(0) + EPS)
    return {
        "running": float(max(np.abs(remembered).max(), np.abs(used).max())),
        "deviation": float(np.abs(deviation).max()),
    }


# --- verdicts and the chart -----------------------------------------------------------------------


def _identity(runs: Sequence[dict[str, float]], key: str, statement: str) -> Verdict:
    return every([run[key] for run in runs], below=IDENTITY, statement=statement)


def _fails(runs: Sequence[dict[str, float]], key: str, statement: str) -> Verdict:
    return every([run[key] for run in runs], above=WRONG, statement=statement)


def _chart(runs: Sequence[dict[str, float]], sizes: Sequence[int], seeds: int) -> Chart:
    def line(label: str, key: str) -> np.ndarray:
        return np.maximum([run[key] for run in runs], 1e-17).reshape(len(sizes), seeds).T

    labels = {"without (z - mean)": "without", "as published": "parts", "in one line": "line"}
    return Chart(
        title="Error of formulas for the gradient through batch normalisation",
        x_label="samples in the batch",
        y_label="largest error, in parts of the gradient",
        lines=tuple(measured(label, sizes, line(label, key)) for label, key in labels.items()),
        log_x=True,
        log_y=True,
    )
