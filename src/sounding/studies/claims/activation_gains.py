"""Which gain keeps a signal, and which a gradient, through each activation.

For z ~ N(0, 1) the signal is kept by the gain 1 / sqrt(E phi(z)^2), the gradient by
1 / sqrt(E phi'(z)^2). Here both moments are sampled with torch's own functions and autograd; theory
is quadrature.

Letters: L layers, S seeds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.theory import (
    activation,
    backward_gain,
    forward_gain,
    length_map,
    maxout_moments,
)
from sounding.verdict import Verdict, agrees, every, overall

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": functools.partial(functional.leaky_relu, negative_slope=0.1),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}
HOMOGENEOUS = ("relu", "leaky_relu")
CONVENTIONS = ("sigmoid", "tanh", "selu")  # torch recommends a gain that is not of either kind
TOLERANCE, APART = 0.005, 0.01  # relative: of agreement with theory; of gains called different
SAMPLES, SEEDS, LAYERS = 1_000_000, (0, 1, 2, 3, 4), 12

STATEMENT = (
    "The gains 1/sqrt(E phi^2) and 1/sqrt(E phi'^2) keep signals and gradients; the two are the "
    "same for ReLU and leaky ReLU alone, and PyTorch's recommended gains of sigmoid, tanh and SELU "
    "are neither"
)
CRITERION = (
    f"{{samples:,}} samples and torch's autograd, {{seeds}} seeds: both gains within "
    f"{TOLERANCE:.1%} of theory for eight activations (t-interval); torch.nn.init.calculate_gain "
    "equal to both to 1e-12 for ReLU and leaky ReLU, and more than "
    f"{APART:.0%} from both for sigmoid, tanh and SELU; the two gains more than {APART:.0%} apart "
    "for all but ReLU and leaky ReLU; the larger of two normals has second moment 1 within "
    f"{TOLERANCE:.1%}: maxout of two needs no gain"
)


def quick(
    lab: Lab,
    *,
    samples: int = SAMPLES,
    seeds: Sequence[int] = SEEDS,
    width: int = 512,
) -> Measured:
    """Gains of every activation, and tanh nets at three of them."""
    moments = grid(seeds, phi=list(FUNCTIONS), samples=[samples])
    nets = grid(seeds, gain=list(tanh_gains().values()), width=[width])
    lab.plan(len(moments) + len(seeds) + len(nets))
    runs = lab.map(sampled_gains, moments)
    by_phi = {
        phi: [run for s, run in zip(moments, runs, strict=True) if s["phi"] == phi]
        for phi in FUNCTIONS
    }
    maxout = lab.map(maxout_of_two, [{"samples": samples, "seed": seed} for seed in seeds])
    parts = [
        _agreement(by_phi, "forward", seeds),
        _agreement(by_phi, "backward", seeds),
        agrees(
            [run["second moment"] for run in maxout],
            np.full(len(seeds), maxout_moments(2)[1]),
            tolerance=TOLERANCE,
            statement="maxout of two needs no gain: its second moment is 1",
            unit="of the input's",
            seeds=seeds,
        ),
        *_conventions(),
    ]
    signals = np.array([run["mean squares"] for run in lab.map(tanh_signal, nets)])
    chart = _chart(signals.reshape(-1, len(seeds), LAYERS))
    criterion = CRITERION.format(samples=samples, seeds=len(seeds))
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=criterion)
    return (verdict, *parts), [chart]


CLAIM = Claim(
    name="activation-gains",
    topic="activations",
    claim=STATEMENT,
    source=(
        "He, Zhang, Ren, Sun, ICCV 2015, for ReLU; Klambauer, Unterthiner, Mayr, Hochreiter, "
        "'Self-Normalizing Neural Networks', NIPS 2017, for SELU; torch.nn.init.calculate_gain"
    ),
    criterion=CRITERION.format(samples=SAMPLES, seeds=len(SEEDS)),
    full_criterion=CRITERION.format(samples=10 * SAMPLES, seeds=20),
    quick=quick,
    full=functools.partial(quick, samples=10 * SAMPLES, seeds=tuple(range(20)), width=2048),
    how=(
        "Normal samples go through torch's activation and its autograd; the mean squares give both "
        "gains. Theory is Gaussian quadrature, piece by piece between the kinks. The figure shows "
        "random tanh nets at three gains."
    ),
    depends=(
        "The gain of a signal holds at unit size alone, except for ReLU and leaky ReLU: at another "
        "size the moments differ. PyTorch's 5/3 for tanh is an empirical number; it "
        "keeps neither a signal of size one nor its gradient. No gain keeps both in a tanh or GELU "
        "net."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def sampled_gains(phi: str, samples: int, seed: int) -> dict[str, float]:
    """Both gains, by torch's function and autograd on normal samples."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(samples, generator=generator, requires_grad=True)
    value = FUNCTIONS[phi](z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    moments = (value.detach().double().square().mean(), slope.double().square().mean())
    return dict(zip(("forward", "backward"), [float(m) ** -0.5 for m in moments], strict=True))


def maxout_of_two(samples: int, seed: int) -> dict[str, float]:
    """Second moment of the larger of two normals."""
    generator = torch.Generator().manual_seed(seed)
    largest = torch.randn(2, samples, generator=generator).amax(0)
    return {"second moment": float(largest.double().square().mean())}


def tanh_gains() -> dict[str, float]:
    """The gains of the figure, by what they are."""
    tanh = activation("tanh")
    return {
        "signal kept": forward_gain(tanh),
        "gradient kept": backward_gain(tanh),
        "PyTorch's 5/3": nn.init.calculate_gain("tanh"),
    }


def tanh_signal(gain: float, width: int, seed: int) -> dict[str, np.ndarray]:
    """(L,) Mean squares of a random tanh net's activations, the first pre-activation having 1."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(64, width, generator=generator).tanh()
    squares = [hidden.square().mean().item()]
    for _ in range(LAYERS - 1):
        weight = torch.randn(width, width, generator=generator) * gain / math.sqrt(width)
        hidden = (hidden @ weight.T).tanh()
        squares.append(hidden.square().mean().item())
    return {"mean squares": np.array(squares)}


# --- verdicts -------------------------------------------------------------------------------------


def _theory(phi: str, direction: str) -> float:
    known = activation(phi, slope=0.1) if phi == "leaky_relu" else activation(phi)
    return (forward_gain if direction == "forward" else backward_gain)(known)


def _agreement(by_phi: dict[str, list], direction: str, seeds: Sequence[int]) -> Verdict:
    """The activation that is furthest from theory, in its interval, stands for all."""
    kept = "signal" if direction == "forward" else "gradient"
    verdicts = [
        agrees(
            [run[direction] / _theory(phi, direction) for run in runs],
            np.ones(len(runs)),
            tolerance=TOLERANCE,
            statement=f"the gain of {phi} that keeps the {kept} is theory's",
            unit="of theory",
            seeds=seeds,
        )
        for phi, runs in by_phi.items()
    ]
    furthest = max(verdicts, key=lambda verdict: max(map(abs, verdict.interval)))
    return overall(
        furthest,
        verdicts,
        statement=f"the gain that keeps the {kept} is theory's, for eight activations",
        criterion=furthest.criterion + "; for all of them",
    )


def _conventions() -> list[Verdict]:
    """PyTorch's table beside both gains, and the two gains beside one another."""
    torchs = {
        phi: nn.init.calculate_gain(phi, 0.1 if phi == "leaky_relu" else None)
        for phi in (*HOMOGENEOUS, *CONVENTIONS)
    }

    def away(phi: str) -> list[float]:
        return [abs(torchs[phi] / _theory(phi, d) - 1) for d in ("forward", "backward")]

    others = [phi for phi in FUNCTIONS if phi not in HOMOGENEOUS]
    return [
        every(
            [gap for phi in HOMOGENEOUS for gap in away(phi)],
            below=1e-12,
            statement="PyTorch's gains of ReLU and leaky ReLU keep signal and gradient",
        ),
        every(
            [gap for phi in CONVENTIONS for gap in away(phi)],
            above=APART,
            statement="PyTorch's gains of sigmoid, tanh and SELU keep neither",
        ),
        every(
            [abs(_theory(phi, "forward") / _theory(phi, "backward") - 1) for phi in others],
            above=APART,
            statement="no gain keeps both signal and gradient of "
            + ", ".join(others[:-1])
            + f" or {others[-1]}",
        ),
    ]


def _chart(signals: np.ndarray) -> Chart:
    """`signals` (gains, S, L)."""
    tanh, layers = activation("tanh"), np.arange(1, LAYERS + 1)
    lines = []
    for (label, gain), runs in zip(tanh_gains().items(), signals, strict=True):
        q, theory = 1.0, []
        for _ in layers:
            theory.append(length_map(q, tanh, 1.0, 0.0))
            q = gain**2 * theory[-1]
        lines.append(measured(f"{label}: {gain:.4f}", layers, runs))
        lines.append(predicted(f"{label}: {gain:.4f}, theory", layers, theory))
    return Chart(
        title="A signal through tanh layers, at three gains",
        x_label="layer",
        y_label="mean square of the activations",
        lines=tuple(lines),
    )
