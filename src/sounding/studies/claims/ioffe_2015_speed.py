"""Ioffe & Szegedy 2015: batch normalisation needs fewer steps and bears larger learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.deep_nets import (
    DEFAULT,
    NONE,
    NORMAL,
    TUNING_SEED,
    deep_case,
    image_case,
    largest_stable,
    learns,
    stable_rates,
)
from sounding.studies.lab import Lab
from sounding.studies.lines import measured
from sounding.studies.samples import needs
from sounding.train import Case, Trial, final_loss
from sounding.verdict import Verdict, every, judge, overall

SEEDS = (0, 1, 2, 3, 4)
LRS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
IMAGE_LRS = (*LRS, 1.0, 3.0)
STABLE_LRS = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
WINDOW = 20  # steps over which a training loss is averaged
FEWER, LARGER = 2.0, 5.0  # times

STATEMENT = (
    "With batch normalisation a deep net reaches the same training loss in at most half of the "
    "steps, and bears learning rates at least five times as large"
)
RULE = (
    "learning rates of both nets chosen by training loss on another seed; 5 seeds: steps to the "
    f"lowest training loss (mean of {WINDOW} steps) of the net without normalisation fewer by more "
    f"than a factor {FEWER:g}, and the largest rate at which it learns larger by more than "
    f"{LARGER:g}, by the t-intervals of the logarithms"
)
QUICK = f"12 fully connected layers of 64, He's initialisation, digits, SGD with momentum; {RULE}"
FULL = f"VGG-11 on CIFAR-10, He's initialisation, 30 epochs, SGD with momentum; {RULE}"


def quick(
    lab: Lab,
    *,
    steps: int = 300,
    trial_steps: int = 100,
    seeds: Sequence[int] = SEEDS,
    lrs: Sequence[float] = LRS,
    stable_lrs: Sequence[float] = STABLE_LRS,
    width: int = 64,
) -> Measured:
    """Both arms on digits, and the plain net with PyTorch's initialisation beside them."""
    lab.plan(2 * (len(lrs) + len(seeds) + len(stable_lrs) * len(seeds)) + len(seeds))
    size = {"width": width}
    sizes = {"steps": steps, "trial_steps": trial_steps}
    parts, charts, best = _compared(lab, deep_case, size, seeds, lrs, stable_lrs, **sizes)
    settings = {"norm": NONE, "scheme": DEFAULT, "lr": best, "steps": steps, **size}
    default = lab.train(deep_case, [{**settings, "seed": seed} for seed in seeds])
    reported = every(
        [final_loss(trial) - math.log(10) for trial in default],
        above=-0.05,
        statement=(
            "reported: with PyTorch's initialisation the net without normalisation stays at chance "
            "(loss less log 10): a comparison with it would be one of initialisations"
        ),
        seeds=seeds,
    )
    return (
        overall(parts[0], parts, statement=STATEMENT, criterion=QUICK),
        *parts,
        reported,
    ), charts


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    steps: int = 30 * 390,
    trial_steps: int = 390,
    channels: int = 64,
    seeds: Sequence[int] = SEEDS,
    lrs: Sequence[float] = IMAGE_LRS,
    stable_lrs: Sequence[float] = STABLE_LRS,
) -> Measured:
    """VGG-11 on CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="octaves of steps")
    lab.plan(2 * (len(lrs) + len(seeds) + len(stable_lrs) * len(seeds)))
    size = {"device": device, "images": images, "channels": channels}
    sizes = {"steps": steps, "trial_steps": trial_steps}
    parts, charts, _ = _compared(lab, image_case, size, seeds, lrs, stable_lrs, **sizes)
    return (overall(parts[0], parts, statement=STATEMENT, criterion=FULL), *parts), charts


CLAIM = Claim(
    name="ioffe-2015-speed",
    topic="normalisation",
    claim=STATEMENT,
    source=(
        "Ioffe, Szegedy, 'Batch Normalization: Accelerating Deep Network Training by Reducing "
        "Internal Covariate Shift', ICML 2015, sections 3.3 and 4.2"
    ),
    link="https://arxiv.org/abs/1502.03167",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 16, "steps": 2, "trial_steps": 1},
    how=(
        "The same net with and without batch normalisation before every activation, both from "
        "He's initialisation and each at the learning rate with the lowest training loss. Steps "
        "are counted to the lowest loss of the net without. A rate counts as borne if the run ends "
        "below the loss that it began with, and so does every smaller rate tried."
    ),
    changed=(
        "The momentum was chosen after trials, as one that gives learning rates like those "
        "published."
    ),
    depends=(
        "The published factor, 14 times fewer steps, compares nets that also differ in learning "
        "rate, dropout, weight decay and data augmentation. Against a badly initialised net "
        "batch normalisation wins by any factor, so the control must be well initialised. Steps "
        "are counted, not seconds: a normalised step costs more. On a small task the noise of the "
        "batches' statistics keeps the training loss of the normalised net up: on digits the other "
        "one, well initialised, ends lower, and the part on steps fails, while the part on rates "
        "holds."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def _compared(
    lab: Lab,
    case: Callable[..., Case],
    size: dict[str, Any],
    seeds: Sequence[int],
    lrs: Sequence[float],
    stable_lrs: Sequence[float],
    *,
    steps: int,
    trial_steps: int,
) -> tuple[list[Verdict], list[Chart], float]:
    """The verdicts on steps and on rates, charts, and the plain net's best learning rate."""
    arms, best = {}, {}
    for norm in (NONE, NORMAL):
        settings = {"norm": norm, "steps": steps, **size}
        search = lab.train(case, [{**settings, "lr": lr, "seed": TUNING_SEED} for lr in lrs])
        best[norm] = lrs[int(np.argmin([final_loss(trial) for trial in search]))]
        runs = [{**settings, "lr": best[norm], "seed": seed} for seed in seeds]
        arms[norm] = lab.train(case, runs)
    largest = {
        norm: largest_stable(
            stable_rates(
                lab, case, {"norm": norm, "steps": trial_steps, **size}, stable_lrs, seeds
            ),
            stable_lrs,
        )
        for norm in (NONE, NORMAL)
    }
    parts = [
        _fewer(arms[NONE], arms[NORMAL], best, lrs, seeds),
        _larger(largest, stable_lrs, seeds),
    ]
    return parts, [_chart(arms, best)], best[NONE]


def smoothed(trial: Trial) -> np.ndarray:
    """The training loss, averaged over the last `WINDOW` steps up to each: (T - WINDOW + 1,)."""
    window = min(WINDOW, len(trial.loss.values))
    return np.convolve(trial.loss.values, np.full(window, 1 / window), "valid")


def steps_to(trial: Trial, target: float) -> float:
    """Steps until the smoothed loss is as low as `target`; all of them if it never is."""
    reached = np.flatnonzero(smoothed(trial) <= target)
    return float(reached[0] + WINDOW if reached.size else len(trial.loss.values))


# --- verdicts and the chart -----------------------------------------------------------------------


def _fewer(
    plain: Sequence[Trial],
    normal: Sequence[Trial],
    best: dict[str, float],
    lrs: Sequence[float],
    seeds: Sequence[int],
) -> Verdict:
    targets = [np.nanmin(smoothed(trial)) for trial in plain]
    before = [steps_to(trial, target) for trial, target in zip(plain, targets, strict=True)]
    after = [steps_to(trial, target) for trial, target in zip(normal, targets, strict=True)]
    missed = sum(
        bool(np.nanmin(smoothed(trial)) > target)
        for trial, target in zip(normal, targets, strict=True)
    )
    edges = [norm for norm, lr in best.items() if lr in (lrs[0], lrs[-1])]
    rates = f"{best[NONE]:g} without, {best[NORMAL]:g} with"
    return judge(
        np.log2(before),
        np.log2(after),
        band=math.log2(FEWER),
        statement=(
            f"batch normalisation takes fewer steps to the same loss (rates {rates}"
            f"{'; at the edge of the grid: ' + ', '.join(edges) if edges else ''}; {missed} of "
            f"{len(seeds)} never reach it, which counts as all steps)"
        ),
        unit="octaves of steps",
        seeds=seeds,
        names=("plain", "normalised"),
    )


def _larger(largest: dict[str, np.ndarray], lrs: Sequence[float], seeds: Sequence[int]) -> Verdict:
    lowest = lrs[0] / 3  # what a net counts as that learns at none of the rates
    octaves = {norm: np.log2(np.maximum(rates, lowest)) for norm, rates in largest.items()}
    at_end = int((largest[NORMAL] == lrs[-1]).sum())
    return judge(
        octaves[NONE],
        octaves[NORMAL],
        band=math.log2(LARGER),
        better="higher",
        statement=(
            "batch normalisation bears larger learning rates"
            f"{f' ({at_end} of {len(seeds)} at the largest one tried)' if at_end else ''}"
        ),
        unit="octaves of the rate",
        seeds=seeds,
    )


def _chart(arms: dict[str, list[Trial]], best: dict[str, float]) -> Chart:
    lines = []
    for norm, trials in arms.items():
        kept = [smoothed(trial) for trial in trials if learns(trial)]
        if kept:
            label = f"{'no normalisation' if norm == NONE else norm}, rate {best[norm]:g}"
            lines.append(measured(label, WINDOW + np.arange(len(kept[0])), kept))
    return Chart(
        title="Training loss with and without batch normalisation, each at its best rate",
        x_label="step",
        y_label="training loss",
        lines=tuple(lines),
        log_y=True,
    )
