"""Pennington, Schoenholz & Ganguli 2017: which random nets pass all directions alike.

J is the product of L factors, slopes times weights, at one input. Its squared singular values have
mean 1 at criticality; their variance over their squared mean says how unlike directions are.

Letters: L layers, n units, S seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured, not_tested
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.studies.reaching import steps_until
from sounding.studies.samples import digit_images, needs
from sounding.theory import (
    activation,
    critical_variance,
    fixed_point,
    isometry_defect,
    largest_squared_singular_value,
)
from sounding.train import Case, Recipe
from sounding.verdict import Verdict, agrees, every, judge, overall

TANH_BIAS = 1e-4  # variance of a bias: the smaller, the nearer tanh's critical point lies to 0


class Net(NamedTuple):
    """One kind of random net."""

    phi: str
    orthogonal: bool

    @property
    def label(self) -> str:
        """As the charts have it."""
        return f"{self.phi}, {'orthogonal' if self.orthogonal else 'Gaussian'}"


LINEAR, LINEAR_ORTHOGONAL = Net("identity", False), Net("identity", True)
RELU, RELU_ORTHOGONAL = Net("relu", False), Net("relu", True)
TANH_ORTHOGONAL = Net("tanh", True)
NETS = (LINEAR, LINEAR_ORTHOGONAL, RELU, RELU_ORTHOGONAL, TANH_ORTHOGONAL)
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
}
JUDGED, DEPTHS, WIDTH = 16, (4, 16, 64), 200
TOLERANCE, ISOMETRIC = 0.25, 0.5
SEEDS = tuple(range(10))
# of the training arm
DEPTH, ACCURACY, RATIO = 200, 0.99, 2.0
LRS, TRAINING_SEEDS, TUNING_SEED = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (0, 1, 2, 3, 4), 100

STATEMENT = (
    "Squared singular values of a critical random net's Jacobian scatter in proportion to depth, "
    "except with orthogonal weights and a linear or tanh activation; no ReLU net is isometric"
)
CRITERION = (
    f"variance over squared mean of the squared singular values at depth L = {JUDGED}, width "
    f"{WIDTH}: mean over {{}} seeds within ±{TOLERANCE:.0%} of L (linear Gaussian), 2L (ReLU "
    f"Gaussian), L (ReLU orthogonal), t-interval; below {ISOMETRIC} in every net with tanh and "
    "orthogonal weights, below 1e-9 with linear orthogonal ones"
)
FULL = (
    CRITERION.format(50) + f"; and tanh nets of {DEPTH} layers on digits, SGD: the steps to "
    f"{ACCURACY:.0%} training accuracy are more than {RATIO:g} times as many with Gaussian as with "
    "orthogonal weights, both critical, paired over 5 seeds (t-interval of the logarithm), the "
    f"learning rate of each chosen from {LRS} by these steps on another seed"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    width: int = WIDTH,
    depths: Sequence[int] = DEPTHS,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Every kind of net on every seed, to the largest of `depths`."""
    settings = grid(
        seeds,
        phi=sorted({net.phi for net in NETS}),
        orthogonal=[False, True],
        width=[width],
        depths=[list(depths)],
    )
    settings = [s for s in settings if Net(s["phi"], s["orthogonal"]) in NETS]
    runs = lab.map(scatter, settings)
    defects, largest = (
        {
            net: np.array(
                [
                    run[name]
                    for s, run in zip(settings, runs, strict=True)
                    if Net(s["phi"], s["orthogonal"]) == net
                ]
            )
            for net in NETS
        }
        for name in ("defect", "largest")
    )  # (S, depths) each
    at = list(depths).index(JUDGED)
    parts = [
        *(_agreement(net, defects[net][:, at], seeds) for net in (LINEAR, RELU, RELU_ORTHOGONAL)),
        _isometric(TANH_ORTHOGONAL, defects[TANH_ORTHOGONAL][:, at], ISOMETRIC, seeds),
        _isometric(LINEAR_ORTHOGONAL, defects[LINEAR_ORTHOGONAL][:, at], 1e-9, seeds),
    ]
    criterion = CRITERION.format(len(seeds))
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=criterion)
    return (verdict, *parts), [_chart(defects, depths), _chart_of_largest(largest[LINEAR], depths)]


def full(
    lab: Lab,
    *,
    device: str = "cuda",
    width: int = 400,
    layers: int = DEPTH,
    steps: int = 3000,
    lrs: Sequence[float] = LRS,
    random_width: int = WIDTH,
    depths: Sequence[int] = DEPTHS,
    seeds: Sequence[int] = tuple(range(50)),
) -> Measured:
    """More seeds, and deep tanh nets trained; the sizes are arguments for smaller runs."""
    if reason := needs(device):
        return not_tested(STATEMENT, FULL, reason, unit="decades of steps")
    lab.plan(len(NETS) * len(seeds) + 2 * (len(lrs) + len(TRAINING_SEEDS)))
    (_, *parts), charts = quick(lab, width=random_width, depths=depths, seeds=seeds)
    size = {"device": device, "width": width, "layers": layers, "steps": steps}
    needed = {}
    for orthogonal in (False, True):
        arm = {"orthogonal": orthogonal, **size}
        search = lab.map(learning_time, [{**arm, "lr": lr, "seed": TUNING_SEED} for lr in lrs])
        best = lrs[int(np.argmin([run["steps"] for run in search]))]
        runs = lab.map(learning_time, [{**arm, "lr": best, "seed": s} for s in TRAINING_SEEDS])
        needed[orthogonal] = np.log10([run["steps"] for run in runs])
    faster = judge(
        needed[False],
        needed[True],
        statement=f"orthogonal weights need fewer steps to {ACCURACY:.0%} by more than a factor "
        f"{RATIO:g}",
        unit="decades of steps",
        band=math.log10(RATIO),
        worst=math.log10(steps),
        seeds=TRAINING_SEEDS,
    )
    parts.append(faster)
    return (overall(faster, parts, statement=STATEMENT, criterion=FULL), *parts), charts


CLAIM = Claim(
    name="pennington-2017-isometry",
    topic="gradients through depth",
    claim=STATEMENT,
    source=(
        "Pennington, Schoenholz, Ganguli, 'Resurrecting the sigmoid in deep learning through "
        "dynamical isometry', NIPS 2017; for linear nets Saxe, McClelland, Ganguli, ICLR 2014"
    ),
    link="https://arxiv.org/abs/1711.04735",
    criterion=CRITERION.format(len(SEEDS)),
    full_criterion=FULL,
    quick=quick,
    full=full,
    smoke={"steps": 2, "seeds": (0, 1)},
    how=(
        f"Random nets of width {WIDTH} with the weight variance at which gradients keep their "
        "mean size, at an input of the size that depth keeps. All singular values of the product "
        "of slopes and weights, in float64. Theory at infinite width: L for linear Gaussian nets, "
        "2L and L for ReLU with Gaussian and orthogonal weights."
    ),
    depends=(
        f"tanh is isometric only in the limit of small signals: with biases of variance "
        f"{TANH_BIAS:g} it is nearly linear at its critical point, and the scatter still grows "
        "with depth, slowly. Theory is for infinite width; at width 200 the scatter of 64 layers "
        "departs from it by about a fifth, so the verdict is given at 16."
    ),
)


# --- singular values ------------------------------------------------------------------------------


def scatter(
    phi: str, orthogonal: bool, width: int, depths: Sequence[int], seed: int
) -> dict[str, np.ndarray]:
    """Variance over squared mean, and largest over mean, of J's squared singular values."""
    weight_variance, bias_variance, q = critical(phi)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    z, jacobian = math.sqrt(q) * normal(width), torch.eye(width, dtype=torch.float64)
    defects, largest = [], []
    for layer in range(1, max(depths) + 1):
        weight = math.sqrt(weight_variance / width) * normal(width, width)
        if orthogonal:
            weight = math.sqrt(weight_variance) * _orthogonal(weight)
        slope = torch.from_numpy(activation(phi).derivative(z.numpy()))
        jacobian = weight @ (slope[:, None] * jacobian)
        z = weight @ FUNCTIONS[phi](z) + math.sqrt(bias_variance) * normal(width)
        if layer in depths:
            squares = torch.linalg.svdvals(jacobian).square()
            defects.append(float(squares.var(correction=0) / squares.mean() ** 2))
            largest.append(float(squares.max() / squares.mean()))
    return {"defect": np.array(defects), "largest": np.array(largest)}


def critical(phi: str) -> tuple[float, float, float]:
    """Variances of weights (times width) and biases at which gradients are kept, and the size q."""
    known, bias = activation(phi), TANH_BIAS if phi == "tanh" else 0.0
    weight = critical_variance(known, bias)
    return weight, bias, fixed_point(known, weight, bias)


def expected(net: Net, depth: int) -> float:
    """Theory's variance over squared mean."""
    _, _, q = critical(net.phi)
    return isometry_defect(depth, activation(net.phi), orthogonal=net.orthogonal, q=q)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Evenly distributed over the orthogonal matrices: Q of a QR with the signs of R's diagonal."""
    q, r = torch.linalg.qr(matrix)
    return q * r.diagonal().sign()


# --- training -------------------------------------------------------------------------------------


def learning_time(
    orthogonal: bool, device: str, width: int, layers: int, steps: int, lr: float, seed: int
) -> dict[str, float]:
    """Steps until a running mean of training accuracy reaches 99 %; `steps` if it never does."""
    x, y = (part.to(device) for part in digit_images().train)
    build = functools.partial(deep_net, orthogonal, width, layers, device)
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=128, steps=steps)
    case = Case(build, functional.cross_entropy, (x, y), recipe)
    return {"steps": steps_until(case, seed, ACCURACY)}


def deep_net(orthogonal: bool, width: int, layers: int, device: str) -> nn.Sequential:
    """A critical tanh net from 64 pixels to 10 classes."""
    weight_variance, bias_variance, _ = critical("tanh")
    modules: list[nn.Module] = []
    for inputs in (64, *[width] * (layers - 2)):
        layer = nn.Linear(inputs, width)
        nn.init.normal_(layer.bias, std=math.sqrt(bias_variance))
        if orthogonal:
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(weight_variance))
        else:
            nn.init.normal_(layer.weight, std=math.sqrt(weight_variance / inputs))
        modules += [layer, nn.Tanh()]
    head = nn.Linear(width, 10)
    nn.init.normal_(head.weight, std=math.sqrt(1 / width))
    return nn.Sequential(*modules, head).to(device)


# --- verdicts -------------------------------------------------------------------------------------


def _agreement(net: Net, defects: np.ndarray, seeds: Sequence[int]) -> Verdict:
    theory = expected(net, JUDGED)
    return agrees(
        defects / theory,
        np.ones(len(defects)),
        tolerance=TOLERANCE,
        statement=f"{net.label}: the scatter is {theory:.3g} at depth {JUDGED}",
        unit="of theory",
        seeds=seeds,
    )


def _isometric(net: Net, defects: np.ndarray, below: float, seeds: Sequence[int]) -> Verdict:
    statement = f"{net.label}: the scatter stays below {below:g} at depth {JUDGED}"
    return every(defects, below=below, statement=statement, seeds=seeds)


def _chart(defects: dict[Net, np.ndarray], depths: Sequence[int]) -> Chart:
    lines = []
    for net in NETS:
        if net == LINEAR_ORTHOGONAL:  # zero, which a logarithm has no place for
            continue
        theory = [expected(net, depth) for depth in depths]
        lines.append(measured(net.label, depths, defects[net]))
        lines.append(predicted(f"{net.label}, theory", depths, theory))
    return Chart(
        title="How unlike a critical net treats directions",
        x_label="layers",
        y_label="variance / mean² of squared singular values",
        lines=tuple(lines),
        log_x=True,
        log_y=True,
    )


def _chart_of_largest(largest: np.ndarray, depths: Sequence[int]) -> Chart:
    theory = [largest_squared_singular_value(depth) for depth in depths]
    return Chart(
        title="Largest squared singular value of a linear Gaussian net",
        x_label="layers",
        y_label="largest / mean",
        lines=(measured("measured", depths, largest), predicted("about e L", depths, theory)),
        log_x=True,
        log_y=True,
    )
