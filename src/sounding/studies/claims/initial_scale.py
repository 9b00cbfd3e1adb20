"""Large weights make a ReLU net explode, small ones make it vanish; a tanh net explodes backwards.

Everything is measured at the start, in chains of square layers without biases, and compared with
mean-field theory. Letters: L layers, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.theory import activation, chi, fixed_point, mean, second_moment
from sounding.verdict import Verdict, agrees, every, overall, slope, within

RELU_FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)  # s: the weights have variance s / width
TANH_FACTORS = (2.0, 4.0, 16.0, 64.0, 256.0)
POWER_FROM = 16.0  # chi is a power of s up to 3 % from here on, by theory
SHARE = 0.05  # of the theoretical rate
SETTLED = 5  # layers after which tanh is at its fixed point
SEEDS = tuple(range(8))

STATEMENT = (
    "Weights of variance s / width change the mean square of a ReLU net by s / 2 per layer, "
    "forward and backward; a tanh net with large weights saturates instead of exploding forward, "
    "but its gradients explode with the rate of mean-field theory, which grows as sqrt(s)"
)
QUICK = (
    "30 layers of width 512, 8 seeds, t-intervals; a rate is right within 5 % of theory, or of "
    "log10(2) where theory is below that. ReLU, s = 0.5, 1, 2, 4, 8: decades per layer are "
    "log10(s / 2), forward and backward. tanh, s = 2, 4, 16, 64, 256: decades per layer of the "
    "gradient are log10 of theory's factor, the signal's mean square stays below 1 in every layer; "
    "and the exponent of that factor over s = 16, 64, 256 lies within 0.5 ± 0.05"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(lab: Lab, *, width: int = 512, depth: int = 30, seeds: Sequence[int] = SEEDS) -> Measured:
    """Both activations; the sizes are arguments for other runs."""
    lab.plan((len(RELU_FACTORS) + len(TANH_FACTORS)) * len(seeds))
    size = {"width": [width], "depth": [depth]}
    relu = lab.map(chain, grid(seeds, activation=["relu"], factor=list(RELU_FACTORS), **size))
    tanh = lab.map(chain, grid(seeds, activation=["tanh"], factor=list(TANH_FACTORS), **size))
    of_relu, of_tanh = _by_factor(relu, RELU_FACTORS), _by_factor(tanh, TANH_FACTORS)
    parts = [_relu_law(*found, seeds) for found in of_relu.items()]
    parts += [_relu_law(*found, seeds, backward=True) for found in of_relu.items()]
    parts += [_tanh_law(*found, seeds) for found in of_tanh.items()]
    parts += [_bounded(tanh), _power(of_tanh, seeds)]
    verdict = overall(parts[len(RELU_FACTORS) - 1], parts, statement=STATEMENT, criterion=QUICK)
    reported = [_not_centred(of_relu[2.0], seeds), _no_explosion(of_tanh, seeds)]
    return (verdict, *parts, *reported), [
        _chart("ReLU: mean square of the signal", of_relu, "signal"),
        _chart("tanh: mean square of the signal", of_tanh, "signal"),
        _chart("tanh: mean square of the gradient", of_tanh, "gradient"),
    ]


def full(lab: Lab, **sizes: Any) -> Measured:
    """Wider and deeper, with more seeds; on the CPU as well."""
    return quick(lab, **{"width": 1024, "depth": 100, "seeds": tuple(range(16)), **sizes})


CLAIM = Claim(
    name="initial-scale",
    topic="initialisation",
    claim=STATEMENT,
    source=(
        "He et al., 'Delving Deep into Rectifiers', ICCV 2015, section 2.2 (ReLU); Poole et al., "
        "'Exponential expressivity in deep neural networks through transient chaos', NIPS 2016 "
        "(tanh)"
    ),
    link="https://arxiv.org/abs/1606.05340",
    criterion=QUICK,
    full_criterion=QUICK.replace("30 layers of width 512, 8", "100 layers of width 1024, 16"),
    quick=quick,
    full=full,
    how=(
        "Random Gaussian inputs go through chains of square layers without biases, Gaussian noise "
        "comes back from the last one, and the mean square of every layer's pre-activations and of "
        "their gradients is fitted by a straight line on the log scale."
    ),
    changed=(
        "A first run left one of 17 parts open: 5 % of a slope that is nearly zero was the "
        "tolerance. It is 5 % of log10(2) at least now."
    ),
    depends=(
        "He's rule keeps the second moment, not the variance, and not a mean of zero: behind a "
        "ReLU the activations have mean 0.399 of the pre-activations' deviation, which is measured "
        "beside the verdict. 'Large weights make the signal explode' is wrong for tanh. The laws "
        "are those of infinite width; at width n one net's rate scatters by sqrt(5 / n) per layer."
    ),
)


# --- chains ---------------------------------------------------------------------------------------


def chain(
    activation: str, factor: float, width: int, depth: int, seed: int
) -> dict[str, np.ndarray]:
    """Mean squares of each layer's pre-activations and of noise sent back to them, (L,) each.

    On 16 Gaussian inputs, with a generator of its own; also the mean of a layer's activations over
    the root mean square of its pre-activations, averaged over the layers.
    """
    generator = torch.Generator().manual_seed(1000 * seed + int(2 * factor))  # no two nets alike
    phi: Callable = {"relu": torch.relu, "tanh": torch.tanh}[activation]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).double()  # gradients grow to 1e47

    hidden, noise = normal(16, width).requires_grad_(), normal(16, width)
    before, centres = [], []
    for _ in range(depth):
        before.append(hidden @ (normal(width, width) * math.sqrt(factor / width)))
        hidden = phi(before[-1])
        centres.append(float(hidden.detach().mean() / before[-1].detach().square().mean().sqrt()))
    gradients = torch.autograd.grad((before[-1] * noise).sum(), before)
    signal, gradient = (
        np.array([float(t.detach().double().square().mean()) for t in tensors])
        for tensors in (before, gradients)
    )
    return {"signal": signal, "gradient": gradient, "centre": np.array(np.mean(centres))}


Runs = dict[str, np.ndarray]  # 'signal', 'gradient': (S, L) decades; 'centre': (S,)


def _by_factor(
    runs: Sequence[dict[str, np.ndarray]], factors: Sequence[float]
) -> dict[float, Runs]:
    each = len(runs) // len(factors)
    found = {}
    for at, factor in enumerate(factors):
        mine = runs[at * each : (at + 1) * each]
        found[factor] = {
            "signal": np.log10([run["signal"] for run in mine]),
            "gradient": np.log10([run["gradient"] for run in mine]),
            "centre": np.array([run["centre"] for run in mine]),
        }
    return found


def _rates(decades: np.ndarray) -> np.ndarray:
    """(S,) decades per layer of each run."""
    return np.array([slope(np.arange(len(run)), run).value for run in decades])


# --- verdicts -------------------------------------------------------------------------------------


def _tolerance(expected: float) -> float:
    """5 % of the rate; of a factor 2 per layer where that is more: a rate of 0 has no 5 %."""
    return SHARE * max(abs(expected), math.log10(2))


def _relu_law(
    factor: float, runs: Runs, seeds: Sequence[int], *, backward: bool = False
) -> Verdict:
    expected, what = math.log10(factor / 2), "gradient" if backward else "signal"
    measured = -_rates(runs[what]) if backward else _rates(runs[what])
    return agrees(
        measured,
        np.full(len(measured), expected),
        tolerance=_tolerance(expected),
        statement=f"ReLU, s = {factor:g}: the {what} changes as s/2",
        unit="decades per layer",
        seeds=seeds,
    )


def _theory(factor: float) -> float:
    """Mean-field theory's factor on the gradient's mean square, per tanh layer."""
    phi = activation("tanh")
    return chi(phi, fixed_point(phi, factor, 0.0), factor)


def _tanh_rates(runs: Runs) -> np.ndarray:
    return -_rates(runs["gradient"][:, SETTLED:])


def _tanh_law(factor: float, runs: Runs, seeds: Sequence[int]) -> Verdict:
    measured, expected = _tanh_rates(runs), math.log10(_theory(factor))
    return agrees(
        measured,
        np.full(len(measured), expected),
        tolerance=_tolerance(expected),
        statement=f"tanh, s = {factor:g}: the gradient grows by {10**expected:.3g} per layer",
        unit="decades per layer",
        seeds=seeds,
    )


def _bounded(runs: Sequence[dict[str, np.ndarray]]) -> Verdict:
    """The mean square of tanh, from that of the layer after it, over its factor."""
    factors = np.repeat(TANH_FACTORS, len(runs) // len(TANH_FACTORS))
    largest = [run["signal"][1:].max() / s for run, s in zip(runs, factors, strict=True)]
    return every(
        largest,
        below=1.0,
        statement="tanh: the signal's mean square stays below 1 in every layer, at every s",
    )


def _power(of_tanh: dict[float, Runs], seeds: Sequence[int]) -> Verdict:
    large = [s for s in of_tanh if s >= POWER_FROM]
    rates = [_tanh_rates(of_tanh[s]) for s in large]
    return within(
        slope(np.repeat(np.log10(large), len(seeds)), np.concatenate(rates)),
        0.45,
        0.55,
        statement="tanh: the gradient's factor per layer grows as sqrt(s)",
        unit="exponent",
        seeds=seeds,
    )


def _not_centred(he: Runs, seeds: Sequence[int]) -> Verdict:
    expected = mean(activation("relu"), 1.0)  # 1 / sqrt(2 pi)
    return agrees(
        he["centre"],
        np.full(len(seeds), expected),
        tolerance=0.02,
        statement=(
            "reported: He's rule keeps the second moment of a ReLU net, not a mean of zero, which "
            "is 0.399 deviations of the pre-activations"
        ),
        unit="deviations",
        seeds=seeds,
    )


def _no_explosion(of_tanh: dict[float, Runs], seeds: Sequence[int]) -> Verdict:
    """Forward the signal rests at the fixed point, at the largest s."""
    factor = max(of_tanh)
    phi = activation("tanh")
    expected = factor * second_moment(phi, fixed_point(phi, factor, 0.0))
    return agrees(
        of_tanh[factor]["signal"][:, -1],
        np.full(len(seeds), math.log10(expected)),
        tolerance=0.02,
        statement=(
            "'large weights make the signal explode' is wrong for tanh: at "
            f"s = {factor:g} it rests where theory says"
        ),
        unit="decades",
        seeds=seeds,
    )


def _chart(title: str, of: dict[float, Runs], what: str) -> Chart:
    lines = []
    for factor, runs in of.items():
        backward = what == "gradient"
        decades = runs[what] - runs[what][:, -1:] if backward else runs[what] - runs[what][:, :1]
        layers, error = np.arange(1, decades.shape[1] + 1), decades.std(0, ddof=1)
        lines.append(
            Line(
                label=f"s = {factor:g}",
                x=layers,
                y=decades.mean(0),
                error=error / math.sqrt(len(decades)),
            )
        )
        if backward:
            theory = math.log10(_theory(factor)) * (layers[-1] - layers)
        elif title.startswith("ReLU"):
            theory = math.log10(factor / 2) * (layers - 1)
        else:
            continue
        lines.append(Line(label=f"s = {factor:g}, theory", x=layers, y=theory, theory=True))
    end = "last" if what == "gradient" else "first"
    return Chart(
        title=f"{title}, against the {end} layer",
        x_label="layer",
        y_label="decades",
        lines=tuple(lines),
    )
