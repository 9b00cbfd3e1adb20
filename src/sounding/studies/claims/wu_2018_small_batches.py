"""Wu & He 2018: batch normalisation suffers from small batches, group normalisation does not."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.deep_nets import test_accuracy
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.studies.residual_nets import residual_net
from sounding.studies.samples import cifar, digit_images, needs
from sounding.train import Case, Recipe, Trial, seeded
from sounding.verdict import every, judge, mean, overall, slope, within

BATCH, GROUP = "batch norm", "group norm"
SIZES = (8, 16, 32, 64, 128, 256)
SEEDS = (0, 1, 2, 3, 4)
POWER, RATIO = 0.1, 1.25  # tolerance of the exponent; of the variance against the formula
IMAGE_SIZES, FEW_SEEDS = (128, 32, 8, 4, 2), 3
LOST, KEPT = 0.03, 0.015  # test error

STATEMENT = (
    "Batch normalisation gets worse as the batch gets small, since its statistics get noisy; group "
    "normalisation, which looks at one sample alone, does not"
)
MECHANISM = (
    "What batch normalisation makes of an image varies with the rest of its batch, with a variance "
    "in proportion to 1/B; what group normalisation makes of it does not"
)
QUICK = (
    "The mechanism only: a convolution of digits, its output for 4 fixed images normalised "
    f"together with random companions, batches of {SIZES[0]} to {SIZES[-1]}, 5 seeds: the output's "
    f"variance over companions falls like B^-1 (exponent within ±{POWER:g} by the t-interval) and "
    f"is the first-order formula's within a factor {RATIO:g} at B = {SIZES[-1]}; with group "
    "normalisation it is 0"
)
FULL = (
    "ResNet-20 on CIFAR-10, batches of 128, 32, 8, 4 and 2, learning rate in proportion, 30 "
    "epochs; 5 seeds at 128 and 2, 3 elsewhere: the test error of batch normalisation is by the "
    f"t-interval at least {100 * LOST:g} points higher at 2 than at 128, that of group "
    f"normalisation differs by no more than {100 * KEPT:g}"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    sizes: Sequence[int] = SIZES,
    draws: int = 100,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """The variance of a fixed image's output over the rest of the batch; sizes are arguments."""
    lab.plan(2 * len(sizes) * len(seeds))
    runs = {
        norm: lab.map(spread, grid(seeds, norm=[norm], batch=list(sizes), draws=[count]))
        for norm, count in ((BATCH, draws), (GROUP, 5))
    }
    variance, theory = (
        np.array([run[key] for run in runs[BATCH]]).reshape(len(sizes), len(seeds))
        for key in ("variance", "theory")
    )
    powers = [slope(np.log(sizes), np.log(column)).value for column in variance.T]
    parts = [
        within(mean(powers), -1 - POWER, -1 + POWER, unit="power of the batch's size",
               statement="batch norm: the variance of an output falls like 1 / B", seeds=seeds),
        within(mean(variance[-1] / theory[-1]), 1 / RATIO, RATIO, unit="of the formula",
               statement=f"at B = {sizes[-1]} it is the first-order formula's", seeds=seeds),
        every([run["variance"] for run in runs[GROUP]], below=1e-10,
              statement="group norm: the variance of an output is 0"),
    ]  # fmt: skip
    verdict = overall(parts[0], parts, statement=MECHANISM, criterion=QUICK)
    chart = Chart(
        title="Variance of a fixed image's normalised output, over the rest of its batch",
        x_label="images in the batch",
        y_label="variance (the output's own is 1)",
        lines=(
            measured(BATCH, sizes, variance.T),
            predicted("first order in 1 / B", sizes, theory.mean(1)),
        ),
        log_x=True,
        log_y=True,
    )
    return (verdict, *parts), [chart]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    epochs: float = 30,
    depth: int = 20,
    sizes: Sequence[int] = IMAGE_SIZES,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """ResNet-20 at every batch size; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="test error")
    ends = (sizes[0], sizes[-1])
    fixed = {"device": device, "images": images, "epochs": epochs, "depth": depth}
    jobs = [
        {"norm": norm, "batch": batch, **fixed, "seed": seed}
        for norm in (BATCH, GROUP)
        for batch in sizes
        for seed in (seeds if batch in ends else seeds[:FEW_SEEDS])
    ]
    lab.plan(len(jobs))
    errors: dict[tuple[str, int], list[float]] = {}
    for job, trial in zip(jobs, lab.train(image_case, jobs), strict=True):
        errors.setdefault((job["norm"], job["batch"]), []).append(_error(trial))
    parts = [
        judge(
            errors[BATCH, ends[1]],
            errors[BATCH, ends[0]],
            band=LOST,
            statement=f"batch norm: the error at {ends[1]} is more than 3 points above {ends[0]}'s",
            unit="test error",
            seeds=seeds,
            names=(f"batch {ends[1]}", f"batch {ends[0]}"),
        ),
        within(
            mean(np.subtract(errors[GROUP, ends[1]], errors[GROUP, ends[0]])),
            -KEPT,
            KEPT,
            statement=f"group norm: the error at {ends[1]} is that at {ends[0]}",
            unit="test error",
            seeds=seeds,
        ),
    ]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=FULL)
    return (verdict, *parts), [_chart(errors, sizes)]


CLAIM = Claim(
    name="wu-2018-small-batches",
    topic="normalisation",
    claim=STATEMENT,
    source="Wu, He, 'Group Normalization', ECCV 2018, section 4.1 and table 2",
    link="https://arxiv.org/abs/1803.08494",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 64, "epochs": 1},
    how=(
        "Small scale: how much the normalised output of a fixed image varies with the other "
        "images of its batch, against the first order of an expansion in 1/B (errors of mean and "
        "variance, from the images' own means and mean squares). Full scale: ResNet-20 on CIFAR-10 "
        "trained with both at five batch sizes."
    ),
    depends=(
        "Small and full scale are two claims: noise of the statistics, and harm by it. The "
        "first is there at any size; the second, 11 points of error from 32 to 2 images on "
        "ImageNet as published, need not show in a shallow net on an easy task. Group "
        "normalisation is a little worse than batch normalisation in large batches. Batches are "
        "one device's: with statistics shared over devices the sum of their batches counts."
    ),
)


# --- the mechanism --------------------------------------------------------------------------------


def spread(norm: str, batch: int, draws: int, seed: int, fixed: int = 4) -> dict[str, float]:
    """The variance of outputs of `fixed` images over `draws` batches of random companions.

    'theory' is the first order in 1/B. Per image and channel let a be the mean over pixels and q
    that of (z - mean)^2. The batch's mean and variance are off by the averages of B - 1 random
    a - mean and q - variance, so u = (z - mean) / s is off by the average of
    -(a - mean) / s - u (q - variance) / (2 s^2), whose variance is taken over all images.
    """
    x = digit_images().train.x.view(-1, 1, 8, 8).double()
    with seeded(seed):
        conv = nn.Conv2d(1, 8, 3, padding=1).double()
        with torch.no_grad():
            z = conv(x)  # (N, C, 8, 8)
        one, others = z[:fixed], z[fixed:]
        rows = torch.randint(len(others), (draws, batch - 1))
    normalise = _batch_norm if norm == BATCH else _group_norm
    outputs = torch.stack(
        [
            torch.stack(
                [normalise(torch.cat([one[i : i + 1], others[r]]))[0, :, 4, 4] for r in rows]
            )
            for i in range(fixed)
        ]
    )  # (fixed, draws, C): one pixel in the middle
    variance = float(outputs.var(1).mean())
    return {"variance": variance, "theory": _first_order(one[:, :, 4, 4], others, batch)}


def _batch_norm(z: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(z, None, None, training=True, eps=1e-12)


def _group_norm(z: torch.Tensor) -> torch.Tensor:
    return functional.group_norm(z, 2, eps=1e-12)


def _first_order(z: torch.Tensor, others: torch.Tensor, batch: int) -> float:
    """`z` (fixed, C) of the fixed images, `others` (N, C, H, W) the companions to draw from."""
    centre, s = others.mean((0, 2, 3)), others.std((0, 2, 3), correction=0)  # (C,)
    a = (others.mean((2, 3)) - centre) / s  # (N, C)
    q = ((others - centre[:, None, None]) / s[:, None, None]).square().mean((2, 3)) - 1
    u = ((z - centre) / s).unsqueeze(1)  # (fixed, 1, C)
    single = (a + u * q / 2).var(1, correction=0)  # (fixed, C) of one companion's influence
    return float(single.mean()) * (batch - 1) / batch**2


# --- training -------------------------------------------------------------------------------------


def image_case(
    norm: str, batch: int, epochs: float, depth: int, device: str, images: int | None
) -> Case:
    """ResNet on the first `images` of CIFAR-10 (None: all), rate 0.1 per 128 images, cosine."""
    train, test = cifar(device)
    x, y = train.x[:images], train.y[:images]
    build = functools.partial(_image_net, norm, depth, x.device)
    recipe = Recipe(
        lr=0.1 * batch / 128,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine",
        batch_size=batch,
        steps=max(1, round(epochs * len(x) / batch)),
    )
    metric = functools.partial(test_accuracy, test.x[:images], test.y[:images])
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=norm)


def _image_net(norm: str, depth: int, device: torch.device) -> nn.Module:
    make = nn.BatchNorm2d if norm == BATCH else functools.partial(nn.GroupNorm, 8)
    return residual_net(depth, norm=make, device=device)


def _error(trial: Trial) -> float:
    return 1 - trial.metrics.get("test accuracy", np.nan)


def _chart(errors: dict[tuple[str, int], list[float]], sizes: Sequence[int]) -> Chart:
    lines = []
    for norm in (BATCH, GROUP):
        fewest = min(len(errors[norm, batch]) for batch in sizes)
        rows = np.array([errors[norm, batch][:fewest] for batch in sizes]).T
        lines.append(measured(norm, sizes, rows))
    return Chart(
        title="ResNet-20 on CIFAR-10",
        x_label="images in the batch",
        y_label="test error",
        lines=tuple(lines),
        log_x=True,
    )
