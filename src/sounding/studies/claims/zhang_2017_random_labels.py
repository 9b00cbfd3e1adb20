"""Zhang et al. 2017: gradient descent fits random labels as it fits true ones, only later."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured
from sounding.studies.residual_nets import residual_net
from sounding.studies.samples import accuracy, cifar, digit_images, needs
from sounding.train import Case, Recipe, final_loss, seeded
from sounding.train.batches import draw
from sounding.verdict import Verdict, agrees, every, judge, mean, overall, within

TRUE, LABELS = "true labels", "random labels"
SHUFFLED, PIXELS, GAUSSIAN = "shuffled pixels", "random pixels", "Gaussian inputs"
KINDS = (TRUE, SHUFFLED, PIXELS, GAUSSIAN, LABELS)
SEEDS = (0, 1, 2, 3, 4)
MOMENTUM, BATCH = 0.9, 128
DECAY = 0.95  # of the learning rate an epoch, at the full scale
CHANCE, POINTS = 0.1, 0.03  # test accuracy
EQUAL = math.log2(1.5)  # octaves of epochs; a permutation of pixels is none to a dense net
SLOWDOWN, IMAGE_SLOWDOWN = (2.0, 15.0), (1.5, 6.0)
FITTED, IMAGE_FITTED = 1.0, 0.998
TARGETS_FITTED = 1e-3  # mean square error, of targets with variance 1

STATEMENT = (
    "A network that generalises on true labels also fits random labels and random inputs to no "
    "training error, with the same recipe and only a few times slower"
)
QUICK = (
    "Digits, a net of two hidden layers of 512, SGD with momentum 0.9 at rate 0.1, 5 seeds, at "
    "most 400 epochs: training accuracy 1 on true labels, shuffled pixels, random pixels, Gaussian "
    "inputs and random labels; test accuracy within 3 points of chance for random labels, and of "
    "the true one for shuffled pixels; epochs of true labels and shuffled pixels equal up to a "
    "factor 1.5, fewer than those of random pixels and Gaussian inputs, and these fewer than those "
    "of random labels; slowdown of random labels between 2 and 15. 128 targets drawn from N(0, 1) "
    "on a net of width 256: mean square error below 1e-3"
)
FULL = (
    "CIFAR-10 without augmentation or weight decay, a residual net and a net of three hidden "
    "layers of 512, 3 seeds: training accuracy at least 0.998 on all five; test accuracy within 1 "
    "point of chance for random labels; slowdown between 1.5 and 6. Targets drawn from N(0, 1): "
    "mean square error below 1e-3"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    seeds: Sequence[int] = SEEDS,
    width: int = 512,
    epochs: int = 400,
    lr: float = 0.1,
    samples: int | None = None,
    target_samples: int = 128,
    target_steps: int = 1000,
) -> Measured:
    """Five data sets on every seed, and a regression; the sizes are arguments."""
    size = {"net": "dense", "width": width, "epochs": epochs, "lr": lr, "samples": samples,
            "decay": 1.0}  # fmt: skip
    lab.plan((len(KINDS) + 1) * len(seeds))
    runs = _by_kind(lab, {**size, "data": "digits", "device": "cpu", "enough": FITTED}, seeds)
    regression = lab.train(target_case, grid(seeds, samples=[target_samples], steps=[target_steps]))
    parts = [
        *[_fits(kind, found, FITTED, seeds) for kind, found in runs.items()],
        *_generalisation(runs, POINTS, seeds),
        *_order(runs, seeds),
        _slowdown(runs, SLOWDOWN, seeds),
        _targets([final_loss(trial) for trial in regression], seeds),
    ]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts), [_chart(runs, "digits, two layers of 512")]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    samples: int | None = None,
    epochs: int = 300,
    width: int = 64,
    dense_width: int = 512,
    target_samples: int = 1024,
    target_steps: int = 10_000,
    seeds: Sequence[int] = (0, 1, 2),
) -> Measured:
    """CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="training accuracy")
    lab.plan((2 * len(KINDS) + 1) * len(seeds))
    parts: list[Verdict] = []
    charts = []
    size = {"device": device, "samples": samples, "epochs": epochs, "decay": DECAY,
            "enough": IMAGE_FITTED}  # fmt: skip
    for net, own, lr in (("residual", width, 0.1), ("dense", dense_width, 0.01)):
        settings = {"net": net, "width": own, "lr": lr, "data": "cifar", **size}
        runs = _by_kind(lab, settings, seeds)
        parts += [_fits(kind, found, IMAGE_FITTED, seeds, net) for kind, found in runs.items()]
        parts += [_chance(runs, 0.01, seeds, net), _slowdown(runs, IMAGE_SLOWDOWN, seeds, net)]
        charts.append(_chart(runs, f"CIFAR-10, {net} net"))
    regression = lab.train(
        target_case,
        grid(seeds, samples=[target_samples], steps=[target_steps], device=[device]),
    )
    parts.append(_targets([final_loss(trial) for trial in regression], seeds))
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=FULL)
    return (verdict, *parts), charts


CLAIM = Claim(
    name="zhang-2017-random-labels",
    topic="random labels",
    claim=STATEMENT,
    source=(
        "Zhang, Bengio, Hardt, Recht, Vinyals, 'Understanding deep learning requires rethinking "
        "generalization', ICLR 2017, section 2"
    ),
    link="https://arxiv.org/abs/1611.03530",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"samples": 64, "epochs": 1, "target_samples": 64, "target_steps": 10},
    how=(
        "The same net and recipe on true labels; on images whose pixels are permuted, all by one "
        "permutation; on images permuted each by its own; on Gaussian noise; and on labels drawn "
        "at random. Accuracy on the whole training part is measured after every epoch, until it "
        "is 1. A regression on targets from N(0, 1) is fitted as well."
    ),
    changed=(
        "Rate, batch size and initialisation were chosen on a seed of its own, at which the "
        "five kinds of data could be told apart; at a rate of 0.01 their order blurs."
    ),
    depends=(
        "How many times slower random labels are depends on the data and the net; the paper has "
        "about 3.5 for Inception on CIFAR-10. One permutation of all pixels cannot matter to a "
        "fully connected net: its first weights are drawn alike for all pixels, so the two are "
        "equal in distribution; for convolutions they are not. The order of the inputs depends on "
        "the rate: in a trial at 0.01, on one seed, random pixels and Gaussian inputs took hardly "
        "more epochs than true images (12, 11 and 11), random labels 52. The paper draws random "
        "classes; targets from a normal distribution are another experiment, made here as well, "
        "on a net that is at least twice as wide as it has samples."
    ),
)


# --- data and nets --------------------------------------------------------------------------------


def corrupted(
    kind: str, parts: Sequence[tuple[torch.Tensor, torch.Tensor]], seed: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Training and test part with one thing randomised; the test part keeps its labels.

    Inputs are (N, D) or (N, C, H, W); a permutation of pixels moves all channels together.
    """
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randperm(_pixels(parts[0][0]).shape[-1], generator=generator)
    found = []
    for place, (x, y) in enumerate(parts):
        if kind == SHUFFLED:
            x = _pixels(x)[..., shared.to(x.device)].reshape(x.shape)
        elif kind == PIXELS:
            flat = _pixels(x)
            order = torch.rand(flat.shape[0], 1, flat.shape[-1], generator=generator).argsort(-1)
            x = flat.gather(-1, order.to(x.device).expand_as(flat)).reshape(x.shape)
        elif kind == GAUSSIAN:
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            x = float(x.mean()) + float(x.std()) * noise
        elif kind == LABELS and place == 0:
            y = torch.randint(0, 10, y.shape, generator=generator).to(y.device)
        found.append((x, y))
    return found


def _pixels(x: torch.Tensor) -> torch.Tensor:
    """(N, C, pixels)."""
    return x.flatten(2) if x.ndim == 4 else x.unsqueeze(1)


def dense_net(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """ReLU layers of these widths, PyTorch's default initialisation."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((inputs, *hidden), (*hidden, outputs), strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _net(net: str, width: int, x: torch.Tensor) -> nn.Module:
    if net == "residual":
        return residual_net(14, width=width, device=x.device)
    hidden = [width] * (2 if x.ndim == 2 else 3)
    return dense_net(x[0].numel(), hidden, 10).to(x.device)


def target_case(samples: int, steps: int, device: str = "cpu") -> Case:
    """Digits' images, targets drawn from N(0, 1), and a net twice as wide as there are samples."""
    x = digit_images().train.x[:samples].to(device)
    generator = torch.Generator().manual_seed(samples)
    y = torch.randn(len(x), 1, generator=generator).to(device)
    build = functools.partial(_regressor, x.shape[1], 2 * len(x), device)
    recipe = Recipe(lr=0.01, momentum=MOMENTUM, batch_size=None, steps=steps)
    return Case(build, functional.mse_loss, (x, y), recipe, name="targets from N(0, 1)")


def _regressor(inputs: int, width: int, device: str) -> nn.Module:
    return dense_net(inputs, [width, width], 1).to(device)


# --- training -------------------------------------------------------------------------------------


def fitted(
    kind: str,
    data: str,
    net: str,
    width: int,
    lr: float,
    decay: float,
    epochs: int,
    samples: int | None,
    device: str,
    enough: float,
    seed: int,
) -> dict[str, Any]:
    """Train until the training accuracy is `enough`: epochs, accuracies, and the course."""
    source = digit_images() if data == "digits" else cifar(device)
    parts = [(part.x[:samples], part.y[:samples]) for part in (source.train, source.test)]
    (x, y), (test_x, test_y) = corrupted(kind, parts, seed)
    with seeded(seed):
        model = _net(net, width, x)
        batches = draw((x, y), min(BATCH, len(x)), seed)
        accuracies = _epochs(model, batches, len(x), lr, decay, functools.partial(accuracy, x, y))
        course = _until(accuracies, epochs, enough)
    model.eval()
    with torch.no_grad():
        right = accuracy(test_x, test_y, model)["accuracy"]
    reached = course[-1] >= enough
    return {
        "epochs": len(course) if reached else math.nan,
        "train accuracy": course[-1],
        "test accuracy": right,
        "course": np.array(course),
    }


def _epochs(
    model: nn.Module,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    samples: int,
    lr: float,
    decay: float,
    measure: Callable[[nn.Module], dict[str, float]],
) -> Iterator[float]:
    """The training accuracy after every epoch, without end; the rate falls by `decay` an epoch."""
    optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, decay)
    while True:
        model.train()
        for x, y in itertools.islice(batches, max(1, samples // BATCH)):
            optimiser.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            right = measure(model)["accuracy"]
        yield right


def _until(accuracies: Iterator[float], epochs: int, enough: float) -> list[float]:
    """The first ones, up to one that is `enough`."""
    course: list[float] = []
    for right in itertools.islice(accuracies, epochs):
        course.append(right)
        if right >= enough:
            break
    return course


# --- verdicts and the chart -----------------------------------------------------------------------

Runs = dict[str, list[dict[str, Any]]]


def _by_kind(lab: Lab, settings: dict[str, Any], seeds: Sequence[int]) -> Runs:
    fixed = {name: [value] for name, value in settings.items()}
    runs = lab.map(fitted, grid(seeds, kind=list(KINDS), **fixed))
    return {kind: runs[i * len(seeds) : (i + 1) * len(seeds)] for i, kind in enumerate(KINDS)}


def _values(runs: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([run[key] for run in runs], float)


def _octaves(runs: list[dict[str, Any]]) -> np.ndarray:
    return np.log2(_values(runs, "epochs"))


def _fits(
    kind: str, runs: list[dict[str, Any]], enough: float, seeds: Sequence[int], net: str = ""
) -> Verdict:
    return every(
        _values(runs, "train accuracy"),
        above=enough - 1e-9,
        statement=f"{net}{': ' * bool(net)}{kind}: training accuracy {enough:g} is reached",
        seeds=seeds,
    )


def _chance(runs: Runs, points: float, seeds: Sequence[int], net: str = "") -> Verdict:
    right = _values(runs[LABELS], "test accuracy")
    return agrees(
        right,
        np.full(len(right), CHANCE),
        tolerance=points,
        statement=f"{net}{': ' * bool(net)}trained on random labels, the test accuracy is chance",
        unit="test accuracy",
        seeds=seeds,
    )


def _generalisation(runs: Runs, points: float, seeds: Sequence[int]) -> list[Verdict]:
    shuffled = agrees(
        _values(runs[SHUFFLED], "test accuracy"),
        _values(runs[TRUE], "test accuracy"),
        tolerance=points,
        statement="shuffled pixels: the test accuracy is that of the true images",
        unit="test accuracy",
        seeds=seeds,
    )
    return [_chance(runs, points, seeds), shuffled]


def _order(runs: Runs, seeds: Sequence[int]) -> list[Verdict]:
    equal = within(
        mean(_octaves(runs[SHUFFLED]) - _octaves(runs[TRUE])),
        -EQUAL,
        EQUAL,
        statement="shuffled pixels take as many epochs as true images",
        unit="octaves of epochs",
        seeds=seeds,
    )
    later: Callable[[str, str], Verdict] = lambda first, second: judge(  # noqa: E731
        _octaves(runs[second]),
        _octaves(runs[first]),
        statement=f"{first} are fitted in fewer epochs than {second}",
        unit="octaves of epochs",
        seeds=seeds,
    )
    pairs = [(SHUFFLED, PIXELS), (SHUFFLED, GAUSSIAN), (PIXELS, LABELS), (GAUSSIAN, LABELS)]
    return [equal, *[later(*pair) for pair in pairs]]


def _slowdown(
    runs: Runs, bounds: tuple[float, float], seeds: Sequence[int], net: str = ""
) -> Verdict:
    ratios = _values(runs[LABELS], "epochs") / _values(runs[TRUE], "epochs")
    return within(
        mean(ratios),
        *bounds,
        statement=f"{net}{': ' * bool(net)}random labels take this many times the epochs",
        unit="times the epochs",
        seeds=seeds,
    )


def _targets(losses: Sequence[float], seeds: Sequence[int]) -> Verdict:
    return every(
        losses,
        below=TARGETS_FITTED,
        statement="targets from N(0, 1) are fitted: mean square error",
        seeds=seeds,
    )


def _chart(runs: Runs, what: str) -> Chart:
    """The course of the training accuracy; a run that has ended stays where it is."""
    longest = max(len(run["course"]) for found in runs.values() for run in found)
    epochs = np.arange(1, longest + 1)

    def rows(found: list[dict[str, Any]]) -> list[np.ndarray]:
        return [np.pad(run["course"], (0, longest - len(run["course"])), "edge") for run in found]

    return Chart(
        title=f"Training accuracy: {what}",
        x_label="epoch",
        y_label="training accuracy",
        lines=tuple(measured(kind, epochs, rows(found)) for kind, found in runs.items()),
        log_x=True,
    )
