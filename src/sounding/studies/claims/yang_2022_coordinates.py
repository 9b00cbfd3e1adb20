"""In the maximal update parametrisation training changes hidden layers alike at every width.

Letters: L layers, W widths, T steps, S seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.widths import coordinate_check
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.studies.samples import digit_images
from sounding.theory import maximal_update
from sounding.verdict import Verdict, overall, slope, within

MUP, STANDARD = "maximal update", "standard"
BASE = 64  # the width at which both are the same
WIDTHS = (64, 128, 256, 512, 1024, 2048)
STEPS, LR = 5, 1e-3
FLAT, STEEP = 0.1, 0.3  # exponents
SEEDS = (0, 1, 2)
HIDDEN = {1: "second", 2: "third"}  # layers whose weights are width by width

STATEMENT = (
    "With Adam at one learning rate the change of hidden pre-activations grows with the width in "
    "the standard parametrisation, and does not depend on it in the maximal update parametrisation"
)
QUICK = (
    "Digits, three hidden ReLU layers of width 64 to 2048, 3 seeds: the slope of the log rms "
    "change of the pre-activations of the second and third hidden layer over log width, after each "
    f"of 1 to 5 Adam steps: interval within ±{FLAT} in the maximal update parametrisation, above "
    f"{STEEP} in the standard one"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab, *, widths: Sequence[int] = WIDTHS, steps: int = STEPS, seeds: Sequence[int] = SEEDS
) -> Measured:
    """Both parametrisations; the sizes are arguments for other runs."""
    names = (MUP, STANDARD)
    settings = [
        {"parametrisation": name, "widths": list(widths), "steps": steps, "seed": seed}
        for name in names
        for seed in seeds
    ]
    runs = lab.map(changes, settings)
    of = {
        name: np.stack([run["change"] for run in runs[at * len(seeds) :][: len(seeds)]], axis=-1)
        for at, name in enumerate(names)
    }  # (L, W, T, S)
    parts = [
        _part(name, layer, step, widths, of[name][layer, :, step], seeds)
        for name in names
        for layer in HIDDEN
        for step in range(steps)
    ]
    verdict = overall(parts[len(parts) // 2 - 1], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, *_reported(of, widths, seeds)), [_chart(of, widths)]


def full(lab: Lab, **sizes: Any) -> Measured:
    """Wider, and with more seeds; on the CPU as well."""
    larger = {"widths": (*WIDTHS, 4096, 8192), "steps": 10, "seeds": tuple(range(8))}
    return quick(lab, **{**larger, **sizes})


CLAIM = Claim(
    name="yang-2022-coordinates",
    topic="initialisation",
    claim=STATEMENT,
    source=(
        "Yang, Hu et al., 'Tensor Programs V: Tuning large neural networks via zero-shot "
        "hyperparameter transfer', 2022, table 3, figure 5, appendix D.1"
    ),
    link="https://arxiv.org/abs/2203.03466",
    criterion=QUICK,
    full_criterion=QUICK.replace("width 64 to 2048", "width 64 to 8192")
    .replace("3 seeds", "8 seeds")
    .replace("1 to 5 Adam", "1 to 10 Adam"),
    quick=quick,
    full=full,
    how=(
        "Networks of six widths take five Adam steps on one batch of 64 digits; after every step "
        "the same batch goes through, and each layer's outputs are compared with those at the "
        "start. In the maximal update parametrisation the rate of weights whose inputs grow with "
        "the width is divided by the width over 64, and the variance of the last layer's weights "
        "once more. At width 64 both are the same."
    ),
    depends=(
        "The change of the first layer, whose inputs do not grow with the width, does not grow "
        "either: what carries a rate over has to scale the other layers alone. The output of the "
        "wide net starts smaller in the maximal update parametrisation, which is meant. The "
        "exponents of theory, 0 and 1, are those of infinite width and few steps; a large change "
        "saturates."
    ),
)


# --- networks -------------------------------------------------------------------------------------


def dense_net(parametrisation: str, width: int, hidden: int = 3) -> nn.Sequential:
    """64 pixels, `hidden` ReLU layers, ten classes; variance 1 / fan_in, and biases of zero."""
    sizes = [64, *[width] * hidden, 10]
    layers: list[nn.Module] = []
    for at, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layer = nn.Linear(inputs, outputs)
        factor = maximal_update(role(at, hidden), ratio(parametrisation, width)).variance
        nn.init.normal_(layer.weight, std=(factor / inputs) ** 0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def scaled_adam(
    parameters: Sequence[nn.Parameter], *, parametrisation: str, width: int, lr: float
) -> torch.optim.Adam:
    """Adam on weight, bias, weight, bias, ... of `dense_net`, with each layer's rate."""
    groups = []
    for at in range(len(parameters) // 2):
        factor = maximal_update(role(at, len(parameters) // 2 - 1), ratio(parametrisation, width))
        weight, bias = parameters[2 * at : 2 * at + 2]
        groups.append({"params": [weight], "lr": lr * factor.lr})
        groups.append({"params": [bias], "lr": lr * factor.bias_lr})
    return torch.optim.Adam(groups)


def role(layer: int, hidden: int) -> str:
    """Of the layer of that number in a net with `hidden` hidden layers."""
    return "input" if layer == 0 else "output" if layer == hidden else "hidden"


def ratio(parametrisation: str, width: int) -> float:
    """Width over base width; 1 in the standard parametrisation, which knows no base."""
    return width / BASE if parametrisation == MUP else 1.0


def changes(
    parametrisation: str, widths: Sequence[int], steps: int, seed: int
) -> dict[str, np.ndarray]:
    """(L, W, T) root mean square of every layer's change after 1 to T steps."""
    x, y = digit_images().train
    check = coordinate_check(
        lambda width: dense_net(parametrisation, width),
        functional.cross_entropy,
        (x[:64], y[:64]),
        widths,
        optimizer=lambda net: scaled_adam(
            list(net.parameters()),
            parametrisation=parametrisation,
            width=next(net.parameters()).shape[0],
            lr=LR,
        ),
        steps=steps,
        seeds=[seed],
    )
    return {"change": check.change[..., 0]}


# --- verdicts -------------------------------------------------------------------------------------


def _part(
    name: str,
    layer: int,
    step: int,
    widths: Sequence[int],
    change: np.ndarray,
    seeds: Sequence[int],
    *,
    ends: tuple[float, float] | None = None,
) -> Verdict:
    """`change` is (W, S)."""
    x = np.repeat(np.log(np.asarray(widths, float)), change.shape[1])
    low, high = ends or ((-FLAT, FLAT) if name == MUP else (STEEP, np.inf))
    said = "does not depend on the width" if high == FLAT else "grows with the width"
    steps = f"{step + 1} step{'s' * (step > 0)}"
    return within(
        slope(x, np.log(change).ravel()),
        low,
        high,
        statement=(
            f"{name}: after {steps} the change of the {HIDDEN.get(layer, 'first')} layer {said}"
        ),
        unit="exponent of width",
        seeds=seeds,
    )


def _reported(
    of: dict[str, np.ndarray], widths: Sequence[int], seeds: Sequence[int]
) -> list[Verdict]:
    last = of[STANDARD].shape[2] - 1
    first = _part(STANDARD, 0, last, widths, of[STANDARD][0, :, last], seeds, ends=(-np.inf, FLAT))
    steps = f"after {last + 1} steps"
    statement = f"reported: standard: {steps} the change of the first layer does not grow"
    return [dataclasses.replace(first, statement=statement)]


def _chart(of: dict[str, np.ndarray], widths: Sequence[int]) -> Chart:
    lines = []
    for name, change in of.items():
        for layer, word in ((2, "third hidden layer"), (3, "output")):
            logs = np.log10(change[layer, :, -1])  # (W, S)
            error = logs.std(1, ddof=1) / logs.shape[1] ** 0.5
            label = f"{word}, {name}"
            lines.append(Line(label=label, x=np.array(widths), y=logs.mean(1), error=error))
    return Chart(
        title=f"Change after {of[MUP].shape[2]} Adam steps, by the width",
        x_label="width",
        y_label="log10 of the rms change",
        lines=tuple(lines),
        log_x=True,
    )
