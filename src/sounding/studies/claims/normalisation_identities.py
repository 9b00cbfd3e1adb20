"""Layer, weight, instance, group and RMS normalisation: what they are invariant to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured
from sounding.verdict import every, overall

SEEDS = (0, 1, 2, 3, 4)
EPS = 1e-30  # next to nothing: with the usual 1e-5 invariance to scale holds only nearly
IDENTITY, BROKEN = 1e-10, 1e-2
SHAPE = (6, 8, 5, 5)  # samples, channels, height, width
SCALES = tuple(np.geomspace(0.01, 100, 9))

IDENTITIES = {
    "one group": "group normalisation with one group is layer normalisation over (C, H, W)",
    "a group a channel": "with as many groups as channels it is instance normalisation",
    "one image": "batch normalisation of one image is instance normalisation",
    "layer norm": "layer normalisation of a sample does not depend on the rest of the batch",
    "group norm": "neither does group normalisation",
    "RMS norm": "RMS normalisation is layer normalisation for features of mean zero",
    "whole matrix": "layer normalisation: scaling the whole weight matrix changes nothing",
    "all rows": "layer normalisation: one vector added to all rows of it changes nothing",
    "batch norm, row": "batch normalisation: scaling one row of it changes nothing",
    "weight norm, length": "weight normalisation: dL/dg = dL/dw . v/|v|",
    "weight norm, direction": "dL/dv = g/|v| (dL/dw - (dL/dw . v) v/|v|^2)",
    "weight norm, orthogonal": "dL/dv is orthogonal to v",
    "radial": "the gradient of a normalised layer's weights is orthogonal to them",
    "scaling": "weights c times as large have a c-th of the gradient",
}
BREAKS = {
    "layer norm, row": "layer normalisation is not invariant to the scale of one row",
    "RMS norm, rows": "RMS normalisation is not invariant to a vector added to all rows",
    "batch norm": "batch normalisation of a sample depends on the rest of the batch",
}

STATEMENT = (
    "Layer, instance, group, RMS and weight normalisation are the maps that their papers say, with "
    "the invariances that they say: layer normalisation to the whole weight matrix, not to a row"
)
QUICK = (
    f"Random inputs and weights, 5 seeds, double precision: fourteen identities to {IDENTITY:g}, "
    f"and three invariances that must not hold are broken by more than {BROKEN:g}"
)


def quick(lab: Lab, *, seeds: Sequence[int] = SEEDS) -> Measured:
    """Every identity on every seed."""
    lab.plan(2 * len(seeds))
    runs = lab.map(errors, grid(seeds))
    parts = [
        every([run[key] for run in runs], below=IDENTITY, statement=text, seeds=seeds)
        for key, text in IDENTITIES.items()
    ]
    parts += [
        every([run[key] for run in runs], above=BROKEN, statement=text, seeds=seeds)
        for key, text in BREAKS.items()
    ]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts), [_chart(lab.map(changes, grid(seeds)))]


def full(lab: Lab, *, seeds: Sequence[int] = tuple(range(100))) -> Measured:
    """More seeds; on the CPU as well."""
    return quick(lab, seeds=seeds)


CLAIM = Claim(
    name="normalisation-identities",
    topic="normalisation",
    claim=STATEMENT,
    source=(
        "Ba, Kiros, Hinton, 'Layer Normalization', 2016, section 5; Salimans, Kingma, 'Weight "
        "Normalization', NIPS 2016, section 2.1; Ulyanov, Vedaldi, Lempitsky, 'Instance "
        "Normalization', 2016; Wu, He, 'Group Normalization', ECCV 2018; Zhang, Sennrich, 'Root "
        "Mean Square Layer Normalization', NeurIPS 2019"
    ),
    link="https://arxiv.org/abs/1607.06450",
    criterion=QUICK,
    full_criterion=QUICK.replace("5 seeds", "100 seeds"),
    quick=quick,
    full=full,
    how=(
        "Two sides of each identity are computed from the same random inputs and weights: by "
        "PyTorch's layers on the one side, by the definition or by automatic differentiation on "
        "the other. The number is the largest difference, in parts of the largest entry."
    ),
    depends=(
        "The eps in the denominator breaks the invariance to scale: it is made negligible here, "
        "and matters in practice for small weights. Layer normalisation is invariant to the scale "
        "of the whole matrix, not of one unit's weights, as batch and weight normalisation are."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def errors(seed: int) -> dict[str, float]:
    """The largest difference of the two sides of every identity, and of every broken one."""
    draw = torch.Generator().manual_seed(seed)
    return {**_of_images(draw), **_of_layers(draw), **_of_weights(draw), **_of_gradients(draw)}


def _of_images(draw: torch.Generator) -> dict[str, float]:
    x = 3 * _normal(draw, *SHAPE) + 1
    alone = x[:1]
    by_image, by_sample = _standardised(x, (2, 3)), _standardised(x, (1, 2, 3))
    batch = functional.batch_norm(x, None, None, training=True, eps=EPS)
    batch_of_one = functional.batch_norm(alone, None, None, training=True, eps=EPS)
    one_group = functional.group_norm(x, 1, eps=EPS)
    layer = functional.layer_norm(x, SHAPE[1:], eps=EPS)
    instance = functional.instance_norm(x, eps=EPS)
    return {
        "one group": max(_difference(one_group, layer), _difference(layer, by_sample)),
        "a group a channel": max(
            _difference(functional.group_norm(x, SHAPE[1], eps=EPS), instance),
            _difference(instance, by_image),
        ),
        "one image": _difference(batch_of_one, by_image[:1]),
        "group norm": _difference(one_group[:1], _standardised(alone, (1, 2, 3))),
        "batch norm": _difference(batch[:1], batch_of_one),
    }


def _of_layers(draw: torch.Generator) -> dict[str, float]:
    """Norms behind a linear layer z = x W^T, when W changes."""
    x, w, added = _normal(draw, 6, 10), _normal(draw, 8, 10), _normal(draw, 10)
    row = torch.ones(8, 1, dtype=torch.float64)
    row[3] = 5.0
    z = x @ w.T
    centred = z - z.mean(1, keepdim=True)
    return {
        "layer norm": _difference(_layer_norm(z)[:1], _standardised(z[:1], (1,))),
        "RMS norm": _difference(_rms_norm(centred), _layer_norm(z)),
        "whole matrix": _difference(_layer_norm(x @ (5 * w).T), _layer_norm(z)),
        "all rows": _difference(_layer_norm(x @ (w + added).T), _layer_norm(z)),
        "layer norm, row": _difference(_layer_norm(x @ (row * w).T), _layer_norm(z)),
        "RMS norm, rows": _difference(_rms_norm(x @ (w + added).T), _rms_norm(z)),
        "batch norm, row": _difference(_batch_norm(x @ (row * w).T), _batch_norm(z)),
    }


def _of_weights(draw: torch.Generator) -> dict[str, float]:
    """PyTorch's weight normalisation against the paper's formulas, a unit a row."""
    layer = nn.Linear(10, 8, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(_normal(draw, 8, 10))
    normed = nn.utils.parametrizations.weight_norm(layer)
    parameters = dict(normed.named_parameters())
    g = parameters["parametrizations.weight.original0"]
    v = parameters["parametrizations.weight.original1"]
    with torch.no_grad():
        g.copy_(_normal(draw, 8, 1))
    x, target = _normal(draw, 6, 10), _normal(draw, 6, 8)
    w = normed.weight
    assert isinstance(w, torch.Tensor)
    loss = (functional.linear(x, w) - target).square().sum()
    of_w, of_g, of_v = torch.autograd.grad(loss, [w, g, v])
    with torch.no_grad():
        length = v.norm(dim=1, keepdim=True)
        along = (of_w * v).sum(1, keepdim=True)
        cosine = functional.cosine_similarity(of_v, v).abs().max()
        return {
            "weight norm, length": _difference(of_g, along / length),
            "weight norm, direction": _difference(
                of_v, g / length * (of_w - along * v / length**2)
            ),
            "weight norm, orthogonal": float(cosine),
        }


def _of_gradients(draw: torch.Generator) -> dict[str, float]:
    """The gradient of a loss with respect to the weights before each norm."""
    x, w, target = _normal(draw, 6, 10), _normal(draw, 8, 10), _normal(draw, 6, 8)
    radial, scaling = [], []
    for norm in (_batch_norm, _layer_norm, _rms_norm):
        once, thrice = (
            _weight_gradient(norm, w, x, target),
            _weight_gradient(norm, 3 * w, x, target),
        )
        radial.append(abs(float((once * w).sum() / (once.norm() * w.norm()))))
        scaling.append(_difference(3 * thrice, once))
    return {"radial": max(radial), "scaling": max(scaling)}


def changes(seed: int) -> dict[str, np.ndarray]:
    """By how much the output moves when one row of the weights is scaled: for the chart."""
    draw = torch.Generator().manual_seed(seed)
    x, w = _normal(draw, 256, 64), _normal(draw, 64, 64)
    found = {"layer norm": [], "RMS norm": [], "batch norm": []}
    for scale in SCALES:
        row = torch.ones(64, 1, dtype=torch.float64)
        row[3] = scale
        for name, norm in zip(found, (_layer_norm, _rms_norm, _batch_norm), strict=True):
            before, after = norm(x @ w.T), norm(x @ (row * w).T)
            found[name].append(float((after - before).square().mean().sqrt()))
    return {name: np.array(values) for name, values in found.items()}


# --- norms by their definitions -------------------------------------------------------------------


def _normal(draw: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _standardised(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    return (x - x.mean(dims, keepdim=True)) / x.std(dims, correction=0, keepdim=True)


def _layer_norm(z: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(z, z.shape[1:], eps=EPS)


def _rms_norm(z: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(z, z.shape[1:], eps=EPS)


def _batch_norm(z: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(z, None, None, training=True, eps=EPS)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


def _weight_gradient(
    norm: Callable[[torch.Tensor], torch.Tensor],
    w: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
) -> torch.Tensor:
    weights = w.clone().requires_grad_()
    loss = (norm(functional.linear(x, weights)).relu() - target).square().sum()
    return torch.autograd.grad(loss, weights)[0]


def _chart(runs: Sequence[dict[str, np.ndarray]]) -> Chart:
    return Chart(
        title="One of 64 units gets larger weights: how much the normalised layer changes",
        x_label="scale of that unit's weights",
        y_label="root mean square change of the output",
        lines=tuple(measured(name, SCALES, [run[name] for run in runs]) for name in runs[0]),
        log_x=True,
    )
