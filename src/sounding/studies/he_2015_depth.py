"""He et al. 2015: variance 2 / fan_in keeps the signal of a ReLU net through 30 layers.

Two arms. The *variance* arm measures how the mean square of the pre-activations and of their
gradients changes from layer 1 to layer 30, against theory. The *training* arm trains such nets.
The published claim is that the net trains, not that it becomes more accurate.

Letters: L layers, S seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.data import cifar10, digits
from sounding.result import Profile
from sounding.studies.study import Claim, Measured
from sounding.train import Case, Progress, Recipe, Trial, final_loss, seeded, train
from sounding.verdict import Verdict, agrees, every, judge, overall, untested

DEPTH = 30
HE, XAVIER, DEFAULT = "He", "Xavier", "PyTorch default"
# n Var(w) / 2, the factor on the mean square per ReLU layer of n inputs and n outputs
FACTORS = {HE: 1.0, XAVIER: 1 / 2, DEFAULT: 1 / 6}
TOLERANCE = 0.5  # decades, over all layers; the published criterion of this project's list, D4
TRAINED, STALLED = 0.5, 0.2  # training accuracy, of ten classes
LRS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
ADAM_LR = 3e-4  # the lower end of where Adam was seen to rescue Xavier's net
SEEDS, TUNING_SEED = (0, 1, 2, 3, 4), 100  # learning rates are chosen on a seed of their own
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

Say = Callable[[str], None]  # told of every measurement when it is done


# --- the two scales -------------------------------------------------------------------------------


def quick(
    progress: Progress,
    *,
    width: int = 512,
    training_width: int = 128,
    steps: int = 200,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """Both arms, in about a minute of one core; the sizes are arguments for the tests only."""
    runs = len(FACTORS) * len(lrs) + (len(FACTORS) + 1) * len(SEEDS)
    text = f"{len(FACTORS) * len(VARIANCE_SEEDS)} nets measured, {runs} runs of {steps} steps"
    say = _counting(progress, text, len(FACTORS) * len(VARIANCE_SEEDS) + runs)
    parts, profiles = variance_arm(width, say)
    x, y = digits().train
    recipe = Recipe(lr=lrs[0], momentum=0.9, batch_size=64, steps=steps)
    cases = {
        scheme: _case(functools.partial(dense_net, scheme, training_width), x, y, recipe, scheme)
        for scheme in FACTORS
    }
    he, xavier, default = (tuned(cases[scheme], lrs, say) for scheme in FACTORS)
    adam = Recipe(optimiser="adam", lr=ADAM_LR, batch_size=64, steps=steps)
    rescued = [_said(say, cases[XAVIER].replace(recipe=adam), seed) for seed in SEEDS]
    parts += [_trains(he, lrs), _stalls(xavier, XAVIER)]
    verdict = overall(_compared(xavier, he), parts, statement=STATEMENT, criterion=QUICK)
    reported = [_stalls(default, DEFAULT), _rescued(xavier, rescued)]
    return (verdict, *parts, *reported), tuple(profiles)


def full(progress: Progress) -> Measured:
    """The training arm at the published size, on CIFAR-10; needs a GPU and the data."""
    try:
        if not torch.cuda.is_available():
            raise FileNotFoundError("a CUDA device is needed: some thirty runs of a 30-layer net")
        images, labels = cifar10()
    except (FileNotFoundError, ImportError) as missing:
        verdict = untested(STATEMENT, unit="training accuracy", criterion=FULL, note=str(missing))
        return (verdict,), ()
    x = (images.cuda().float() - 120.0) / 64.0  # about mean 0 and deviation 1 over all pixels
    steps = 30 * (len(x) // 128)
    return convolutional(progress, x, labels.cuda(), steps=steps)


def convolutional(
    progress: Progress,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    steps: int,
    channels: int = 32,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """The training arm on images; the sizes are arguments for the tests only."""
    runs = 2 * (len(lrs) + len(SEEDS)) + 2
    say = _counting(progress, f"{runs} runs of {steps} steps", runs)
    recipe = Recipe(lr=lrs[0], momentum=0.9, batch_size=128, steps=steps)

    def case(scheme: str, normalised: bool = False) -> Case:
        build = functools.partial(conv_net, scheme, channels, normalised, x.device)
        return _case(build, x, y, recipe, scheme + " with batch norm" * normalised)

    he, xavier = tuned(case(HE), lrs, say), tuned(case(XAVIER), lrs, say)
    runs_of_xavier = (*xavier.search, *xavier.trials)
    flat = every(
        [abs(final_loss(trial) / math.log(10) - 1) for trial in runs_of_xavier],
        below=0.01,
        statement="with Xavier the final loss stays within 1 % of log(10), at every learning rate",
        seeds=[trial.seed for trial in runs_of_xavier],
    )
    parts = [_trains(he, lrs), flat]
    verdict = overall(_compared(xavier, he), parts, statement=STATEMENT, criterion=FULL)
    normalised = [_said(say, case(scheme, True), TUNING_SEED) for scheme in (HE, XAVIER)]
    both = every(
        _accuracies(normalised),
        above=TRAINED,
        statement="reported: with batch normalisation both initialisations train",
        seeds=[TUNING_SEED, TUNING_SEED],
    )
    return (verdict, *parts, both), ()


CLAIM = Claim(
    name="he-2015-depth",
    claim=STATEMENT,
    source="He, Zhang, Ren, Sun, 'Delving Deep into Rectifiers', ICCV 2015, section 2.2",
    criterion=QUICK,
    quick=quick,
    full=full,
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


def variance_arm(width: int, say: Say) -> tuple[list[Verdict], list[Profile]]:
    """Every scheme's change of mean square over the layers, forward and backward, and theory's."""
    verdicts, profiles = [], []
    for scheme, factor in FACTORS.items():
        runs = []
        for seed in VARIANCE_SEEDS:
            runs.append(mean_squares(scheme, width, seed))
            say(f"variance with {scheme}, seed {seed}")
        decades = np.log10(np.array(runs))  # (S, 2, L)
        signal = decades[:, 0] - decades[:, 0, :1]  # (S, L) since the first layer
        gradient = decades[:, 1] - decades[:, 1, -1:]  # (S, L) since the last one
        theory = math.log10(factor) * np.arange(DEPTH)  # (L,)
        for name, measured, expected, end in (
            ("signal", signal, theory, -1),
            ("gradient", gradient, theory[::-1], 0),
        ):
            verdicts.append(_agreement(f"{name} with {scheme}", measured[:, end], expected[end]))
            profiles.append(_profile(f"{name}, {scheme}", measured, expected))
    return verdicts, profiles


def mean_squares(scheme: str, width: int, seed: int) -> np.ndarray:
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
    return np.array(both)


def _agreement(what: str, measured: np.ndarray, expected: float) -> Verdict:
    return agrees(
        measured,
        np.full(len(measured), expected),
        tolerance=TOLERANCE,
        statement=f"over {DEPTH} layers the mean square of the {what} changes as theory says",
        unit="decades",
        seeds=VARIANCE_SEEDS,
    )


def _profile(what: str, measured: np.ndarray, expected: np.ndarray) -> Profile:
    return Profile(
        quantity=f"mean square of the {what}",
        unit="decades",
        layers=tuple(str(number) for number in range(1, DEPTH + 1)),
        values=measured.mean(0),
        error=measured.std(0, ddof=1) / math.sqrt(len(measured)),
        expected=expected,
        source="n Var(w) / 2 per layer, He et al. 2015, equations 9 and 13",
    )


# --- the training arm -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The runs of one case: one a learning rate to choose from, one a seed at the best of them."""

    lr: float
    search: tuple[Trial, ...]
    trials: tuple[Trial, ...]


def tuned(case: Case, lrs: Sequence[float], say: Say) -> Tuned:
    """Choose the learning rate by training loss on a seed of its own; then run every seed."""
    at = [case.replace(recipe=case.recipe.replace(lr=lr)) for lr in lrs]
    search = tuple(_said(say, one, TUNING_SEED) for one in at)
    best = int(np.argmin([final_loss(trial) for trial in search]))
    return Tuned(lrs[best], search, tuple(_said(say, at[best], seed) for seed in SEEDS))


def _case(
    build: Callable[[], nn.Module], x: torch.Tensor, y: torch.Tensor, recipe: Recipe, name: str
) -> Case:
    metric = functools.partial(_training_accuracy, x, y)
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=name)


def _training_accuracy(x: torch.Tensor, y: torch.Tensor, model: nn.Module) -> dict[str, float]:
    right = sum(
        int((model(part).argmax(1) == labels).sum())
        for part, labels in zip(x.split(2048), y.split(2048), strict=True)
    )
    return {"accuracy": right / len(y)}


def _said(say: Say, case: Case, seed: int) -> Trial:
    trial = train(case, seed)
    say(f"{case.name}, {case.recipe.optimiser}, lr {case.recipe.lr:g}, {trial}")
    return trial


def _accuracies(trials: Sequence[Trial]) -> np.ndarray:
    return np.array([trial.metrics["accuracy"] for trial in trials])


def _trains(he: Tuned, lrs: Sequence[float]) -> Verdict:
    inside = min(lrs) < he.lr < max(lrs)
    return every(
        _accuracies(he.trials),
        above=TRAINED,
        statement=f"with He the net trains at learning rate {he.lr:g}, on every seed",
        seeds=SEEDS,
        note="" if inside else "the best learning rate is at the edge of the grid",
    )


def _stalls(arm: Tuned, scheme: str) -> Verdict:
    runs = (*arm.search, *arm.trials)
    reported = "" if scheme == XAVIER else "reported: "
    return every(
        _accuracies(runs),
        below=STALLED,
        statement=f"{reported}with {scheme} the net stalls, at every learning rate and seed",
        seeds=[trial.seed for trial in runs],
    )


def _compared(xavier: Tuned, he: Tuned) -> Verdict:
    return judge(
        _accuracies(xavier.trials),
        _accuracies(he.trials),
        statement="He's initialisation reaches a higher training accuracy than Xavier's",
        unit="training accuracy",
        better="higher",
        seeds=SEEDS,
    )


def _rescued(xavier: Tuned, adam: Sequence[Trial]) -> Verdict:
    return judge(
        _accuracies(xavier.trials),
        _accuracies(adam),
        statement=f"reported: Adam (learning rate {ADAM_LR:g}) rescues the net with Xavier",
        unit="training accuracy",
        better="higher",
        seeds=SEEDS,
    )


def _counting(progress: Progress, text: str, total: int) -> Say:
    """Announce `total` measurements; what comes back counts them."""
    progress(text, 0, total)
    done = itertools.count(1)
    return lambda message: progress(message, next(done), total)
