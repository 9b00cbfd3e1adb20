"""Santurkar et al. 2018: batch normalisation works with noise behind it, and smooths the loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.deep_nets import (
    DEFAULT,
    HE,
    NOISY,
    NONE,
    NORMAL,
    TUNING_SEED,
    deep_case,
    image_case,
)
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured
from sounding.studies.samples import needs
from sounding.train import Case, final_loss, train
from sounding.verdict import Verdict, judge, overall

ARMS = (NONE, NORMAL, NOISY)
LRS = (3e-3, 1e-2, 3e-2, 0.1)
SEEDS = (0, 1, 2, 3, 4)
SHARE, DRIFT = 0.25, 2.0
LOOK = 30  # every so many steps the net is looked at
ALONG = (0.5, 1.0, 2.0, 4.0)  # steps along the gradient, in multiples of the training's own
FIXED = 256  # samples of the batch that is looked at

STATEMENT = (
    "Batch normalisation helps as much with noise behind it that makes the distributions drift, "
    "so less drift is not why it helps; it makes the loss smoother"
)
RULE = (
    f"5 seeds, at the learning rate of {LRS[0]:g} to {LRS[-1]:g} with the lowest sum of log losses "
    "of the three nets on another seed, by t-intervals: the final training loss of the noisy net "
    f"is above the normalised one's by less than {SHARE:g} of what the plain net's (He's "
    f"initialisation) is; unit means drift more than {DRIFT:g} times as much in the noisy net as "
    "in the plain one; the largest change of the gradient per distance along it, median over "
    "steps, is smaller in the normalised net than in the plain one"
)
QUICK = f"12 fully connected layers of 64 on digits, SGD with momentum, 300 steps; {RULE}"
FULL = f"VGG-11 on CIFAR-10, SGD with momentum, 30 epochs; {RULE}"


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    steps: int = 300,
    width: int = 64,
    seeds: Sequence[int] = SEEDS,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """The three nets on digits, and a badly initialised plain one; the sizes are arguments."""
    lab.plan(len(ARMS) * (len(lrs) + len(seeds)) + len(seeds))
    size = {"images": False, "steps": steps, "width": width}
    lr, arms = _arms(lab, deep_case, {"steps": steps, "width": width}, size, seeds, lrs)
    default = lab.map(
        observed, [{"norm": NONE, "lr": lr, "scheme": DEFAULT, **size, "seed": s} for s in seeds]
    )
    parts = _parts(arms, lr, seeds)
    reported = _gap(
        {**arms, NONE: default},
        f"reported, against the plain net with PyTorch's initialisation (rate {lr:g}): ",
        seeds,
    )
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, reported), _charts(arms)


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    steps: int = 30 * 390,
    channels: int = 64,
    seeds: Sequence[int] = SEEDS,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """VGG-11 on CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="training loss")
    lab.plan(len(ARMS) * (len(lrs) + len(seeds)))
    size = {"steps": steps, "device": device, "channels": channels}
    mine = {"images": True, "count": images, "width": channels, "steps": steps, "device": device}
    lr, arms = _arms(lab, image_case, {**size, "images": images}, mine, seeds, lrs)
    parts = _parts(arms, lr, seeds)
    return (overall(parts[0], parts, statement=STATEMENT, criterion=FULL), *parts), _charts(arms)


CLAIM = Claim(
    name="santurkar-2018-noise",
    topic="normalisation",
    claim=STATEMENT,
    source=(
        "Santurkar, Tsipras, Ilyas, Mądry, 'How Does Batch Normalization Help Optimization?', "
        "NeurIPS 2018, sections 2.1 and 3.1"
    ),
    link="https://arxiv.org/abs/1805.11604",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 16, "steps": 2},
    how=(
        "Three nets from He's initialisation: plain, with batch normalisation, and with noise "
        "behind it whose mean and scale are drawn anew for every unit at every step. During the "
        "training a copy of the net is looked at on a fixed batch: how far every unit's mean moves "
        "in one step, in parts of its deviation, and how much the gradient changes per distance "
        "at points along it."
    ),
    changed=(
        "The momentum was chosen after trials, as one that gives learning rates like those "
        "published."
    ),
    depends=(
        "The comparison needs a plain net that is well initialised: with PyTorch's default such a "
        "deep net stays at chance, and then everything 'is as good as batch normalisation'. On a "
        "small task the well-initialised plain net reaches a lower training loss than both others "
        "in the same steps, so there is no help that noise could leave intact, and the first part "
        "fails. At large learning rates the noise costs more than at small ones."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def observed(
    norm: str,
    lr: float,
    steps: int,
    width: int,
    images: bool,
    seed: int,
    scheme: str = HE,
    device: str = "cpu",
    count: int | None = None,
) -> dict[str, Any]:
    """One training, looked at every `LOOK` steps: loss, drift of unit means, smoothness."""
    case = (
        image_case(norm, lr, steps, device, count, width)
        if images
        else deep_case(norm, lr, steps, scheme, width=width)
    )
    nets: list[nn.Sequential] = []

    def build() -> nn.Module:
        nets.append(case.build())  # pyright: ignore[reportArgumentType]
        return nets[-1]

    batch = tuple(part[:FIXED] for part in case.batches)
    means: list[torch.Tensor] = []
    found: dict[str, list[float]] = {"drift": [], "smoothness": []}

    def look(step: int, _: torch.Tensor) -> None:
        place = step % LOOK
        if place < LOOK - 2:
            return
        with torch.random.fork_rng():
            means.append(unit_means(copy.deepcopy(nets[-1]), batch[0]))
        if place == LOOK - 1:
            found["drift"].append(float((means[-1] - means[-2]).abs().mean()))
            found["smoothness"].append(smoothness(copy.deepcopy(nets[-1]), batch, lr))

    trial = train(case.replace(build=build), seed, on_step=look)
    return {
        "loss": final_loss(trial),
        "test accuracy": trial.metrics.get("test accuracy", math.nan),
        "losses": trial.loss.values,
        **{
            name: float(np.median(values)) if values else math.nan for name, values in found.items()
        },
    }


@torch.no_grad()
def unit_means(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Every unit's mean before its activation, in parts of its deviation: (units,)."""
    found = []
    for module in net:
        if isinstance(module, nn.ReLU):
            dims = [d for d in range(x.ndim) if d != 1]
            deviation, mean = torch.std_mean(x, dims)
            found.append(mean / (deviation + 1e-12))
        x = module(x)
    return torch.cat(found)


def smoothness(
    net: nn.Module, batch: Sequence[torch.Tensor], lr: float, along: Sequence[float] = ALONG
) -> float:
    """The largest |grad(w - s lr g) - g| / |s lr g| over the multiples s in `along`."""
    weights = [p for p in net.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in weights]
    first = _gradient(net, weights, batch)
    changes = []
    for s in along:
        with torch.no_grad():
            for p, origin, g in zip(weights, start, first, strict=True):
                p.copy_(origin - s * lr * g)
        then = _gradient(net, weights, batch)
        changed = [b - a for a, b in zip(first, then, strict=True)]
        changes.append(float(_length(changed) / (s * lr * _length(first))))
    return max(changes)


def _gradient(
    net: nn.Module, weights: Sequence[nn.Parameter], batch: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """With the same noise at every call."""
    x, y = batch
    with torch.random.fork_rng():
        return torch.autograd.grad(functional.cross_entropy(net(x), y), weights)


def _length(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([part.norm() for part in parts]).norm()


Arms = dict[str, list[dict[str, Any]]]


def _arms(
    lab: Lab,
    case: Callable[..., Case],
    size: dict[str, Any],
    looked: dict[str, Any],
    seeds: Sequence[int],
    lrs: Sequence[float],
) -> tuple[float, Arms]:
    """The common learning rate, and every net's runs at it."""
    jobs = grid([TUNING_SEED], norm=list(ARMS), lr=list(lrs), **{k: [v] for k, v in size.items()})
    losses = np.reshape([final_loss(t) for t in lab.train(case, jobs)], (len(ARMS), len(lrs)))
    lr = lrs[int(np.argmin(np.log(losses).sum(0)))]
    runs = {
        norm: lab.map(observed, [{"norm": norm, "lr": lr, **looked, "seed": s} for s in seeds])
        for norm in ARMS
    }
    return lr, runs


# --- verdicts and charts --------------------------------------------------------------------------


def _values(runs: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([run[key] for run in runs], float)


def _parts(arms: Arms, lr: float, seeds: Sequence[int]) -> list[Verdict]:
    drift = judge(
        np.log2(_values(arms[NONE], "drift")),
        np.log2(_values(arms[NOISY], "drift")),
        better="higher",
        band=math.log2(DRIFT),
        statement="unit means drift more in the noisy net than in the plain one",
        unit="octaves of drift",
        seeds=seeds,
        names=(NONE, NOISY),
    )
    smooth = judge(
        np.log10(_values(arms[NONE], "smoothness")),
        np.log10(_values(arms[NORMAL], "smoothness")),
        statement="batch normalisation makes the gradient change less per distance along it",
        unit="decades of change per distance",
        seeds=seeds,
        names=(NONE, NORMAL),
    )
    return [_gap(arms, f"at learning rate {lr:g} ", seeds), drift, smooth]


def _gap(arms: Arms, where: str, seeds: Sequence[int]) -> Verdict:
    plain, normal, noisy = (_values(arms[norm], "loss") for norm in ARMS)
    return judge(
        SHARE * (plain - normal),
        noisy - normal,
        statement=(
            f"{where}the noisy net loses less than {SHARE:g} of what batch normalisation gains "
            "over the plain one"
        ),
        unit="of training loss",
        seeds=seeds,
        names=(NONE, NOISY),
    )


def _charts(arms: Arms) -> list[Chart]:
    labels = {NONE: "no normalisation", NORMAL: NORMAL, NOISY: NOISY}
    lines = []
    for norm, runs in arms.items():
        whole = max(len(run["losses"]) for run in runs)
        kept = [_smoothed(run["losses"]) for run in runs if len(run["losses"]) == whole]
        steps = np.arange(len(kept[0])) + whole - len(kept[0])
        lines.append(measured(labels[norm], steps, kept))
    return [
        Chart(
            title="Training loss with batch normalisation, with noise behind it, and without",
            x_label="step",
            y_label="training loss",
            lines=tuple(lines),
            log_y=True,
        )
    ]


def _smoothed(losses: np.ndarray, window: int = 20) -> np.ndarray:
    window = min(window, len(losses))
    return np.convolve(losses, np.full(window, 1 / window), "valid")
