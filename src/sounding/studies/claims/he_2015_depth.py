"""He et al. 2015: variance 2 / fan_in keeps the signal of a ReLU net through 30 layers.

Two arms. The *variance* arm measures how the mean square of the pre-activations and of their
gradients changes from layer 1 to layer 30, against theory. The *training* arm trains such nets.
The published claim is that the net trains, not that it becomes more accurate.

Letters: L layers, S seeds.
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
from sounding.studies.learning_rates import TUNING_SEED, Arm, tuned
from sounding.studies.lines import measured, predicted
from sounding.studies.samples import accuracy, cifar, digit_images, needs
from sounding.train import Case, Recipe, Trial, final_loss, seeded
from sounding.verdict import Verdict, agrees, every, judge, overall

DEPTH = 30
HE, XAVIER, DEFAULT = "He", "Xavier", "PyTorch default"
# n Var(w) / 2, the factor on the mean square per ReLU layer of n inputs and n outputs
FACTORS = {HE: 1.0, XAVIER: 1 / 2, DEFAULT: 1 / 6}
TOLERANCE = 0.5  # decades, over all layers; the published criterion of this project's list, D4
TRAINED, STALLED = 0.5, 0.2  # training accuracy, of ten classes
LRS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
ADAM_LR = 3e-4  # the lower end of where Adam was seen to rescue Xavier's net
SEEDS = (0, 1, 2, 3, 4)
VARIANCE_SEEDS = tuple(range(8))

STATEMENT = (
    "A plain ReLU net of 30 layers keeps its signal and trains with He's initialisation; with "
    "Xavier's the mean square halves at every layer, and it stalls"
)
QUICK = (
    f"log10 of the mean square of layer {DEPTH} over layer 1 (width 512, forward and backward, "
    f"He, Xavier, PyTorch's default) within ±{TOLERANCE} of theory, t-interval over 8 seeds; and "
    f"30 fully connected layers (width 128, digits, SGD with momentum 0.9, 200 steps): training "
    f"accuracy above {TRAINED} with He on all of 5 seeds at its best learning rate of {LRS}, "
    f"chosen by training loss on another seed, and below {STALLED} with Xavier in every run"
)
FULL = (
    "27 convolutions and 3 fully connected layers on CIFAR-10, SGD with momentum 0.9, 30 epochs: "
    f"training accuracy above {TRAINED} with He on all of 5 seeds at its best learning rate of "
    f"{LRS}, chosen by training loss on another seed; with Xavier the final loss within 1 % of "
    "log(10) in every run"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    width: int = 512,
    training_width: int = 128,
    steps: int = 200,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """Both arms, in about a minute of one core; the sizes are arguments for the tests only."""
    lab.plan(len(FACTORS) * (len(VARIANCE_SEEDS) + len(lrs) + len(SEEDS)) + len(SEEDS))
    parts, charts = variance_arm(width, lab)
    size = {"width": training_width, "steps": steps}
    settings = {scheme: {"scheme": scheme, **size} for scheme in FACTORS}
    he, xavier, default = tuned(lab, dense_case, settings, lrs, SEEDS).values()
    adam = {"scheme": XAVIER, **size, "optimiser": "adam", "lr": ADAM_LR}
    rescued = lab.train(dense_case, [{**adam, "seed": seed} for seed in SEEDS])
    parts += [_trains(he), _stalls(xavier, XAVIER)]
    verdict = overall(_compared(xavier, he), parts, statement=STATEMENT, criterion=QUICK)
    reported = [_stalls(default, DEFAULT), _rescued(xavier, rescued)]
    return (verdict, *parts, *reported), charts


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    steps: int = 30 * 390,
    channels: int = 32,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """The training arm at the published size; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="training accuracy")
    size = {"device": device, "images": images, "steps": steps, "channels": channels}
    lab.plan(2 * (len(lrs) + len(SEEDS)) + 2)
    settings = {scheme: {"scheme": scheme, **size} for scheme in (HE, XAVIER)}
    he, xavier = tuned(lab, conv_case, settings, lrs, SEEDS).values()
    runs_of_xavier = (*xavier.search, *xavier.trials)
    flat = every(
        [abs(final_loss(trial) / math.log(10) - 1) for trial in runs_of_xavier],
        below=0.01,
        statement="with Xavier the final loss stays within 1 % of log(10), at every learning rate",
        seeds=[trial.seed for trial in runs_of_xavier],
    )
    parts = [_trains(he), flat]
    verdict = overall(_compared(xavier, he), parts, statement=STATEMENT, criterion=FULL)
    normalised = lab.train(
        conv_case,
        [
            {"scheme": scheme, **size, "normalised": True, "lr": lrs[0], "seed": TUNING_SEED}
            for scheme in (HE, XAVIER)
        ],
    )
    both = every(
        [trial.metrics["accuracy"] for trial in normalised],
        above=TRAINED,
        statement="reported: with batch normalisation both initialisations train",
        seeds=[TUNING_SEED, TUNING_SEED],
    )
    return (verdict, *parts, both), ()


CLAIM = Claim(
    name="he-2015-depth",
    topic="initialisation",
    claim=STATEMENT,
    source="He, Zhang, Ren, Sun, 'Delving Deep into Rectifiers', ICCV 2015, section 2.2",
    link="https://arxiv.org/abs/1502.01852",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 32, "steps": 2},
    how=(
        "Theory: over 30 ReLU layers of width 512 the mean square of the signal changes by a "
        "factor 1 (He), 2^-29 (Xavier) and 6^-29 (PyTorch's default), and the gradient likewise; "
        "eight seeds each. Training: 30 fully connected layers on the 1,797 digits, SGD with "
        "momentum, six learning rates chosen on training loss, five fresh seeds."
    ),
    depends=(
        "The paper claims trainability, not accuracy: its 30-layer net ends worse than its "
        "14-layer one. The stall is one of SGD: Adam rescues Xavier's net in part, which is run "
        "and reported beside the verdict. With the default initialisation gradients are below "
        "Adam's epsilon."
    ),
)


# --- networks -------------------------------------------------------------------------------------


def initialise(layer: nn.Linear | nn.Conv2d, scheme: str) -> nn.Linear | nn.Conv2d:
    """`layer` with its weights drawn by `scheme`, as the paper has it: Gaussian, biases zero."""
    if scheme == HE:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif scheme == XAVIER:
        nn.init.xavier_normal_(layer.weight)
    if scheme != DEFAULT and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def dense_net(scheme: str, width: int) -> nn.Sequential:
    """30 fully connected layers from 64 pixels to 10 classes."""
    layers: list[nn.Module] = []
    for inputs in (64, *[width] * (DEPTH - 2)):
        layers += [initialise(nn.Linear(inputs, width), scheme), nn.ReLU()]
    return nn.Sequential(*layers, initialise(nn.Linear(width, 10), scheme))


def conv_net(scheme: str, channels: int, normalised: bool, device: torch.device) -> nn.Sequential:
    """27 convolutions of 3x3, in three stages that halve the image, and 3 connected layers."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage in range(3):
        for position in range(9):
            outputs, stride = channels * 2**stage, 2 if stage and not position else 1
            layers.append(initialise(nn.Conv2d(inputs, outputs, 3, stride, 1), scheme))
            layers += [nn.BatchNorm2d(outputs)] * normalised + [nn.ReLU()]
            inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    for connected in (16 * inputs, 8 * channels):
        layers += [initialise(nn.Linear(connected, 8 * channels), scheme), nn.ReLU()]
    return nn.Sequential(*layers, initialise(nn.Linear(8 * channels, 10), scheme)).to(device)


# --- the variance arm -----------------------------------------------------------------------------


def variance_arm(width: int, lab: Lab) -> tuple[list[Verdict], list[Chart]]:
    """Every scheme's change of mean square over the layers, forward and backward, and theory's."""
    settings = grid(VARIANCE_SEEDS, scheme=list(FACTORS), width=[width])
    decades = np.log10([run["mean_squares"] for run in lab.map(mean_squares, settings)])
    decades = decades.reshape(len(FACTORS), len(VARIANCE_SEEDS), 2, DEPTH)
    verdicts, lines = [], {"signal": [], "gradient": []}
    for (scheme, factor), runs in zip(FACTORS.items(), decades, strict=True):
        signal = runs[:, 0] - runs[:, 0, :1]  # (S, L) since the first layer
        gradient = runs[:, 1] - runs[:, 1, -1:]  # (S, L) since the last one
        theory = math.log10(factor) * np.arange(DEPTH)  # (L,)
        for name, change, expected, end in (
            ("signal", signal, theory, -1),
            ("gradient", gradient, theory[::-1], 0),
        ):
            verdicts.append(_agreement(f"{name} with {scheme}", change[:, end], expected[end]))
            lines[name] += _lines(scheme, change, expected)
    return verdicts, [_chart(name, tuple(drawn)) for name, drawn in lines.items()]


def mean_squares(scheme: str, width: int, seed: int) -> dict[str, np.ndarray]:
    """Mean squares of each layer's pre-activations, and of noise sent back to them: (2, L).

    A chain of ReLU layers without biases, on 32 Gaussian inputs; the gradient starts as Gaussian
    noise at the last pre-activation. Global random state is given back.
    """
    with seeded(seed):
        layers = [initialise(nn.Linear(width, width), scheme) for _ in range(DEPTH)]
        hidden = torch.randn(32, width, requires_grad=True)
        noise = torch.randn(32, width)
    before = []
    for layer in layers:
        before.append(functional.linear(hidden, layer.weight.detach()))
        hidden = before[-1].relu()
    gradients = torch.autograd.grad((before[-1] * noise).sum(), before)
    both = [[t.detach().double().square().mean().item() for t in ts] for ts in (before, gradients)]
    return {"mean_squares": np.array(both)}


def _agreement(what: str, measured: np.ndarray, expected: float) -> Verdict:
    return agrees(
        measured,
        np.full(len(measured), expected),
        tolerance=TOLERANCE,
        statement=f"over {DEPTH} layers the mean square of the {what} changes as theory says",
        unit="decades",
        seeds=VARIANCE_SEEDS,
    )


def _lines(scheme: str, runs: np.ndarray, expected: np.ndarray) -> list[Line]:
    layers = np.arange(1, DEPTH + 1)
    return [measured(scheme, layers, runs), predicted(f"{scheme}, theory", layers, expected)]


def _chart(what: str, lines: tuple[Line, ...]) -> Chart:
    since = "the first layer" if what == "signal" else "the last layer"
    return Chart(
        title=f"Mean square of the {what}, against {since}",
        x_label="layer",
        y_label="decades",
        lines=lines,
    )


# --- the training arm -----------------------------------------------------------------------------


def dense_case(scheme: str, width: int, lr: float, steps: int, optimiser: str = "sgd") -> Case:
    """The fully connected net on digits."""
    x, y = digit_images().train
    momentum = 0.9 if optimiser == "sgd" else 0.0
    recipe = Recipe(optimiser=optimiser, lr=lr, momentum=momentum, batch_size=64, steps=steps)
    build, metric = functools.partial(dense_net, scheme, width), functools.partial(accuracy, x, y)
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=scheme)


def conv_case(
    scheme: str,
    channels: int,
    device: str,
    images: int | None,
    lr: float,
    steps: int,
    normalised: bool = False,
) -> Case:
    """The convolutional net on the first `images` of CIFAR-10; None: all of them."""
    x, y = (part[:images] for part in cifar(device).train)
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=128, steps=steps)
    build = functools.partial(conv_net, scheme, channels, normalised, x.device)
    metric = functools.partial(accuracy, x, y)
    name = scheme + " with batch norm" * normalised
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=name)


def _trains(he: Arm) -> Verdict:
    return every(
        he.metric("accuracy"),
        above=TRAINED,
        statement=f"with He the net trains at learning rate {he.lr:g}, on every seed",
        seeds=SEEDS,
        note=he.note,
    )


def _stalls(arm: Arm, scheme: str) -> Verdict:
    runs = (*arm.search, *arm.trials)
    accuracies = [trial.metrics["accuracy"] for trial in runs]
    reported = "" if scheme == XAVIER else "reported: "
    return every(
        accuracies,
        below=STALLED,
        statement=f"{reported}with {scheme} the net stalls, at every learning rate and seed",
        seeds=[trial.seed for trial in runs],
    )


def _compared(xavier: Arm, he: Arm) -> Verdict:
    return judge(
        xavier.metric("accuracy"),
        he.metric("accuracy"),
        statement="He's initialisation reaches a higher training accuracy than Xavier's",
        unit="training accuracy",
        better="higher",
        seeds=SEEDS,
    )


def _rescued(xavier: Arm, adam: Sequence[Trial]) -> Verdict:
    return judge(
        xavier.metric("accuracy"),
        [trial.metrics["accuracy"] for trial in adam],
        statement=f"reported: Adam (learning rate {ADAM_LR:g}) rescues the net with Xavier",
        unit="training accuracy",
        better="higher",
        seeds=SEEDS,
    )
