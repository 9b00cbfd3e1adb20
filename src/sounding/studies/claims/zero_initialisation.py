"""Weights that are all zero, or all equal, do not break the symmetry between hidden units.

Two arms. The *gradient* arm takes one gradient at zero. The *training* arm trains from zero, from
a constant and from random weights, and measures how far apart the units of a layer have come.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.samples import accuracy, digit_images
from sounding.train import Case, Recipe, Trial, seeded
from sounding.verdict import Verdict, every, judge, overall

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}
ZERO, CONSTANT, RANDOM = "zero", "constant", "random"
VALUE = 0.1  # of all weights and biases, where they are constant
WIDTH, LR = 32, 0.1
IDENTICAL = 1e-10  # relative difference, in double precision
GRADIENT_SEEDS, SEEDS = (0, 1, 2), (0, 1, 2, 3, 4)

STATEMENT = (
    "From weights that are all zero no weight of a net with hidden layers ever moves if the "
    "activation is zero at zero, and from weights that are all equal its hidden units stay equal"
)
QUICK = (
    "tanh and ReLU, 2, 3 and 6 layers, 3 random batches: at zero the gradient of every weight and "
    "bias but the output's bias is exactly 0, and on the digits every weight is exactly 0 after "
    "200 steps of SGD and of Adam, 5 seeds; and from weights that are all 0.1 the units of every "
    f"hidden layer differ by less than {IDENTICAL:g} of their size after these steps"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    depths: Sequence[int] = (2, 3, 6),
    seeds: Sequence[int] = SEEDS,
    steps: int = 200,
    optimisers: Sequence[str] = ("sgd", "adam"),
) -> Measured:
    """Both arms; the sizes are arguments for other runs."""
    arms = [(ZERO, "tanh"), (ZERO, "relu"), (CONSTANT, "tanh"), (CONSTANT, "relu")]
    runs = [(*arm, optimiser) for arm in arms for optimiser in optimisers]
    runs.append((RANDOM, "tanh", "sgd"))
    lab.plan(len(ACTIVATIONS) * len(depths) * len(GRADIENT_SEEDS) + len(runs) * len(seeds))
    parts, reported = gradient_arm(lab, depths)
    settings = [
        {"weights": weights, "activation": phi, "optimiser": optimiser, "steps": steps}
        for weights, phi, optimiser in runs
    ]
    trials = lab.train(digits_case, [{**one, "seed": s} for one in settings for s in seeds])
    of = {run: trials[i * len(seeds) :][: len(seeds)] for i, run in enumerate(runs)}
    parts += [_motionless(of, seeds), _identical(of, seeds)]
    broken = _compared(of[CONSTANT, "tanh", "sgd"], of[RANDOM, "tanh", "sgd"], seeds)
    verdict = overall(parts[-1], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, *reported, broken), [_chart(of)]


def full(lab: Lab, **sizes: Any) -> Measured:
    """More depths, more seeds and longer runs; on the CPU as well."""
    larger = {"depths": (2, 3, 6, 12, 24), "seeds": tuple(range(10)), "steps": 2000}
    return quick(lab, **{**larger, **sizes})


CLAIM = Claim(
    name="zero-initialisation",
    topic="initialisation",
    claim=STATEMENT,
    source=(
        "Common teaching; Goodfellow, Bengio, Courville, 'Deep Learning', MIT Press 2016, "
        "section 8.4, on why random weights must break the symmetry"
    ),
    link="https://www.deeplearningbook.org/contents/optimization.html",
    criterion=QUICK,
    full_criterion=QUICK.replace("2, 3 and 6 layers", "2, 3, 6, 12 and 24 layers")
    .replace("200 steps", "2000 steps")
    .replace("5 seeds", "10 seeds"),
    quick=quick,
    full=full,
    how=(
        "One gradient of the cross-entropy at zero weights, of nets with 2, 3 and 6 layers on "
        "three random batches, in double precision. Then 200 steps of SGD and of Adam on the "
        "1,437 training digits (a net 64-32-32-10 in double precision), from zero, from 0.1 "
        "everywhere, and from random weights."
    ),
    depends=(
        "'At zero all gradients vanish' is not quite true: the output's bias always gets one, so "
        "the net learns how frequent the classes are, and with a sigmoid, which is 1/2 at zero, "
        "the last weights get one too (the hidden units stay equal all the same). A net without "
        "hidden layers may start at zero: its loss is convex. Equal units are told apart by "
        "anything that treats them differently: dropout, noise, or random weights in one "
        "layer alone."
    ),
)


# --- the gradient at zero -------------------------------------------------------------------------


def dense_net(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Fully connected layers of these widths, in double precision."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1]).double()


def gradient_at_zero(activation: str, depth: int, seed: int) -> dict[str, float]:
    """Largest entries of the gradient at zero: of the output's bias, its weights, and the rest."""
    with seeded(seed):
        net = dense_net([8, *[6] * (depth - 1), 3], activation)
        x, y = torch.randn(16, 8, dtype=torch.float64), torch.randint(0, 3, (16,))
    for p in net.parameters():
        nn.init.zeros_(p)
    gradients = torch.autograd.grad(functional.cross_entropy(net(x), y), list(net.parameters()))
    *rest, weights, bias = (float(g.abs().max()) for g in gradients)
    return {"rest": max(rest), "weights": weights, "bias": bias}


def gradient_arm(lab: Lab, depths: Sequence[int]) -> tuple[list[Verdict], list[Verdict]]:
    """Which gradients are zero at zero: the claim's parts, and what it says too much."""
    settings = grid(GRADIENT_SEEDS, activation=list(ACTIVATIONS), depth=list(depths))
    found = lab.map(gradient_at_zero, settings)
    pairs = list(zip(settings, found, strict=True))
    odd = [run for job, run in pairs if job["activation"] != "sigmoid"]
    sigmoid = [run for job, run in pairs if job["activation"] == "sigmoid"]
    zero = every(
        [max(run["rest"], run["weights"]) for run in odd],
        below=math.ulp(0),  # exactly zero
        statement="tanh, ReLU: at zero only the output's bias has a gradient",
    )
    bias = every(
        [run["bias"] for run in found],
        above=1e-6,
        statement="'all gradients vanish at zero' is wrong: the output's bias always has one",
    )
    weights = every(
        [run["weights"] for run in sigmoid],
        above=1e-6,
        statement="'all gradients vanish at zero' is wrong for the last weights behind a sigmoid",
    )
    return [zero], [bias, weights]


# --- training -------------------------------------------------------------------------------------


def symmetric_net(weights: str, activation: str) -> nn.Sequential:
    """64-32-32-10 with weights and biases that are zero, all equal, or random."""
    net = dense_net([64, WIDTH, WIDTH, 10], activation)
    for p in net.parameters() if weights != RANDOM else ():
        nn.init.constant_(p, 0.0 if weights == ZERO else VALUE)
    return net


@torch.no_grad()
def symmetry(net: nn.Module) -> dict[str, float]:
    """The largest weight of all, and how far the hidden units differ, relative to their size."""
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    spread = [
        ((w.max(0).values - w.min(0).values).max() / w.abs().max()).nan_to_num(0.0)
        for w in (layer.weight for layer in layers[:-1])
    ]
    largest = max(float(layer.weight.abs().max()) for layer in layers)
    return {"largest weight": largest, "difference of units": float(max(spread))}


def digits_case(weights: str, activation: str, optimiser: str, steps: int) -> Case:
    """The net on the digits, in double precision."""
    x, y = digit_images().train
    x = x.double()
    lr = LR if optimiser == "sgd" else LR / 100
    recipe = Recipe(optimiser=optimiser, lr=lr, batch_size=128, steps=steps)

    def metric(net: nn.Module) -> dict[str, float]:
        return {**symmetry(net), **accuracy(x, y, net)}

    build = functools.partial(symmetric_net, weights, activation)
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=weights)


Arms = Mapping[tuple[str, str, str], Sequence[Trial]]


def _motionless(of: Arms, seeds: Sequence[int]) -> Verdict:
    runs = [trial for (weights, *_), trials in of.items() if weights == ZERO for trial in trials]
    return every(
        [trial.metrics["largest weight"] for trial in runs],
        below=math.ulp(0),
        statement="from zero no weight has moved at the end of the training",
        seeds=[trial.seed for trial in runs],
    )


def _identical(of: Arms, seeds: Sequence[int]) -> Verdict:
    runs = [t for (weights, *_), trials in of.items() if weights == CONSTANT for t in trials]
    return every(
        [trial.metrics["difference of units"] for trial in runs],
        below=IDENTICAL,
        statement="from equal weights the units of a layer are still equal after the training",
        seeds=[trial.seed for trial in runs],
    )


def _compared(constant: Sequence[Trial], random: Sequence[Trial], seeds: Sequence[int]) -> Verdict:
    return judge(
        [trial.metrics["accuracy"] for trial in constant],
        [trial.metrics["accuracy"] for trial in random],
        statement="reported: random weights reach a higher training accuracy than equal ones",
        unit="training accuracy",
        better="higher",
        seeds=seeds,
        names=("equal", "random"),
    )


def _chart(of: Arms) -> Chart:
    lines = []
    for weights in (ZERO, CONSTANT, RANDOM):
        runs = np.stack([trial.loss.values for trial in of[weights, "tanh", "sgd"]])  # (S, T)
        kept = runs[:, : runs.shape[1] // 10 * 10].reshape(len(runs), -1, 10).mean(2)
        error = kept.std(0, ddof=1) / math.sqrt(len(kept))
        x = np.arange(kept.shape[1]) * 10 + 5
        lines.append(Line(label=f"{weights} weights", x=x, y=kept.mean(0), error=error))
    return Chart(
        title="Training from equal and from random weights (tanh, SGD)",
        x_label="step",
        y_label="training loss",
        lines=tuple(lines),
    )
