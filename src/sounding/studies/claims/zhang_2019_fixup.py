"""Fixup: residual nets without normalisation, whose first steps do not depend on their depth.

Letters: L residual branches, T steps, S seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.samples import accuracy, cifar, digit_images, needs
from sounding.train import Case, Recipe, Trial, train
from sounding.verdict import Verdict, every, mean, overall, within

FIXUP, HE = "Fixup", "He"
DEPTHS = (10, 100, 1000)
STEPS, LR = 5, 1e-2
RATIO = 2.0
OVERFLOW = 1024.0  # doublings that a change counts as where it is not finite
TRAINING_DEPTH, TRAINED, STALLED = 50, 0.9, 0.2  # training accuracy
LRS = (1e-2, 1e-1)
SEEDS, CHANGE_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)

STATEMENT = (
    "With Fixup a step of gradient descent changes the loss of a residual net without "
    "normalisation as much at 1000 branches as at 10, and deep nets train; with He's "
    "initialisation the change grows without bound"
)
QUICK = (
    "Residual nets of width 32 with 10, 100 and 1000 branches of two layers, digits, SGD at rate "
    f"{LR:g}, 3 seeds: the change of the loss after each of {STEPS} steps at 1000 branches over "
    f"that at 10 lies in [1/{RATIO:g}, {RATIO:g}] (t-interval of its log), with He's it is above "
    f"{RATIO:g} after the first, or not finite; and at {TRAINING_DEPTH} branches training accuracy "
    f"is above {TRAINED} with Fixup on all of 5 seeds at one of the rates {LRS}, and below "
    f"{STALLED} with He at each of them"
)
FULL = (
    "Convolutional residual net of 54 branches on CIFAR-10, 30 epochs of SGD with momentum 0.9: "
    "training accuracy above 0.7 with Fixup on all of 3 seeds at rate 0.05, and below 0.2 with "
    "He's initialisation"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    depths: Sequence[int] = DEPTHS,
    width: int = 32,
    training_depth: int = TRAINING_DEPTH,
    training_steps: int = 80,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """Both arms; the sizes are arguments for other runs."""
    lab.plan(2 * len(depths) * len(CHANGE_SEEDS) + 2 * len(lrs) * len(SEEDS))
    settings = grid(CHANGE_SEEDS, scheme=[FIXUP, HE], depth=list(depths), width=[width])
    runs = lab.map(loss_changes, settings)
    changes = np.array([run["change"] for run in runs])
    changes = changes.reshape(2, len(depths), len(CHANGE_SEEDS), STEPS)
    parts = [_independent(changes[0], depths, step) for step in range(STEPS)]
    parts.append(_grows(changes[1], depths))
    jobs = [
        {"scheme": scheme, "depth": training_depth, "width": width, "steps": training_steps,
         "lr": lr, "seed": seed}
        for scheme in (FIXUP, HE) for lr in lrs for seed in SEEDS
    ]  # fmt: skip
    trials = lab.train(digits_case, jobs)
    parts += _trained(trials[: len(jobs) // 2], trials[len(jobs) // 2 :], lrs)
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts), [_chart(changes, depths)]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    branches: int = 54,
    channels: int = 16,
    steps: int = 30 * 390,
) -> Measured:
    """A convolutional net of the paper's kind; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="training accuracy")
    size = {"device": device, "images": images, "branches": branches, "channels": channels}
    jobs = [
        {"scheme": scheme, **size, "steps": steps, "seed": seed}
        for scheme in (FIXUP, HE)
        for seed in CHANGE_SEEDS
    ]
    lab.plan(len(jobs))
    trials = lab.train(conv_case, jobs)
    fixup, he = trials[: len(CHANGE_SEEDS)], trials[len(CHANGE_SEEDS) :]
    parts = [
        every(_accuracies(fixup), above=0.7, statement="with Fixup the net trains"),
        every(_accuracies(he), below=0.2, statement="with He's initialisation it stalls"),
    ]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=FULL)
    return (verdict, *parts), ()


CLAIM = Claim(
    name="zhang-2019-fixup",
    topic="initialisation",
    claim=STATEMENT,
    source=(
        "Zhang, Dauphin, Ma, 'Fixup initialization: residual learning without normalization', "
        "ICLR 2019, sections 2 and 3"
    ),
    link="https://arxiv.org/abs/1901.09321",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 64, "steps": 2},
    how=(
        "Residual branches of two fully connected layers with the scalar biases and the multiplier "
        "of the paper. Fixup's initial values are He's for the first "
        "layer of a branch, times L^(-1/2), and zero for the second one and for the head. "
        "The loss is that of 128 digits, on which the steps are made."
    ),
    changed=(
        "A first run was inconclusive, because depths did not share their stem; for a seed it "
        "is the same at every depth now. The training arm has 50 branches, not 100."
    ),
    depends=(
        "As the head is zero, the first step moves nothing but the head; that is why five steps "
        "are looked at. 'He's initialisation stalls' is about residual nets without any "
        "normalisation: their signal doubles in mean square at every branch. A rate that is small "
        "enough may train them at moderate depths; two rates are tried."
    ),
)


# --- nets -----------------------------------------------------------------------------------------


class Branch(nn.Module):
    """x + multiplier * second(relu(first(x + b1) + b2) + b3) + b4, with scalar biases."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.biases = nn.Parameter(torch.zeros(4))
        self.multiplier = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape that the two layers keep."""
        b1, b2, b3, b4 = self.biases.unbind()
        inner = self.second(functional.relu(self.first(x + b1) + b2) + b3)
        return x + (self.multiplier * inner + b4)


def dense_net(scheme: str, depth: int, width: int) -> nn.Sequential:
    """A layer from 64 pixels, `depth` branches, a head; the first is the same at every depth."""
    stem = initialised(nn.Sequential(nn.Linear(64, width)), HE)
    branches = [
        Branch(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
        for _ in range(depth)
    ]
    above = initialised(nn.Sequential(*branches, nn.ReLU(), nn.Linear(width, 10)), scheme)
    return nn.Sequential(*stem, *above)


def conv_net(scheme: str, branches: int, channels: int) -> nn.Sequential:
    """Three stages of residual branches of two convolutions; the image is halved between them."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1)]
    for stage in range(3):
        inputs = channels * 2**stage
        for _ in range(branches // 3):
            pair = [nn.Conv2d(inputs, inputs, 3, 1, 1, bias=False) for _ in range(2)]
            layers.append(Branch(*pair))
        if stage < 2:
            layers += [nn.ReLU(), nn.Conv2d(inputs, 2 * inputs, 3, 2, 1)]
    layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * channels, 10)]
    return initialised(nn.Sequential(*layers), scheme)


def initialised(net: nn.Sequential, scheme: str) -> nn.Sequential:
    """He's weights for ReLU; with Fixup scaled in the branches, and zero at their ends and behind.

    The same as the remedy ``reinitialise(scheme='fixup')``, which traces the net: a branch has
    two layers, so its first one is scaled by L^(-1/2).
    """
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    branches = [module for module in net if isinstance(module, Branch)]
    for branch in branches if scheme == FIXUP else ():
        with torch.no_grad():
            for weight in branch.first.parameters():
                weight *= len(branches) ** -0.5
            for weight in branch.second.parameters():
                weight.zero_()
    head = net[-1]
    if scheme == FIXUP and isinstance(head, nn.Linear):
        nn.init.zeros_(head.weight)
    return net


# --- the change of the loss -----------------------------------------------------------------------


def loss_changes(scheme: str, depth: int, width: int, seed: int) -> dict[str, np.ndarray]:
    """(T,) how far the loss has moved after each of five steps; infinite where it is not finite."""
    x, y = digit_images().train
    build = functools.partial(dense_net, scheme, depth, width)
    recipe = Recipe(lr=LR, steps=STEPS + 1)
    case = Case(build, functional.cross_entropy, [(x[:128], y[:128])], recipe)
    losses = train(case, seed).loss.values
    found = np.full(STEPS + 1, np.inf)
    found[: len(losses)] = losses
    with np.errstate(invalid="ignore"):
        change = np.abs(found[1:] - found[0])
    return {"change": np.where(np.isfinite(change), change, np.inf)}


def _independent(changes: np.ndarray, depths: Sequence[int], step: int) -> Verdict:
    """`changes` is (depths, S, T)."""
    with np.errstate(invalid="ignore"):
        log_ratio = np.log2(changes[-1, :, step] / changes[0, :, step])
    log_ratio = np.nan_to_num(log_ratio, nan=OVERFLOW, posinf=OVERFLOW)
    steps = f"{step + 1} step{'s' * (step > 0)}"
    return within(
        mean(log_ratio),
        -math.log2(RATIO),
        math.log2(RATIO),
        statement=(
            f"Fixup: after {steps} the loss has changed as much at {depths[-1]} branches as at "
            f"{depths[0]}"
        ),
        unit="doublings",
        seeds=CHANGE_SEEDS,
    )


def _grows(changes: np.ndarray, depths: Sequence[int]) -> Verdict:
    with np.errstate(invalid="ignore"):
        ratio = changes[-1, :, 0] / changes[0, :, 0]
    ratio = np.where(np.isfinite(changes[-1, :, 0]), ratio, np.inf)
    return every(
        ratio,
        above=RATIO,
        statement=(
            f"He: the first step changes the loss more at {depths[-1]} branches than at "
            f"{depths[0]}: ratio"
        ),
        seeds=CHANGE_SEEDS,
        note="infinite where a loss is not finite",
    )


# --- training -------------------------------------------------------------------------------------


def digits_case(scheme: str, depth: int, width: int, lr: float, steps: int) -> Case:
    """The residual net on the digits."""
    x, y = digit_images().train
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=64, steps=steps)
    build = functools.partial(dense_net, scheme, depth, width)
    metric = functools.partial(accuracy, x, y)
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=scheme)


def conv_case(
    scheme: str, branches: int, channels: int, device: str, images: int | None, steps: int
) -> Case:
    """The convolutional net on the first `images` of CIFAR-10; None: all of them."""
    x, y = (part[:images] for part in cifar(device).train)
    recipe = Recipe(lr=0.05, momentum=0.9, schedule="cosine", batch_size=128, steps=steps)
    build = functools.partial(_conv_on, x.device, scheme, branches, channels)
    metric = functools.partial(accuracy, x, y)
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=scheme)


def _conv_on(device: torch.device, scheme: str, branches: int, channels: int) -> nn.Module:
    return conv_net(scheme, branches, channels).to(device)


def _accuracies(trials: Sequence[Trial]) -> np.ndarray:
    """Training accuracies; a run that diverged has learnt nothing: that of guessing."""
    found = np.array([trial.metrics.get("accuracy", math.nan) for trial in trials])
    return np.where(np.isfinite(found), found, 0.1)


def _trained(fixup: Sequence[Trial], he: Sequence[Trial], lrs: Sequence[float]) -> list[Verdict]:
    by_rate = _accuracies(fixup).reshape(len(lrs), len(SEEDS))
    best = int(by_rate.min(1).argmax())
    return [
        every(
            by_rate[best],
            above=TRAINED,
            statement=f"Fixup: the deep net trains at rate {lrs[best]:g}: training accuracy",
            seeds=SEEDS,
        ),
        every(
            _accuracies(he),
            below=STALLED,
            statement="He: the deep net does not train at any of the rates: training accuracy",
            seeds=[trial.seed for trial in he],
            note=f"{sum(trial.diverged for trial in he)} of {len(he)} runs diverged",
        ),
    ]


def _chart(changes: np.ndarray, depths: Sequence[int]) -> Chart:
    lines = []
    for name, of in zip((FIXUP, HE), changes, strict=True):
        first = np.log10(of[:, :, 0])  # (depths, S)
        known = np.isfinite(first).all(1)
        error = first[known].std(1, ddof=1) / math.sqrt(first.shape[1])
        x = np.array(depths)[known]
        lines.append(Line(label=name, x=x, y=first[known].mean(1), error=error))
    return Chart(
        title="How far the first step changes the loss, by the depth (He: overflows further on)",
        x_label="residual branches",
        y_label="log10 of the change",
        lines=tuple(lines),
        log_x=True,
    )
