"""Glorot and Bengio 2010: normalised weights keep a deep tanh net's signal and gradient alike.

Two arms. The *signal* arm measures activations and gradients of five tanh layers at the start.
The *training* arm counts the steps until such nets have learnt the digits.

Letters: L layers, S seeds, T steps.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.samples import cifar, digit_images, needs
from sounding.theory import activation, predict, weight_variance
from sounding.train import Case, Recipe, seeded, train
from sounding.verdict import Verdict, agrees, judge, mean, overall, within

DEPTH = 5  # hidden layers
XAVIER, STANDARD = "Xavier", "standard"
SCHEMES = {XAVIER: "xavier", STANDARD: "pytorch default"}  # names of theory
SIGNAL_RANGE, GRADIENT_RANGE, KEPT = (0.08, 0.13), (0.06, 0.12), (0.35, 1.0)
LEARNT = 0.99  # training accuracy, over an epoch's worth of batches
LRS = (0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS, TUNING_SEED = (0, 1, 2, 3, 4), 100
BATCH = 64

STATEMENT = (
    "In a net of five tanh layers weights of variance 2 / (fan_in + fan_out) keep activations and "
    "gradients of similar size, weights of variance 1 / (3 fan_in) shrink them, and the net learns "
    "faster with the former"
)
QUICK = (
    "Five hidden layers of 1000 tanh units, Gaussian input, 5 seeds, t-intervals: with the "
    "standard weights the activations' deviation of layer 5 over layer 1 lies in [0.08, 0.13] and "
    "the gradients' of layer 1 over layer 5 in [0.06, 0.12]; with Xavier's both lie above 0.35; "
    "and on the digits (width 256, SGD, learning rate chosen for each on training loss and on "
    "another seed) Xavier's net reaches 99 % training accuracy in fewer steps, paired over 5 seeds"
)
FULL = QUICK.replace("on the digits (width 256, SGD", "on CIFAR-10 (width 1000, SGD").replace(
    "99 %", "40 %"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    width: int = 1000,
    training_width: int = 256,
    steps: int = 300,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """Both arms; the sizes are arguments for the tests only."""
    lab.plan(2 * (len(SEEDS) + len(lrs) + len(SEEDS)))
    parts, reported, charts = signal_arm(lab, width)
    arms = {
        name: _tuned(lab, {"scheme": name, "width": training_width, "steps": steps}, lrs)
        for name in SCHEMES
    }
    faster = _faster(arms, lrs)
    parts.append(faster)
    verdict = overall(faster, parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, *reported), [*charts, _curves(arms)]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    width: int = 1000,
    steps: int = 20 * 780,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """The published size on CIFAR-10, to 40 % training accuracy; arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="steps")
    parts, reported, charts = signal_arm(lab, width)
    size = {"width": width, "steps": steps, "device": device, "images": images, "learnt": 0.4}
    arms = {name: _tuned(lab, {"scheme": name, **size}, lrs) for name in SCHEMES}
    faster = _faster(arms, lrs)
    parts.append(faster)
    verdict = overall(faster, parts, statement=STATEMENT, criterion=FULL)
    return (verdict, *parts, *reported), [*charts, _curves(arms)]


CLAIM = Claim(
    name="glorot-2010-tanh",
    topic="initialisation",
    claim=STATEMENT,
    source=(
        "Glorot and Bengio, 'Understanding the difficulty of training deep feedforward neural "
        "networks', AISTATS 2010, sections 4.2 and 5"
    ),
    link="https://proceedings.mlr.press/v9/glorot10a.html",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 640, "steps": 20},
    how=(
        "Deviations of the activations, and of gradients that begin as Gaussian noise behind the "
        "last layer, at every layer of fresh nets, beside mean-field theory. Then nets of five "
        "tanh layers learn the digits, each with its best of five rates; a net has learnt when 99 "
        "% of the last epoch's worth of samples were right."
    ),
    depends=(
        "Xavier's rule is made for linear units. With tanh the signal decays as well, to half "
        "over five layers, by a power of depth instead of exponentially: weights of variance "
        "1 / fan_in lie exactly on the edge between order and chaos. The paper's tables of test "
        "errors are not tried. Its standard weights are PyTorch's default."
    ),
)


# --- signal and gradient at the start -------------------------------------------------------------


def deviations(scheme: str, width: int, seed: int) -> dict[str, np.ndarray]:
    """Root mean squares of each layer's activations and pre-activation gradients: (L,) each."""
    with seeded(seed):
        layers = [drawn(nn.Linear(width, width), scheme) for _ in range(DEPTH)]
        hidden, noise = torch.randn(32, width, requires_grad=True), torch.randn(32, width)
    before, after = [], []
    for layer in layers:
        before.append(layer(hidden))
        hidden = before[-1].tanh()
        after.append(hidden)
    # the noise comes through one more layer of the same kind, as from a layer above
    with seeded(seed + 1):
        above = drawn(nn.Linear(width, width), scheme)
    gradients = torch.autograd.grad((above(hidden) * noise).sum(), before)
    return {
        "signal": np.array([float(t.detach().double().square().mean().sqrt()) for t in after]),
        "gradient": np.array([float(g.double().square().mean().sqrt()) for g in gradients]),
    }


def drawn(layer: nn.Linear, scheme: str) -> nn.Linear:
    """`layer` with uniform weights of the scheme's variance and biases of zero."""
    variance = weight_variance(SCHEMES[scheme], layer.in_features, layer.out_features)
    bound = math.sqrt(3 * variance)
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


def signal_arm(lab: Lab, width: int) -> tuple[list[Verdict], list[Verdict], list[Chart]]:
    """The published ranges, theory beside them, and the charts."""
    runs = lab.map(deviations, grid(SEEDS, scheme=list(SCHEMES), width=[width]))
    of = {
        XAVIER: runs[: len(SEEDS)],
        STANDARD: runs[len(SEEDS) :],
    }
    parts, reported = [], []
    for scheme, mine in of.items():
        signal = [run["signal"][-1] / run["signal"][0] for run in mine]
        gradient = [run["gradient"][0] / run["gradient"][-1] for run in mine]
        ranges = (KEPT, KEPT) if scheme == XAVIER else (SIGNAL_RANGE, GRADIENT_RANGE)
        for what, ratios, (low, high) in (
            ("activations, layer 5 over 1", signal, ranges[0]),
            ("gradients, layer 1 over 5", gradient, ranges[1]),
        ):
            parts.append(
                within(
                    mean(ratios),
                    low,
                    high,
                    statement=f"{scheme}: deviation of the {what}, lies in [{low:g}, {high:g}]",
                    unit="ratio",
                    seeds=SEEDS,
                )
            )
        reported.append(_theory_holds(scheme, signal))
    return parts, reported, [_chart("signal", of), _chart("gradient", of)]


def theory(scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """(L,) mean-field deviations of activations, and of gradients relative to the last layer's."""
    scale = weight_variance(SCHEMES[scheme], 1, 1)  # fan_in Var(w) of a square layer
    phi = activation("tanh")
    found = predict([(scale, 0.0, phi)] * DEPTH, q0=1.0, c0=0.0)
    signal = np.sqrt(found.activation_second_moment)
    return signal, np.sqrt(found.gradient / found.gradient[-1])


def _theory_holds(scheme: str, ratios: Sequence[float]) -> Verdict:
    signal, _ = theory(scheme)
    return agrees(
        ratios,
        np.full(len(ratios), signal[-1] / signal[0]),
        tolerance=0.02,
        statement=f"reported: {scheme}: activations, layer 5 over 1, as mean-field theory has it",
        unit="ratio",
        seeds=SEEDS,
    )


def _chart(what: str, of: dict[str, list[dict[str, np.ndarray]]]) -> Chart:
    lines, layers = [], np.arange(1, DEPTH + 1)
    for scheme, runs in of.items():
        at = 0 if what == "signal" else -1
        values = np.array([run[what] / run[what][at] for run in runs])
        error = values.std(0, ddof=1) / math.sqrt(len(values))
        expected = theory(scheme)[what == "gradient"]
        lines.append(Line(label=scheme, x=layers, y=values.mean(0), error=error))
        label = f"{scheme}, theory"
        lines.append(Line(label=label, x=layers, y=expected / expected[at], theory=True))
    end = "first" if what == "signal" else "last"
    named = "activations" if what == "signal" else "gradients"
    return Chart(
        title=f"Deviation of the {named}, five tanh layers, over the {end} layer's",
        x_label="layer",
        y_label="ratio",
        lines=tuple(lines),
        log_y=True,
    )


# --- training -------------------------------------------------------------------------------------


def tanh_net(scheme: str, inputs: int, width: int) -> nn.Sequential:
    """Five hidden layers of tanh and a linear one, all drawn by the scheme."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before in (inputs, *[width] * (DEPTH - 1)):
        layers += [drawn(nn.Linear(before, width), scheme), nn.Tanh()]
    return nn.Sequential(*layers, drawn(nn.Linear(width, 10), scheme))


def steps_to_learn(
    scheme: str,
    width: int,
    lr: float,
    steps: int,
    seed: int,
    learnt: float = LEARNT,
    device: str = "",
    images: int | None = None,
) -> dict[str, Any]:
    """Steps until the accuracy over the last epoch's worth of batches reaches `learnt`.

    Returns:
        'steps': that number, infinite if it was never reached; 'loss': the mean over the run;
        'accuracy': of every step's batch (T,).
    """
    data = cifar(device).train if device else digit_images().train
    x, y = data.x[:images], data.y[:images]
    right: list[torch.Tensor] = []

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        right.append((output.detach().argmax(1) == target).double().mean())
        return functional.cross_entropy(output, target)

    build = functools.partial(_on, x.device, scheme, x[0].numel(), width)
    trial = train(Case(build, loss, (x, y), Recipe(lr=lr, batch_size=BATCH, steps=steps)), seed)
    accuracy = torch.stack(right).cpu().numpy()
    smoothed = running_mean(accuracy, min(len(accuracy), max(1, len(x) // BATCH)))
    reached = np.flatnonzero(smoothed >= learnt)
    return {
        "steps": float(reached[0] + 1) if reached.size else math.inf,
        "loss": math.inf if trial.diverged else float(trial.loss.values.mean()),
        "accuracy": accuracy,
    }


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """(T,) means over the last `window` values; NaN where there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found = np.full(len(values), np.nan)
    found[window - 1 :] = (sums[window:] - sums[:-window]) / window
    return found


def _on(device: torch.device, scheme: str, inputs: int, width: int) -> nn.Module:
    return tanh_net(scheme, inputs, width).to(device)


Arm = tuple[float, list[dict[str, Any]]]  # the learning rate, and one run a seed


def _tuned(lab: Lab, settings: dict[str, Any], lrs: Sequence[float]) -> Arm:
    """The rate with the lowest mean training loss on a seed of its own; then every seed."""
    search = lab.map(steps_to_learn, [{**settings, "lr": r, "seed": TUNING_SEED} for r in lrs])
    best = lrs[int(np.argmin([run["loss"] for run in search]))]
    return best, lab.map(steps_to_learn, [{**settings, "lr": best, "seed": s} for s in SEEDS])


def _faster(arms: dict[str, Arm], lrs: Sequence[float]) -> Verdict:
    """In doublings of the number of steps; a net that has not learnt counts as the longest run."""
    longest = float(max(len(run["accuracy"]) for _, runs in arms.values() for run in runs))
    columns = {
        name: np.log2([min(run["steps"], longest) for run in runs])
        for name, (_, runs) in arms.items()
    }
    verdict = judge(
        columns[STANDARD],
        columns[XAVIER],
        statement="with Xavier's weights the net has learnt in fewer steps",
        unit="doublings of the steps",
        seeds=SEEDS,
        names=(STANDARD, XAVIER),
    )
    steps = {name: [run["steps"] for run in runs] for name, (_, runs) in arms.items()}
    edge = [name for name, (lr, _) in arms.items() if lr in (min(lrs), max(lrs))]
    return _noted(
        verdict,
        *[
            f"{name}: {np.median(found):g} steps at rate {arms[name][0]:g}"
            for name, found in steps.items()
        ],
        *[f"the rate of {name} is at the edge of the grid" for name in edge],
    )


def _noted(verdict: Verdict, *notes: str) -> Verdict:
    return dataclasses.replace(verdict, note="; ".join(filter(None, (verdict.note, *notes))))


def _curves(arms: dict[str, Arm]) -> Chart:
    lines = []
    for name, (lr, runs) in arms.items():
        window = 22
        shortest = min(len(run["accuracy"]) for run in runs)
        values = np.stack(
            [running_mean(run["accuracy"][:shortest], min(window, shortest)) for run in runs]
        )
        kept = slice(min(window, shortest) - 1, None, max(1, shortest // 60))
        x = np.arange(1, shortest + 1)[kept]
        error = values.std(0, ddof=1)[kept] / math.sqrt(len(values))
        label = f"{name}, rate {lr:g}"
        lines.append(Line(label=label, x=x, y=values.mean(0)[kept], error=error))
    return Chart(
        title="Training accuracy of five tanh layers",
        x_label="step",
        y_label="accuracy over the last 22 batches",
        lines=tuple(lines),
    )
