"""PyTorch's default weights have variance 1 / (3 fan_in): a sixth of what a ReLU net needs.

Two arms. The *layer* arm measures variances and bounds of fresh layers. The *chain* arm sends
Gaussian inputs through ReLU layers as PyTorch makes them, with and without their biases.

Letters: L layers, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.theory import activation, bias_variance, fans, fixed_point, weight_variance
from sounding.train import seeded
from sounding.verdict import Verdict, agrees, every, overall, slope

LAYERS = {
    "linear": lambda: nn.Linear(300, 400),
    "conv 1-d": lambda: nn.Conv1d(60, 80, 5),
    "conv 2-d": lambda: nn.Conv2d(40, 60, 3),
    "conv 3-d": lambda: nn.Conv3d(16, 24, 3),
}
SCHEME = "pytorch default"
VARIANCE, SHARE = 0.02, 0.05  # relative tolerances, of variances and of slopes
SEEDS = tuple(range(8))

STATEMENT = (
    "PyTorch draws the weights of linear layers and convolutions uniformly with variance "
    "1 / (3 fan_in), so that a ReLU net loses a factor 6 in mean square per layer"
)
QUICK = (
    "Linear layers and convolutions in 1, 2 and 3 dimensions, 8 seeds: variance times 3 fan_in "
    "within 1 ± 0.02, largest entry at most 1 / sqrt(fan_in), and the same numbers as "
    "kaiming_uniform_ with a = sqrt(5) to the last bit; and in 12 ReLU layers of width 512 without "
    "biases the mean square changes by log10(1/6) decades per layer to 5 %, forward and backward"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(lab: Lab, *, width: int = 512, depth: int = 12, seeds: Sequence[int] = SEEDS) -> Measured:
    """Both arms; the sizes are arguments for other runs."""
    lab.plan((len(LAYERS) + 2) * len(seeds))
    parts, reported = layer_arm(lab, seeds)
    size = {"width": [width], "depth": [depth]}
    runs = lab.map(chain, grid(seeds, biases=[False, True], **size))
    plain, biased = runs[: len(seeds)], runs[len(seeds) :]
    parts += [_loses_six(plain, what, seeds) for what in ("signal", "gradient")]
    reported += [_spread_loses_six(biased, seeds), _settles(biased, width, seeds)]
    verdict = overall(parts[-2], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, *reported), [_chart(plain, biased)]


def full(lab: Lab, **sizes: Any) -> Measured:
    """Wider and deeper, with more seeds; on the CPU as well."""
    return quick(lab, **{"width": 2048, "depth": 20, "seeds": tuple(range(16)), **sizes})


CLAIM = Claim(
    name="pytorch-default",
    topic="initialisation",
    claim=STATEMENT,
    source=(
        "reset_parameters in torch/nn/modules/linear.py and conv.py; Glorot and Bengio, AISTATS "
        "2010, equation 1, call the same law the standard initialisation"
    ),
    link="https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html",
    criterion=QUICK,
    full_criterion=QUICK.replace("12 ReLU layers of width 512", "20 ReLU layers of width 2048"),
    quick=quick,
    full=full,
    how=(
        "Variance and largest entry of freshly made layers, of weights and biases, against the "
        "formula. Then 16 Gaussian inputs go through 12 ReLU layers, and Gaussian noise comes back "
        "from the last one; the rates are slopes of straight lines on the log scale."
    ),
    depends=(
        "The name of the function that is called in PyTorch's source suggests He's initialisation, "
        "but the variance is a sixth of He's. The factor 6 is that of a net without biases: with "
        "the default biases the signal settles at 0.4 / fan_in, and what is lost by 6 in every "
        "layer is the difference between one input and another. Both are measured beside the "
        "verdict."
    ),
)


# --- layers ---------------------------------------------------------------------------------------


def fresh_layer(kind: str, seed: int) -> dict[str, float]:
    """A layer's variances over the formula, largest entries over the bound, and its twin.

    'twin' is the largest difference from kaiming_uniform_ with a = sqrt(5), drawn from one seed.
    """
    with seeded(seed):
        layer: Any = LAYERS[kind]()
    with seeded(seed):
        twin = nn.init.kaiming_uniform_(torch.empty_like(layer.weight), a=math.sqrt(5))
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    fan_in, fan_out = fans(weight.shape)
    return {
        "variance": float(weight.square().mean()) / weight_variance(SCHEME, fan_in, fan_out),
        "of He's": float(weight.square().mean()) / weight_variance("kaiming", fan_in, fan_out),
        "bias variance": float(bias.square().mean()) / bias_variance(SCHEME, fan_in),
        "largest": float(weight.abs().max()) * math.sqrt(fan_in),
        "largest bias": float(bias.abs().max()) * math.sqrt(fan_in),
        "twin": float((twin - layer.weight).detach().abs().max()),
    }


def layer_arm(lab: Lab, seeds: Sequence[int]) -> tuple[list[Verdict], list[Verdict]]:
    """The claim's parts about fresh layers, and what is reported beside them."""
    found = lab.map(fresh_layer, grid(seeds, kind=list(LAYERS)))
    parts = []
    for at, kind in enumerate(LAYERS):
        runs = found[at * len(seeds) : (at + 1) * len(seeds)]
        parts.append(
            agrees(
                [run["variance"] for run in runs],
                np.ones(len(seeds)),
                tolerance=VARIANCE,
                statement=f"{kind}: the weights' variance is 1 / (3 fan_in)",
                unit="of the formula",
                seeds=seeds,
            )
        )
    rounding = 1 + 1e-6
    parts.append(
        every(
            [max(run["largest"], run["largest bias"]) for run in found],
            below=rounding,
            statement="no weight and no bias is larger than 1 / sqrt(fan_in)",
        )
    )
    parts.append(
        every(
            [run["twin"] for run in found],
            below=math.ulp(0),
            statement="the weights are those of kaiming_uniform_ with a = sqrt(5)",
        )
    )
    sixth = agrees(
        [run["of He's"] for run in found],
        np.full(len(found), 1 / 6),
        tolerance=VARIANCE / 6,
        statement="'the default is He's initialisation' is wrong: the variance is a sixth of it",
        unit="of He's variance",
        seeds=[seed for _ in LAYERS for seed in seeds],
    )
    return parts, [sixth]


# --- chains ---------------------------------------------------------------------------------------


def chain(biases: bool, width: int, depth: int, seed: int) -> dict[str, np.ndarray]:
    """Mean square of pre-activations, of their variance over the inputs, and of gradients: (L,).

    The variance over the inputs is what tells one input from another.
    """
    with seeded(seed):
        layers = [nn.Linear(width, width, bias=biases) for _ in range(depth)]
        hidden, noise = torch.randn(16, width, requires_grad=True), torch.randn(16, width)
    before = []
    for layer in layers:
        before.append(layer(hidden))
        hidden = before[-1].relu()
    gradients = torch.autograd.grad((before[-1] * noise).sum(), before)
    values = [t.detach().double() for t in before]
    return {
        "signal": np.array([float(z.square().mean()) for z in values]),
        "spread": np.array([float(z.var(0).mean()) for z in values]),
        "gradient": np.array([float(g.double().square().mean()) for g in gradients]),
    }


def _rates(runs: Sequence[dict[str, np.ndarray]], what: str) -> np.ndarray:
    """(S,) decades per layer, from each layer to the one that comes after it for this signal."""
    sign = -1 if what == "gradient" else 1
    return np.array(
        [sign * slope(np.arange(len(run[what])), np.log10(run[what])).value for run in runs]
    )


def _loses_six(runs: Sequence[dict[str, np.ndarray]], what: str, seeds: Sequence[int]) -> Verdict:
    return agrees(
        _rates(runs, what),
        np.full(len(seeds), -math.log10(6)),
        tolerance=SHARE * math.log10(6),
        statement=f"without biases the mean square of the {what} is divided by 6 at every layer",
        unit="decades per layer",
        seeds=seeds,
    )


def _spread_loses_six(runs: Sequence[dict[str, np.ndarray]], seeds: Sequence[int]) -> Verdict:
    """From the layer on where the signal has settled: before, inputs are not yet alike."""
    late = [{"spread": run["spread"][len(run["spread"]) // 2 :]} for run in runs]
    return agrees(
        _rates(late, "spread"),
        np.full(len(seeds), -math.log10(6)),
        tolerance=SHARE * math.log10(6),
        statement="reported: with biases what tells inputs apart is divided by 6 at every layer",
        unit="decades per layer",
        seeds=seeds,
    )


def _settles(runs: Sequence[dict[str, np.ndarray]], width: int, seeds: Sequence[int]) -> Verdict:
    expected = fixed_point(activation("relu"), 1 / 3, bias_variance(SCHEME, width))
    return agrees(
        [math.log10(run["signal"][-1]) for run in runs],
        np.full(len(seeds), math.log10(expected)),
        tolerance=0.05,
        statement="reported: with biases the signal does not vanish, it settles at 0.4 / fan_in",
        unit="decades",
        seeds=seeds,
    )


def _chart(
    plain: Sequence[dict[str, np.ndarray]], biased: Sequence[dict[str, np.ndarray]]
) -> Chart:
    lines = []
    for label, runs, what in (
        ("signal without biases", plain, "signal"),
        ("signal with biases", biased, "signal"),
        ("what tells inputs apart, with biases", biased, "spread"),
    ):
        decades = np.log10([run[what] for run in runs])
        error = decades.std(0, ddof=1) / math.sqrt(len(decades))
        layers = np.arange(1, decades.shape[1] + 1)
        lines.append(Line(label=label, x=layers, y=decades.mean(0), error=error))
    start = -math.log10(3)  # Gaussian inputs, weights of variance 1 / (3 fan_in)
    theory = start - math.log10(6) * (layers - 1)
    lines.append(Line(label="a factor 6 per layer", x=layers, y=theory, theory=True))
    return Chart(
        title="ReLU layers as PyTorch makes them",
        x_label="layer",
        y_label="log10 of the mean square",
        lines=tuple(lines),
    )
