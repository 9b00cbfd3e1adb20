"""The gradient of a layer as a product of matrices, and two ways in which it is written wrong.

h_0 = x, z_k = W_k h_{k-1}, h_k = phi(z_k), A_k = diag(phi'(z_k)), f = W_{H+1} h_H, one output:

    df/dW_n = (W_{H+1} A_H W_H ... W_{n+1} A_n)^T h_{n-1}^T.

Letters: H hidden layers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.theory import Activation, activation
from sounding.verdict import Verdict, every, overall

HOMOGENEOUS = ("identity", "relu", "leaky_relu")  # phi(a z) = a phi(z) for a > 0
OTHERS = ("tanh", "sigmoid")
FUNCTIONS = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
EXACT, WRONG = 1e-12, 0.01  # relative errors
SEEDS = (0, 1, 2)

STATEMENT = (
    "The gradient of a layer's weights is the product of all later weights and slopes, "
    "transposed, times the layer's input, transposed; that input is itself a product of slopes "
    "and weights only for activations with phi(az) = a phi(z)"
)
CRITERION = (
    f"float64, five activations, random nets: relative error against autograd below {EXACT:g} in "
    "every layer; with the input written as A W ... A W x below that for identity, ReLU and leaky "
    f"ReLU, and above {WRONG:g} in every layer from the second on for tanh and sigmoid; with the "
    f"slope taken of the weights instead of the pre-activation above {WRONG:g} in every layer for "
    "tanh and sigmoid"
)


def quick(lab: Lab, *, hidden: int = 5, width: int = 40, seeds: Sequence[int] = SEEDS) -> Measured:
    """Every activation on every seed."""
    names = [*HOMOGENEOUS, *OTHERS]
    settings = grid(seeds, phi=names, hidden=[hidden], width=[width])
    runs = lab.map(layer_errors, settings)
    errors = {
        name: {
            form: np.array(
                [run[form] for s, run in zip(settings, runs, strict=True) if s["phi"] == name]
            )
            for form in runs[0]
        }
        for name in names
    }
    right = _every("the product equals autograd's gradient, with every activation",
                   [errors[name]["right"] for name in names], below=EXACT)  # fmt: skip
    parts = [
        right,
        _every("the input is A W ... A W x with identity, ReLU and leaky ReLU",
               [errors[name]["input as a product"] for name in HOMOGENEOUS], below=EXACT),
        _every("with tanh and sigmoid that product is wrong, from the second layer on",
               [errors[name]["input as a product"][:, 1:] for name in OTHERS], above=WRONG),
        _every("diag(phi'(W_n) h) in place of diag(phi'(W_n h)) is wrong with tanh and sigmoid",
               [errors[name]["slope of the weights"] for name in OTHERS], above=WRONG),
    ]  # fmt: skip
    verdict = overall(right, parts, statement=STATEMENT, criterion=CRITERION)
    return (verdict, *parts), [_chart(errors)]


CLAIM = Claim(
    name="jacobian-product",
    topic="gradients through depth",
    claim=STATEMENT,
    source="the chain rule; the wrong forms are ones that circulate in lectures",
    criterion=CRITERION,
    quick=quick,
    full=functools.partial(quick, hidden=20, width=200, seeds=tuple(range(10))),
    how=(
        "Random fully connected nets with one output, Gaussian weights of the variance that keeps "
        "the signal, one Gaussian input. The gradient of every layer's weights is computed by "
        "autograd and by each formula; the error is the norm of the difference over the norm of "
        "the gradient."
    ),
    depends=(
        "Without the transposition of the second factor the product is not even defined. That the "
        "input of a layer is A W ... A W x is true of ReLU, leaky ReLU and linear nets, where "
        "phi(z) = phi'(z) z, and is often written down for all. With the slope taken of the "
        "weights the formula fails; for linear nets, whose slope is 1, it would read W_n's sums."
    ),
)


def layer_errors(phi: str, hidden: int, width: int, seed: int) -> dict[str, np.ndarray]:
    """Relative errors of three formulas for df/dW_n, by name: (H + 1,), against autograd."""
    known = activation("leaky_relu", slope=0.1) if phi == "leaky_relu" else activation(phi)
    weights, x = _net(known, hidden, width, seed)
    inputs, slopes, wrong_slopes = [x], [], []
    for weight in weights[:-1]:
        z = weight @ inputs[-1]
        slopes.append(known.derivative(z))
        wrong_slopes.append(known.derivative(weight) @ inputs[-1])
        inputs.append(known.function(z))
    chained = [x]  # A_n W_n ... A_1 W_1 x
    for weight, slope in zip(weights, slopes, strict=False):
        chained.append(slope * (weight @ chained[-1]))
    exact = _autograd(phi, weights, x)
    return {
        "right": _errors(exact, weights, slopes, inputs),
        "input as a product": _errors(exact, weights, slopes, chained),
        "slope of the weights": _errors(exact, weights, wrong_slopes, inputs)[:-1],
    }


def _net(
    phi: Activation, hidden: int, width: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights of all layers but for one output at the end, and an input."""
    rng = np.random.default_rng(seed)
    shapes = [(width, width)] * hidden + [(1, width)]
    gain = 1 / np.sqrt((phi.function(rng.standard_normal(10_000)) ** 2).mean())
    weights = [rng.standard_normal(shape) * gain / np.sqrt(width) for shape in shapes]
    return weights, rng.standard_normal(width)


def _autograd(phi: str, weights: Sequence[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    tensors = [torch.tensor(weight, requires_grad=True) for weight in weights]
    hidden = torch.tensor(x)
    for weight in tensors[:-1]:
        hidden = FUNCTIONS[phi](weight @ hidden)
    return [g.numpy() for g in torch.autograd.grad((tensors[-1] @ hidden).sum(), tensors)]


def _errors(
    exact: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    slopes: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray],
) -> np.ndarray:
    """(H + 1,) relative errors of (W_{H+1} A_H ... W_{n+1} A_n)^T inputs_n^T, n from 1 to H + 1."""
    later, errors = np.ones(1), []
    for n in reversed(range(len(weights))):
        gradient = np.outer(later, inputs[n])
        errors.append(np.linalg.norm(gradient - exact[n]) / np.linalg.norm(exact[n]))
        if n:
            later = (later @ weights[n]) * slopes[n - 1]
    return np.array(errors[::-1])


def _every(
    statement: str,
    errors: Sequence[np.ndarray],
    above: float | None = None,
    below: float | None = None,
) -> Verdict:
    values = np.concatenate([one.ravel() for one in errors])
    return every(values, statement=statement, above=above, below=below)


def _chart(errors: dict[str, dict[str, np.ndarray]]) -> Chart:
    lines = []
    for name in ("relu", "tanh", "sigmoid"):
        for form in ("right", "input as a product"):
            mean = errors[name][form].mean(0)
            label = f"{name}, {form if form != 'right' else 'layer input'}"
            lines.append(Line(label=label, x=np.arange(1, len(mean) + 1), y=mean + 1e-17))
    return Chart(
        title="Gradient of a layer: two formulas against autograd",
        x_label="layer",
        y_label="relative error",
        lines=tuple(lines),
        log_y=True,
    )
