"""Choi et al. 2019: tuned widely enough, adaptive methods are never worse than momentum.

AdamW and SGD with momentum are tuned by `sounding.compare`: the same number of trials, epsilon and
momentum in the space, selection on a validation split, and a test on fresh seeds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.compare import compare
from sounding.data import Labelled
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.claims.wilson_2017_cifar import VGG16, vgg
from sounding.studies.lab import Lab
from sounding.studies.samples import accuracy, cifar, digit_images, needs
from sounding.train import Case, Recipe
from sounding.verdict import judge, mean, within

ARMS = ("sgd", "adamw")
MARGIN = 0.3  # points of test accuracy
TRIALS, SEEDS, FULL_SEEDS = 20, 20, 5
TEST, VALIDATION = "test accuracy", "validation accuracy"
Parts = Mapping[str, tuple[torch.Tensor, torch.Tensor]]  # (x, y) by what is measured on them

STATEMENT = (
    "AdamW, tuned with epsilon in its search space, is not worse than SGD with momentum tuned with "
    "the same effort"
)
CRITERION = (
    f"{{task}}: {TRIALS} trials each, by validation accuracy, then {{seeds}} fresh seeds: the test "
    f"accuracy of AdamW lies no more than {MARGIN} points below that of SGD, 95 % one-sided, by "
    "the paired t-interval"
)
QUICK = CRITERION.format(task="a net of two hidden layers on digits, 150 steps", seeds=SEEDS)
FULL = CRITERION.format(task="VGG-16 on CIFAR-10, 20 epochs", seeds=FULL_SEEDS)


def quick(
    lab: Lab, *, trials: int = TRIALS, seeds: int = SEEDS, steps: int = 150, width: int = 64
) -> Measured:
    """The comparison on digits."""
    size = {"trials": trials, "seeds": seeds, "steps": steps, "width": width, "seed": 0}
    try:
        (found,) = lab.map(on_digits, [size])
    except ImportError as missing:  # Optuna is an extra
        return not_tested(STATEMENT, QUICK, str(missing), unit="points of test accuracy")
    return _judged(found, QUICK)


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    trials: int = TRIALS,
    seeds: int = FULL_SEEDS,
    steps: int = 20 * 350,
    plan: tuple[int, ...] = VGG16,
) -> Measured:
    """The comparison on CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="points of test accuracy")
    size = {"trials": trials, "seeds": seeds, "steps": steps, "device": device, "images": images}
    try:
        (found,) = lab.map(on_cifar, [{**size, "plan": list(plan), "seed": 0}])
    except ImportError as missing:
        return not_tested(STATEMENT, FULL, str(missing), unit="points of test accuracy")
    return _judged(found, FULL)


CLAIM = Claim(
    name="choi-2019-tuned",
    topic="adaptive methods",
    claim=STATEMENT,
    source=(
        "Choi, Shallue, Nado, Lee, Maddison, Dahl, 'On Empirical Comparisons of Optimizers for "
        "Deep Learning', 2019"
    ),
    link="https://arxiv.org/abs/1910.05446",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 20, "trials": 3, "seeds": 2, "steps": 2},
    how=(
        "Each arm has the same number of trials on two seeds each, drawn by a tree-structured "
        "Parzen estimator from the spaces that `sounding compare` states: learning rate, momentum "
        "or first beta, epsilon, weight decay, warm-up. The three best trials run on three more "
        "seeds. The judged runs use seeds that no trial has seen."
    ),
    changed=("The runs were shortened from 200 to 150 steps for the time of the quick scale."),
    depends=(
        "Which optimiser wins depends on the effort and on the space: with epsilon fixed at 1e-8 "
        "the adaptive method no longer holds momentum as a special case. A test part of 360 "
        "digits resolves 0.28 points in a single run, so that even twenty seeds can leave a margin "
        "of 0.3 points undecided. The interval covers the luck of seeds, not "
        "that of the search."
    ),
)


# --- the comparison -------------------------------------------------------------------------------


def on_digits(trials: int, seeds: int, steps: int, width: int, seed: int) -> dict[str, np.ndarray]:
    """Both arms' accuracies on fresh seeds, and the best validation accuracy after k trials."""
    data = digit_images()
    x, y = data.train
    train, validation = _halves(x, y, len(x) // 5)
    parts = {VALIDATION: validation, TEST: (data.test.x, data.test.y)}
    build = functools.partial(_dense_net, width)
    return _compared(build, train, parts, trials=trials, seeds=seeds, steps=steps, first=seed)


def on_cifar(
    trials: int,
    seeds: int,
    steps: int,
    device: str,
    images: int | None,
    plan: list[int],
    seed: int,
) -> dict[str, np.ndarray]:
    """The same with a VGG net on the first `images` of CIFAR-10; None: all of them."""
    data = cifar(device)
    x, y = (part[:images] for part in data.train)
    train, validation = _halves(x, y, len(x) // 10)
    parts = {VALIDATION: validation, TEST: (data.test.x[:images], data.test.y[:images])}
    build = functools.partial(vgg, tuple(plan), device)
    return _compared(build, train, parts, trials=trials, seeds=seeds, steps=steps, first=seed)


def _halves(x: torch.Tensor, y: torch.Tensor, held: int) -> tuple[Labelled, Labelled]:
    """What is trained on, and what is held out to choose by: the last samples."""
    return Labelled(x[:-held], y[:-held]), Labelled(x[-held:], y[-held:])


def _compared(
    build: Callable[[], nn.Module],
    train: tuple[torch.Tensor, torch.Tensor],
    parts: Parts,
    *,
    trials: int,
    seeds: int,
    steps: int,
    first: int,
) -> dict[str, np.ndarray]:
    metric = functools.partial(_accuracies, parts)
    recipe = Recipe(lr=0.1, schedule="cosine", batch_size=128, steps=steps)
    case = Case(build, functional.cross_entropy, train, recipe, metric=metric)
    found = compare(
        case, ARMS, trials=trials, seeds=tuple(range(first, first + seeds)), metric=VALIDATION
    )
    out: dict[str, np.ndarray] = {}
    for name, arm in zip(ARMS, found.arms, strict=True):
        for metric_name in (TEST, "accuracy"):
            out[f"{name} {metric_name}"] = 100 * np.array(
                [trial.metrics.get(metric_name, np.nan) for trial in arm.final]
            )
        out[f"{name} best of k"] = 100 * np.maximum.accumulate(arm.scores)
    return out


def _accuracies(parts: Parts, model: nn.Module) -> dict[str, float]:
    return {name: accuracy(x, y, model)["accuracy"] for name, (x, y) in parts.items()}


def _dense_net(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


# --- verdicts -------------------------------------------------------------------------------------


def _judged(found: dict[str, np.ndarray], criterion: str) -> Measured:
    sgd, adamw = (np.nan_to_num(found[f"{name} {TEST}"], nan=10.0) for name in ARMS)
    verdict = within(
        mean(adamw - sgd, level=0.9),  # its lower end is the one-sided one at 95 %
        -MARGIN,
        100.0,
        statement=STATEMENT,
        unit="points of test accuracy",
        seeds=range(len(sgd)),
        note=f"mean test accuracy {sgd.mean():.2f} with SGD, {adamw.mean():.2f} with AdamW",
    )
    trained = judge(
        found["sgd accuracy"],
        found["adamw accuracy"],
        statement="reported: AdamW reaches a higher training accuracy",
        unit="points of training accuracy",
        better="higher",
        band=MARGIN,
    )
    return (dataclasses.replace(verdict, criterion=criterion), trained), [_chart(found)]


def _chart(found: dict[str, np.ndarray]) -> Chart:
    lines = tuple(
        Line(
            label={"sgd": "SGD with momentum", "adamw": "AdamW"}[name],
            x=np.arange(1, len(found[f"{name} best of k"]) + 1),
            y=found[f"{name} best of k"],
        )
        for name in ARMS
    )
    return Chart(
        title="What tuning brings: the best of the first k trials",
        x_label="trials",
        y_label="validation accuracy, per cent",
        lines=lines,
    )
