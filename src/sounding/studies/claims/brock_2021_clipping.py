"""Adaptive clipping bounds every unit's gradient by its weights, and lets large rates train.

Two arms. The *identity* arm clips random gradients once. The *training* arm looks for the largest
learning rate at which a residual net without normalisation trains, with and without clipping.

Letters: R learning rates, S seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies import prescribe
from sounding.remedies.apply import apply, treat
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.samples import cifar, digit_images, needs
from sounding.train import Case, Recipe, Trial, seeded
from sounding.verdict import Verdict, every, overall

FACTOR = 0.01  # lambda: the longest gradient of a unit, over the norm of its weights
SMALLEST = 1e-3  # the least norm that a unit's weights are taken to have
LRS = tuple(0.02 * 2.0**k for k in range(7))
TIMES, TRAINED = 4, 0.5  # training accuracy
SEEDS, IDENTITY_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)

STATEMENT = (
    "Adaptive clipping keeps the gradient of every unit below a fraction of the norm of its "
    "weights, and a residual net without normalisation trains with it at four times the learning "
    "rate that it stands without"
)
QUICK = (
    f"One clipping at {FACTOR:g} of random gradients, 3 seeds: for no unit of a hidden layer is "
    "|gradient| / max(|weights|, 0.001) above that, up to 1e-6 of it, and shorter ones stay as "
    "they are; and with r the largest rate, factors of 2 from 0.02 to 1.28, at which a residual "
    "net of 4 branches without normalisation trains, to a training accuracy above 0.5, on 5 of 5 "
    "seeds (digits, SGD with momentum 0.9, 60 steps): at 4 r it does so with clipping on 5 of 5 "
    "seeds, and without on fewer"
)
FULL = (
    QUICK.replace("4 branches", "24 convolutional branches")
    .replace("digits", "CIFAR-10")
    .replace("60 steps", "5 epochs")
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    branches: int = 4,
    width: int = 32,
    steps: int = 60,
    lrs: Sequence[float] = LRS,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Both arms; the sizes are arguments for other runs."""
    size = {"branches": branches, "width": width, "steps": steps}
    return _measured(lab, digits_case, size, lrs, seeds, QUICK)


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    branches: int = 24,
    channels: int = 32,
    steps: int = 5 * 390,
    lrs: Sequence[float] = LRS,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Convolutional branches on CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="runs")
    size = {
        "device": device,
        "images": images,
        "branches": branches,
        "channels": channels,
        "steps": steps,
    }
    return _measured(lab, conv_case, size, lrs, seeds, FULL)


CLAIM = Claim(
    name="brock-2021-clipping",
    topic="clipping",
    claim=STATEMENT,
    source=(
        "Brock, De, Smith, Simonyan, 'High-performance large-scale image recognition without "
        "normalization', ICML 2021, section 4"
    ),
    link="https://arxiv.org/abs/2102.06171",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 4, "steps": 20, "lrs": (0.004, 0.008), "seeds": (0, 1)},
    how=(
        "The remedy clip_units is applied to a net with random gradients, and every unit's norms "
        "are compared before and after. Then nets of fully connected residual branches learn the "
        "digits at seven rates without clipping, and at four times the largest that works with it."
    ),
    changed=(
        "A first run (4 branches, width 32) was inconclusive, with a best threshold at the "
        "edge of the grid; there 'trains' meant a loss below the first one, which a dead net "
        "satisfies. It means an accuracy above one half now."
    ),
    depends=(
        "The paper speaks of large batches with large rates, and of trained accuracy; here a run "
        "counts if more than half of the last training samples are right (a loss "
        "below the first one would not do: a net of dead units has that). The last layer is left "
        "alone, as in the paper. With clipping a step changes a unit by at most the rate "
        "times 0.01 of its norm, so that a large rate is safe almost by construction. On three "
        "more sets of five seeds (10, 20 and 30 and the four after each) the verdict was the same; "
        "the largest rate without clipping was 0.64, 0.32 and 0.64."
    ),
)


# --- the identity ---------------------------------------------------------------------------------


def clipped(factor: float, seed: int) -> dict[str, np.ndarray]:
    """|gradient| / max(|weights|, 0.001) of the units of two hidden layers: before, after."""
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        first, second, last = nn.Linear(20, 30), nn.Linear(30, 40), nn.Linear(40, 3)
    net = nn.Sequential(first, nn.ReLU(), second, last).double()
    hidden = [first.weight, second.weight]
    with torch.no_grad():
        hidden[1][:5] = 0.0  # units without weights: the least norm counts
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    x = torch.ones(1, 20, dtype=torch.float64)
    treat(prescribe("clip_units", factor=factor), net, lambda: net(x).sum(), optimiser)
    norms = torch.cat([w.detach().norm(dim=1) for w in hidden]).clamp_min(SMALLEST)
    sizes = 10.0 ** torch.linspace(-6, 2, 70, dtype=torch.float64)  # of the units' gradients
    for w, scale in zip(hidden, sizes.split([30, 40]), strict=True):
        w.grad = torch.randn(w.shape, generator=generator, dtype=w.dtype) * scale[:, None]
    before = torch.cat([_gradient(w).norm(dim=1) for w in hidden])
    optimiser.step()
    after = torch.cat([_gradient(w).norm(dim=1) for w in hidden])
    return {"before": (before / norms).numpy(), "after": (after / norms).numpy()}


def _gradient(weight: torch.Tensor) -> torch.Tensor:
    assert weight.grad is not None
    return weight.grad.clone()


def _bounded(runs: Sequence[dict[str, np.ndarray]]) -> list[Verdict]:
    longer = every(
        [run["after"].max() / FACTOR for run in runs],
        below=1 + 1e-6,
        statement="after clipping the longest gradient of a unit, over the bound",
        seeds=IDENTITY_SEEDS,
    )
    short = [run["before"] <= FACTOR for run in runs]
    changed = [
        np.abs(run["after"][s] / run["before"][s] - 1).max() if s.any() else np.nan
        for run, s in zip(runs, short, strict=True)
    ]
    kept = every(
        changed,
        below=1e-10,
        statement="gradients below the bound stay as they are: relative change",
        seeds=IDENTITY_SEEDS,
    )
    return [longer, kept]


# --- nets -----------------------------------------------------------------------------------------


class Branch(nn.Module):
    """x + 0.2 * second(relu(first(relu(x)))), without normalisation."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape that the two layers keep."""
        return x + 0.2 * self.second(self.first(x.relu()).relu())


def dense_net(branches: int, width: int) -> nn.Sequential:
    """A layer from 64 pixels, the branches, a head; He's weights for ReLU."""
    layers = [Branch(nn.Linear(width, width), nn.Linear(width, width)) for _ in range(branches)]
    return _he(nn.Sequential(nn.Linear(64, width), *layers, nn.ReLU(), nn.Linear(width, 10)))


def conv_net(branches: int, channels: int, device: torch.device) -> nn.Sequential:
    """Three stages of branches of two convolutions; the image is halved between them."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1)]
    for stage in range(3):
        size = channels * 2**stage
        for _ in range(branches // 3):
            layers.append(Branch(nn.Conv2d(size, size, 3, 1, 1), nn.Conv2d(size, size, 3, 1, 1)))
        if stage < 2:
            layers += [nn.ReLU(), nn.Conv2d(size, 2 * size, 3, 2, 1)]
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * channels, 10)]
    return _he(nn.Sequential(*layers)).to(device)


def _he(net: nn.Sequential) -> nn.Sequential:
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def treated(case: Case, clip: bool) -> Case:
    """`case`, with adaptive clipping where that is wanted."""
    return apply(prescribe("clip_units", factor=FACTOR), case) if clip else case


def digits_case(clip: bool, branches: int, width: int, lr: float, steps: int) -> Case:
    """The fully connected net on the digits."""
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=64, steps=steps)
    build, data = functools.partial(dense_net, branches, width), tuple(digit_images().train)
    return treated(Case(build, functional.cross_entropy, data, recipe), clip)


def conv_case(
    clip: bool,
    branches: int,
    channels: int,
    device: str,
    images: int | None,
    lr: float,
    steps: int,
) -> Case:
    """The convolutional net on the first `images` of CIFAR-10; None: all of them."""
    x, y = (part[:images] for part in cifar(device).train)
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=128, steps=steps)
    build = functools.partial(conv_net, branches, channels, x.device)
    return treated(Case(build, functional.cross_entropy, (x, y), recipe), clip)


# --- the training arm -----------------------------------------------------------------------------


def _measured(
    lab: Lab,
    case: Callable[..., Case],
    size: dict[str, Any],
    lrs: Sequence[float],
    seeds: Sequence[int],
    criterion: str,
) -> Measured:
    lab.plan(len(IDENTITY_SEEDS) + len(seeds) * (len(lrs) + 2))
    parts = _bounded(lab.map(clipped, grid(IDENTITY_SEEDS, factor=[FACTOR])))

    def run(clip: bool, rates: Sequence[float]) -> np.ndarray:
        jobs = [{"clip": clip, **size, "lr": r, "seed": s} for r in rates for s in seeds]
        return _accuracies(lab.train(case, jobs)).reshape(len(rates), len(seeds))

    plain = run(False, lrs)
    stands = [at for at, reached in enumerate(plain) if (reached > TRAINED).all()]
    if not stands:  # no rate works without clipping: there is nothing to multiply
        missing = "without clipping the net trains on all seeds at no rate of the grid"
        return (*not_tested(STATEMENT, criterion, missing)[0], *parts), ()
    largest = lrs[stands[-1]]
    high = TIMES * largest
    reached = run(True, [high])[0]
    bare = run(False, [high])[0] if high not in lrs else plain[lrs.index(high)]
    note = f"the largest rate without clipping is {largest:g}"
    note += " (edge of the grid)" * (largest == max(lrs))
    parts += _trains(reached, bare, seeds, note)
    verdict = overall(parts[2], parts, statement=STATEMENT, criterion=criterion)
    sparse = lrs[:: max(1, len(lrs) // 3)]
    return (verdict, *parts), [_chart(plain, run(True, sparse), lrs, sparse)]


def _accuracies(trials: Sequence[Trial]) -> np.ndarray:
    """Training accuracies; 0 where a run diverged."""
    return np.array([0.0 if t.diverged else t.metrics["accuracy"] for t in trials])


def _trains(
    reached: np.ndarray, bare: np.ndarray, seeds: Sequence[int], note: str
) -> list[Verdict]:
    with_clipping = every(
        reached,
        above=TRAINED,
        statement=f"with clipping it trains at {TIMES} times that rate: training accuracy",
        seeds=seeds,
        note=note,
    )
    lost = every(
        [float((bare > TRAINED).mean())],
        below=1.0,
        statement=f"without clipping it trains on fewer at {TIMES} times that rate: share of seeds",
        note=note,
    )
    return [with_clipping, lost]


def _chart(
    plain: np.ndarray, clip: np.ndarray, lrs: Sequence[float], sparse: Sequence[float]
) -> Chart:
    lines = []
    for label, values, rates in (
        ("without clipping", plain, lrs),
        ("adaptive clipping", clip, sparse),
    ):
        error = values.std(1, ddof=1) / math.sqrt(values.shape[1])
        lines.append(Line(label=label, x=np.array(rates), y=values.mean(1), error=error))
    return Chart(
        title="A residual net without normalisation, by the learning rate",
        x_label="learning rate",
        y_label="training accuracy, 0 where it diverged",
        lines=tuple(lines),
        log_x=True,
    )
