"""Poole et al. 2016, Schoenholz et al. 2017: order, chaos, and how deep a net can be trained.

Three arms. *Gradients* and *correlations* of random tanh nets against mean-field theory, on both
sides of the edge of chaos. *Training* on the ordered side, at depths counted in theory's xi_c. The
power law of ReLU nets stands beside the verdict.

Letters: L layers, S seeds; sw2 = width times weight variance.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.learning_rates import Arm, tuned
from sounding.studies.lines import measured, predicted
from sounding.studies.samples import accuracy, digit_images, needs
from sounding.theory import (
    activation,
    chi,
    correlation_map,
    critical_variance,
    depth_scales,
    fixed_point,
)
from sounding.train import Case, Recipe
from sounding.verdict import Verdict, agrees, every, overall, slope, within

TANH = activation("tanh")
BIAS = 0.05  # variance of a bias
ORDERED, CHAOTIC = (1.0, 1.2, 1.5), (2.0, 2.5, 3.0)
WIDTH, DEPTH = 600, 60
PAIR_WIDTH, PAIR_AT = 1200, 50
GAIN_TOLERANCE, CORRELATION_TOLERANCE = 0.01, 0.03
SEEDS, START = (0, 1, 2, 3, 4), 0.6  # correlation of the two inputs at the first layer
# of the training arm
TRAINED_AT = (0.8, 1.0)
SHALLOW, DEEP = 3, 12  # in units of xi_c
TRAINED, STALLED = 0.5, 0.2
LRS = (0.01, 0.03, 0.1, 0.3)

STATEMENT = (
    "Random tanh nets are ordered (gradients vanish) or chaotic (gradients explode) as mean-field "
    "theory says, and on the ordered side a net can be trained if it is a few of theory's depth "
    "scales deep, not if it is many"
)
CRITERION = (
    f"tanh, bias variance {BIAS}, width {WIDTH}, depth {DEPTH}, weight variance "
    f"{', '.join(map(str, (*ORDERED, *CHAOTIC)))} and critical, 5 seeds (t-intervals): the log "
    f"gain of the gradient a layer within ±{GAIN_TOLERANCE} of log chi; the correlation of two "
    f"inputs at depth {PAIR_AT}, width {PAIR_WIDTH}, within ±{CORRELATION_TOLERANCE} of theory at "
    f"{ORDERED[-1]}, critical and {CHAOTIC[1]}; on digits, 300 steps of SGD at the best of the "
    f"learning rates {LRS}: training accuracy above {TRAINED} on all of 5 seeds at depth "
    f"{SHALLOW} xi_c and below {STALLED} at {DEEP} xi_c, weight variance "
    f"{' and '.join(map(str, TRAINED_AT))}"
)
BORDER = 6.0  # xi_c: the published border of what can be trained
FULL = (
    f"the gradients and correlations as at the quick scale, width 1000, 20 seeds; and on CIFAR-10, "
    "ordered nets of width 300 at weight variances 1.0, 1.2, 1.4, 1.5, 1.6 and depths 10 to 300, "
    "SGD, 2000 steps: the depth at which training accuracy falls through the middle of its range "
    f"lies within a factor 2 of {BORDER:g} xi_c at every weight variance"
)
BORDER_AT, BORDER_DEPTHS = (
    (1.0, 1.2, 1.4, 1.5, 1.6),
    (10, 14, 20, 28, 40, 56, 80, 113, 160, 226, 300),
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    width: int = WIDTH,
    pair_width: int = PAIR_WIDTH,
    training_width: int = 100,
    steps: int = 300,
    seeds: Sequence[int] = SEEDS,
    lrs: Sequence[float] = LRS,
    trained_at: Sequence[float] = TRAINED_AT,
) -> Measured:
    """Random nets against theory, and training at two depths."""
    trainings = 2 * len(trained_at) * (len(lrs) + len(seeds))
    lab.plan(len(seeds) * (len(_variances()) + 3 + 1) + trainings)
    parts, charts = _random_nets(lab, width, pair_width, seeds)
    parts += _training(lab, training_width, steps, seeds, lrs, trained_at)
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=CRITERION)
    return (verdict, *parts, *_rectifiers(lab, width, seeds)), [*charts, _phase_diagram()]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    images: int | None = None,
    width: int = 300,
    steps: int = 2000,
    depths: Sequence[int] = BORDER_DEPTHS,
    lrs: Sequence[float] = (0.001, 0.003, 0.01, 0.03),
    random_width: int = 1000,
    seeds: Sequence[int] = tuple(range(20)),
) -> Measured:
    """The border of what can be trained, on CIFAR-10; the sizes are arguments for smaller runs."""
    if reason := needs(device, cifar10=True):
        return not_tested(STATEMENT, FULL, reason, unit="of 6 xi_c")
    parts, charts = _random_nets(lab, random_width, 2 * random_width, seeds)
    size = {"width": width, "steps": steps, "device": device, "images": images}
    arms = {
        f"{variance} {depth}": {"variance": variance, "depth": depth, **size}
        for variance, depth in itertools.product(BORDER_AT, depths)
    }
    runs = tuned(lab, tanh_case, arms, lrs, SEEDS[:1])
    accuracies = np.array([arm.metric("accuracy")[0] for arm in runs.values()])
    accuracies = np.nan_to_num(accuracies, nan=0.1).reshape(len(BORDER_AT), -1)
    borders = np.array([border(depths, row) for row in accuracies])
    scales = np.array([_xi(variance) for variance in BORDER_AT])
    part = every(
        np.abs(np.log2(borders / (BORDER * scales))),
        below=1.0,
        statement=f"the border of what can be trained lies within a factor 2 of {BORDER:g} xi_c",
        seeds=SEEDS[:1] * len(BORDER_AT),
        note=", ".join(f"{b:.0f} layers at {v}" for b, v in zip(borders, BORDER_AT, strict=True)),
    )
    verdict = overall(part, [part, *parts], statement=STATEMENT, criterion=FULL)
    charts.append(
        Chart(
            title="Depth at which training stops to work",
            x_label="weight variance times width",
            y_label="layers",
            lines=(
                measured("measured", BORDER_AT, borders[None]),
                predicted("6 xi_c", BORDER_AT, BORDER * scales),
            ),
            log_y=True,
        )
    )
    return (verdict, part, *parts), charts


CLAIM = Claim(
    name="schoenholz-2017-depth",
    topic="gradients through depth",
    claim=STATEMENT,
    source=(
        "Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, NIPS 2016; Schoenholz, Gilmer, Ganguli, "
        "Sohl-Dickstein, 'Deep Information Propagation', ICLR 2017"
    ),
    link="https://arxiv.org/abs/1611.01232",
    criterion=CRITERION,
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"images": 640, "steps": 5, "depths": (10, 100), "random_width": 200, "seeds": (0, 1)},
    how=(
        "Random nets with Gaussian weights and biases, 16 pairs of inputs that start at "
        "correlation 0.6 and the size that depth keeps; Gaussian noise is sent back by autograd. "
        "Theory is Gaussian quadrature. The trained nets have width 100; their learning rate is "
        "chosen by training loss on another seed."
    ),
    depends=(
        "Theory is for infinite width: at width 600 correlations of chaotic nets lie up to 0.04 "
        "above it. The depth that can be trained is an empirical rule, about 6 xi_c in the paper, "
        "and moves with steps, optimiser and width: here SGD with momentum gets nets of 12 xi_c "
        "off chance at the best learning rate. ReLU nets have no finite depth scale at their "
        "critical point: two inputs approach one another by a power law, as is shown beside the "
        "verdict."
    ),
)


# --- random nets against theory -------------------------------------------------------------------


def _variances() -> tuple[float, ...]:
    return (*ORDERED, critical_variance(TANH, BIAS), *CHAOTIC)


def propagate(
    phi: str, variance: float, bias: float, q0: float, width: int, depth: int, seed: int
) -> dict[str, np.ndarray]:
    """(L,) each: the correlation of two inputs, and log of the gradient's mean square.

    `q0` is the second moment of the first pre-activations, whose correlation is `START`.
    """
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 16, width, generator=generator)
    z = math.sqrt(q0) * torch.stack([one, START * one + math.sqrt(1 - START**2) * other])
    layers = [z.requires_grad_()]
    for _ in range(depth - 1):
        weight = torch.randn(width, width, generator=generator) * math.sqrt(variance / width)
        shift = torch.randn(width, generator=generator) * math.sqrt(bias)
        layers.append(functional.linear(FUNCTIONS[phi](layers[-1]), weight, shift))
    noise = torch.randn(layers[-1].shape, generator=generator)
    gradients = torch.autograd.grad(layers[-1], layers, noise)
    squares = [[float(part.detach().square().mean()) for part in layer] for layer in layers]
    cross = [float((layer[0] * layer[1]).detach().mean()) for layer in layers]
    return {
        "correlation": np.array([c / math.sqrt(a * b) for c, (a, b) in zip(cross, squares,
                                                                          strict=True)]),
        "log gradient": np.log([float(g.double().square().mean()) for g in gradients]),
    }  # fmt: skip


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def _random_nets(
    lab: Lab, width: int, pair_width: int, seeds: Sequence[int]
) -> tuple[list[Verdict], list[Chart]]:
    gains = _propagated(lab, _variances(), width, DEPTH, seeds)
    slopes = {
        variance: [-slope(np.arange(DEPTH), run["log gradient"]).value for run in runs]
        for variance, runs in gains.items()
    }
    compared = (ORDERED[-1], _variances()[len(ORDERED)], CHAOTIC[1])
    pairs = _propagated(lab, compared, pair_width, PAIR_AT, seeds)
    curves = {
        variance: (
            np.array([run["correlation"] for run in runs]),
            _curve("tanh", variance, BIAS, fixed_point(TANH, variance, BIAS), PAIR_AT),
        )
        for variance, runs in pairs.items()
    }
    parts = [
        _agreement(
            values,
            _log_chi(variance),
            GAIN_TOLERANCE,
            f"weight variance {variance:.3g}: the log gain of the gradient a layer",
            seeds,
        )
        for variance, values in slopes.items()
    ]
    parts += [
        _agreement(
            measured_curves[:, -1],
            theory[-1],
            CORRELATION_TOLERANCE,
            f"weight variance {variance:.3g}: the correlation at depth {PAIR_AT}",
            seeds,
        )
        for variance, (measured_curves, theory) in curves.items()
    ]
    return parts, [_chart_of_gains(slopes), _chart_of_correlations(curves)]


def _propagated(
    lab: Lab, variances: Sequence[float], width: int, depth: int, seeds: Sequence[int]
) -> dict[float, list[dict[str, np.ndarray]]]:
    """The runs of every weight variance, from the size that depth keeps."""
    points = grid(seeds, phi=["tanh"], variance=list(variances), bias=[BIAS], width=[width],
                  depth=[depth])  # fmt: skip
    runs = iter(
        lab.map(propagate, [{**p, "q0": fixed_point(TANH, p["variance"], BIAS)} for p in points])
    )
    return {variance: [next(runs) for _ in seeds] for variance in variances}


def _log_chi(variance: float) -> float:
    return math.log(chi(TANH, fixed_point(TANH, variance, BIAS), variance))


def _curve(phi: str, variance: float, bias: float, q: float, depth: int) -> np.ndarray:
    """(L,) Theory's correlation of two pre-activations, from `START` at the first layer."""
    c = [START]
    for _ in range(depth - 1):
        c.append(correlation_map(c[-1], activation(phi), q, variance, bias))
    return np.array(c)


def _agreement(
    values: Sequence[float] | np.ndarray,
    expected: float,
    tolerance: float,
    what: str,
    seeds: Sequence[int],
) -> Verdict:
    return agrees(
        values,
        np.full(len(values), expected),
        tolerance=tolerance,
        statement=f"{what} is {expected:.3f}",
        unit="",
        seeds=seeds,
    )


def _rectifiers(lab: Lab, width: int, seeds: Sequence[int]) -> list[Verdict]:
    """Beside the verdict: ReLU's correlations approach 1 by a power law, 9 pi^2 / (2 l^2)."""
    relu, gaps, gap = activation("relu"), [], 1 - START
    for _ in range(3000):
        gaps.append(gap)
        gap = 1 - correlation_map(1 - gap, relu, 1.0, 2.0, 0.0)
    layers = np.arange(1, 3001)
    tail = slice(1000, None)
    law = within(
        slope(np.log(layers[tail]), np.log(np.array(gaps)[tail])),
        -2.02,
        -1.98,
        statement="reported: in critical ReLU nets theory's 1 - c falls as the depth to the -2",
        unit="decades a decade",
        note=f"at {layers[-1]} layers {gaps[-1]:.3g}, 9 pi^2/(2 l^2) = "
        f"{4.5 * (math.pi / layers[-1]) ** 2:.3g}",
    )
    settings = {"phi": "relu", "variance": 2.0, "bias": 0.0, "q0": 1.0, "width": width}
    runs = lab.map(propagate, [{**settings, "depth": DEPTH, "seed": seed} for seed in seeds])
    expected = _curve("relu", 2.0, 0.0, 1.0, DEPTH)[PAIR_AT - 1]
    nets = agrees(
        [run["correlation"][PAIR_AT - 1] for run in runs],
        np.full(len(seeds), expected),
        tolerance=CORRELATION_TOLERANCE,
        statement=f"reported: critical ReLU nets have the correlation {expected:.3f} at depth "
        f"{PAIR_AT}",
        unit="",
        seeds=seeds,
    )
    return [law, nets]


# --- training -------------------------------------------------------------------------------------


def _xi(variance: float) -> float:
    return depth_scales(TANH, variance, BIAS).correlation


def tanh_case(
    variance: float,
    depth: int,
    width: int,
    steps: int,
    lr: float,
    device: str = "",
    images: int | None = None,
) -> Case:
    """A tanh net of `depth` layers on digits; with a device, on the first images of CIFAR-10."""
    if device:
        from sounding.studies.samples import cifar

        x, y = (part[:images] for part in cifar(device).train)
        x = x.flatten(1)
    else:
        x, y = digit_images().train
    build = functools.partial(tanh_net, x.shape[1], variance, depth, width, str(x.device))
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=128, steps=steps)
    metric = functools.partial(accuracy, x, y)
    name = f"{depth} layers, weight variance {variance}"
    return Case(build, functional.cross_entropy, (x, y), recipe, metric=metric, name=name)


def tanh_net(inputs: int, variance: float, depth: int, width: int, device: str) -> nn.Sequential:
    """`depth` weighted layers, the last of 10 outputs."""
    sizes = [inputs, *[width] * (depth - 1), 10]
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        nn.init.normal_(layer.weight, std=math.sqrt(variance / fan_in))
        nn.init.normal_(layer.bias, std=math.sqrt(BIAS))
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1]).to(device)


def _training(
    lab: Lab,
    width: int,
    steps: int,
    seeds: Sequence[int],
    lrs: Sequence[float],
    variances: Sequence[float],
) -> list[Verdict]:
    arms: dict[str, Mapping[str, Any]] = {}
    for variance, times in itertools.product(variances, (SHALLOW, DEEP)):
        depth = {SHALLOW: math.floor, DEEP: math.ceil}[times](times * _xi(variance))
        arms[f"weight variance {variance:g}, {depth} layers, {times} xi_c"] = {
            "variance": variance, "depth": depth, "width": width, "steps": steps,
        }  # fmt: skip
    runs = tuned(lab, tanh_case, arms, lrs, seeds)
    return [_trains(name, arm, seeds) for name, arm in runs.items()]


def _trains(name: str, arm: Arm, seeds: Sequence[int]) -> Verdict:
    shallow = name.endswith(f" {SHALLOW} xi_c")
    bound = {"above": TRAINED} if shallow else {"below": STALLED}
    return every(
        arm.metric("accuracy"),
        **bound,
        statement=f"{name}: the net {'trains' if shallow else 'stalls'} on every seed",
        seeds=seeds,
        note=arm.note,
    )


def border(depths: Sequence[int], accuracies: np.ndarray) -> float:
    """The depth at which accuracy falls through the middle of its range, between two depths."""
    middle = (accuracies.max() + accuracies.min()) / 2
    below = np.flatnonzero(accuracies < middle)
    if not below.size or below[0] == 0:
        return float(depths[-1] if not below.size else depths[0])
    i = below[0]
    share = (accuracies[i - 1] - middle) / (accuracies[i - 1] - accuracies[i])
    low, high = math.log(depths[i - 1]), math.log(depths[i])
    return math.exp(low + share * (high - low))


# --- charts ---------------------------------------------------------------------------------------


def _chart_of_gains(slopes: Mapping[float, Sequence[float]]) -> Chart:
    fine = np.linspace(min(slopes), max(slopes), 50)
    return Chart(
        title="Gradients in random tanh nets: order, edge, chaos",
        x_label="weight variance times width",
        y_label="log gain of the gradient a layer",
        lines=(
            measured("measured", list(slopes), np.array(list(slopes.values())).T),
            predicted("log chi", fine, [_log_chi(variance) for variance in fine]),
        ),
    )


def _chart_of_correlations(curves: Mapping[float, tuple[np.ndarray, np.ndarray]]) -> Chart:
    lines = []
    for variance, (runs, theory) in curves.items():
        layers = np.arange(1, runs.shape[1] + 1)
        lines.append(measured(f"{variance:.3g}", layers, runs))
        lines.append(predicted(f"{variance:.3g}, theory", layers, theory))
    return Chart(
        title="Two inputs in random tanh nets, by weight variance",
        x_label="layer",
        y_label="correlation",
        lines=tuple(lines),
    )


def _phase_diagram() -> Chart:
    biases = np.linspace(1e-3, 0.3, 25)
    lines = [
        predicted(phi, biases, [critical_variance(activation(phi), b) for b in biases])
        for phi in ("tanh", "erf")
    ]
    return Chart(
        title="The edge of chaos: below it order, above it chaos",
        x_label="bias variance",
        y_label="weight variance times width",
        lines=tuple(lines),
    )
