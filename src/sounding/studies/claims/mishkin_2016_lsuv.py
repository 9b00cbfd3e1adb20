"""LSUV: orthogonal weights, scaled on one batch until every layer has unit output variance.

Two arms. The *variance* arm looks at every layer after it, for several activations. The *training*
arm compares the speed of learning with He's initialisation, for ReLU.

Letters: L layers, S seeds, T steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies import prescribe
from sounding.remedies.apply import apply
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.learning_rates import Arm, tuned
from sounding.studies.lines import measured
from sounding.studies.samples import digit_images
from sounding.train import Case, Recipe, seeded
from sounding.verdict import Verdict, agrees, every, judge, overall

LSUV, HE = "LSUV", "He"
ACTIVATIONS = ("relu", "tanh", "maxout")
TOLERANCE = 0.1  # of a variance
LEARNT, FACTOR = 0.2, 1.5  # training loss over the last epoch's steps; how far speeds may differ
LRS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
BATCH = 64
SEEDS = (0, 1, 2, 3, 4)

STATEMENT = (
    "Orthogonal weights scaled layer by layer on one batch give every layer unit variance, "
    "whatever the activation, and a ReLU net then learns as fast as with He's initialisation"
)
QUICK = (
    "Ten hidden layers of width 128 on 256 digits, ReLU, tanh and maxout, 5 seeds: every layer's "
    f"output variance within 1 ± {TOLERANCE} on that batch; and ReLU nets of width 64 (SGD with "
    "momentum 0.9, learning rate chosen for each on training loss and on another seed): the steps "
    f"until the training loss over an epoch is below {LEARNT} differ by less than a factor "
    f"{FACTOR} from He's, paired t-interval over 5 seeds"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    width: int = 128,
    depth: int = 10,
    training_width: int = 64,
    steps: int = 250,
    lrs: Sequence[float] = LRS,
) -> Measured:
    """Both arms; the sizes are arguments for other runs."""
    lab.plan((len(ACTIVATIONS) + 1) * len(SEEDS) + 2 * (len(lrs) + len(SEEDS)))
    size = {"width": [width], "depth": [depth]}
    runs = lab.map(variances, grid(SEEDS, activation=list(ACTIVATIONS), scheme=[LSUV], **size))
    he = lab.map(variances, grid(SEEDS, activation=["relu"], scheme=[HE], **size))
    of = {
        name: runs[at * len(SEEDS) : (at + 1) * len(SEEDS)] for at, name in enumerate(ACTIVATIONS)
    }
    parts = [_unit(name, mine) for name, mine in of.items()]
    sizes = {"width": training_width, "depth": depth, "steps": steps}
    settings = {scheme: {"scheme": scheme, **sizes} for scheme in (LSUV, HE)}
    arms = tuned(lab, digits_case, settings, lrs, SEEDS)
    parts.append(_as_fast(arms))
    verdict = overall(parts[-1], parts, statement=STATEMENT, criterion=QUICK)
    reported = [_not_slower(parts[-1]), *(_elsewhere(name, mine) for name, mine in of.items())]
    return (verdict, *parts, *reported), [_variances_chart(of, he), _losses_chart(arms)]


def full(lab: Lab, **sizes: Any) -> Measured:
    """Wider, deeper and longer; on the CPU as well."""
    larger = {"width": 512, "depth": 30, "training_width": 256, "steps": 1000}
    return quick(lab, **{**larger, **sizes})


CLAIM = Claim(
    name="mishkin-2016-lsuv",
    topic="initialisation",
    claim=STATEMENT,
    source="Mishkin and Matas, 'All you need is a good init', ICLR 2016, sections 2 and 3",
    link="https://arxiv.org/abs/1511.06422",
    criterion=QUICK,
    full_criterion=QUICK.replace(
        "Ten hidden layers of width 128", "30 hidden layers of width 512"
    ).replace("width 64", "width 256"),
    quick=quick,
    full=full,
    how=(
        "The remedy data_driven_init is applied to fully connected nets on 256 of the digits, and "
        "the variance of every layer's pre-activations is measured on them and on 256 others. The "
        "steps to learn are counted on nets of ten hidden ReLU layers."
    ),
    depends=(
        "Unit variance holds on the batch that was used; how far it holds on others is reported. "
        "'As fast' is a matter of the first hundred steps: in the quick run LSUV needs about a "
        "quarter fewer, which is reported too, so that equality within a factor 1.5 is not sure. "
        "For ReLU He's weights need no batch for the same; the gain is for activations whose "
        "factor nobody has worked out, as maxout. The paper's errors on CIFAR-10 and ImageNet are "
        "not tried."
    ),
)


# --- nets -----------------------------------------------------------------------------------------


class Maxout(nn.Module):
    """The larger one of two neighbours: half as many outputs as inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 2 n) -> (B, n)."""
        return x.unflatten(-1, (-1, 2)).amax(-1)


def deep_net(activation: str, width: int, depth: int, scheme: str = LSUV) -> nn.Sequential:
    """`depth` hidden layers from 64 pixels to ten classes; He's weights for that scheme."""
    pieces = 2 if activation == "maxout" else 1
    layers: list[nn.Module] = []
    for inputs in (64, *[width] * (depth - 1)):
        phi = {"relu": nn.ReLU, "tanh": nn.Tanh, "maxout": Maxout}[activation]()
        layers += [nn.Linear(inputs, pieces * width), phi]
    net = nn.Sequential(*layers, nn.Linear(width, 10))
    for layer in net if scheme == HE else ():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def treated(case: Case, scheme: str) -> Case:
    """`case` with LSUV, unless the scheme is another one."""
    return apply(prescribe("data_driven_init"), case) if scheme == LSUV else case


# --- variances ------------------------------------------------------------------------------------


def variances(
    activation: str, scheme: str, width: int, depth: int, seed: int
) -> dict[str, np.ndarray]:
    """(L,) output variances of every layer: on the 256 digits of LSUV, and 'elsewhere'."""
    x, y = digit_images().train
    batch, others = (x[:256], y[:256]), x[256:512]
    build = functools.partial(deep_net, activation, width, depth, scheme)
    case = Case(build, functional.cross_entropy, [batch], Recipe(lr=0.1, steps=1))
    with seeded(seed):
        net = treated(case, scheme).build()
    return {"here": _variances(net, batch[0]), "elsewhere": _variances(net, others)}


@torch.no_grad()
def _variances(net: nn.Module, x: torch.Tensor) -> np.ndarray:
    found = []
    for layer in net.children():
        x = layer(x)
        if isinstance(layer, nn.Linear):
            found.append(x.double().var().item())
    return np.array(found)


def _unit(name: str, runs: Sequence[dict[str, np.ndarray]]) -> Verdict:
    worst = [np.abs(run["here"] - 1).max() for run in runs]
    return every(
        worst,
        below=TOLERANCE,
        statement=f"{name}: the variance of the layer that is furthest from 1 differs from it by",
        seeds=SEEDS,
    )


def _elsewhere(name: str, runs: Sequence[dict[str, np.ndarray]]) -> Verdict:
    worst = [np.abs(run["elsewhere"] - 1).max() for run in runs]
    return every(
        worst,
        below=5 * TOLERANCE,
        statement=f"reported: {name}: on 256 other images that difference is",
        seeds=SEEDS,
    )


# --- training -------------------------------------------------------------------------------------


def digits_case(scheme: str, width: int, depth: int, lr: float, steps: int) -> Case:
    """The ReLU net on the digits."""
    build = functools.partial(deep_net, "relu", width, depth, scheme)
    recipe = Recipe(lr=lr, momentum=0.9, batch_size=BATCH, steps=steps)
    data = tuple(digit_images().train)
    return treated(Case(build, functional.cross_entropy, data, recipe, name=scheme), scheme)


def steps_to_learn(losses: np.ndarray, window: int) -> float:
    """Steps until the mean loss of the last `window` ones is below 0.2; infinite if it never is."""
    window = min(window, len(losses))
    means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    reached = np.flatnonzero(means < LEARNT)
    return float(reached[0] + window) if reached.size else math.inf


def _as_fast(arms: dict[str, Arm]) -> Verdict:
    """In doublings of the number of steps; a net that has not learnt counts as twice the run."""
    longest = 2 * max(len(trial.loss.values) for arm in arms.values() for trial in arm.trials)
    epoch = len(digit_images().train.x) // BATCH
    steps = {
        scheme: [min(steps_to_learn(t.loss.values, epoch), longest) for t in arm.trials]
        for scheme, arm in arms.items()
    }
    words = ", ".join(
        f"{scheme} {np.median(found):g} steps at rate {arms[scheme].lr:g}"
        + " (the edge of the grid)" * (not arms[scheme].inside)
        for scheme, found in steps.items()
    )
    return agrees(
        np.log2(steps[LSUV]),
        np.log2(steps[HE]),
        tolerance=math.log2(FACTOR),
        statement=f"ReLU: LSUV learns as fast as He's initialisation ({words})",
        unit="doublings of the steps",
        seeds=SEEDS,
    )


def _not_slower(compared: Verdict) -> Verdict:
    return judge(
        compared.before,
        compared.after,
        statement="reported: ReLU: LSUV learns in fewer steps than He's initialisation",
        unit="doublings of the steps",
        seeds=SEEDS,
        names=(HE, LSUV),
    )


# --- charts ---------------------------------------------------------------------------------------


def _variances_chart(
    of: dict[str, list[dict[str, np.ndarray]]], he: list[dict[str, np.ndarray]]
) -> Chart:
    lines = []
    named = {**{f"LSUV, {name}": runs for name, runs in of.items()}, "He, relu": he}
    for label, runs in named.items():
        values = np.array([run["elsewhere"] for run in runs])
        error = values.std(0, ddof=1) / math.sqrt(len(values))
        layers = np.arange(1, values.shape[1] + 1)
        lines.append(Line(label=label, x=layers, y=values.mean(0), error=error))
    return Chart(
        title="Output variance of every layer, on images that LSUV has not seen",
        x_label="layer",
        y_label="variance",
        lines=tuple(lines),
    )


def _losses_chart(arms: dict[str, Arm]) -> Chart:
    lines = []
    for scheme, arm in arms.items():
        shortest = min(len(trial.loss.values) for trial in arm.trials) // 10 * 10
        values = np.stack([t.loss.values[:shortest].reshape(-1, 10).mean(1) for t in arm.trials])
        x = np.arange(values.shape[1]) * 10 + 5
        lines.append(measured(f"{scheme}, rate {arm.lr:g}", x, values))
    return Chart(
        title="Training loss of ten hidden ReLU layers",
        x_label="step",
        y_label="loss, mean of ten steps",
        lines=tuple(lines),
        log_y=True,
    )
