"""Products over parameters that FSDP2 keeps sharded: central differences of the gradient.

For models whose parameters do not fit on a device whole. Double backward does not pass through
FSDP2 (what arrives in the shards has no graph), but a plain backward pass does. All ranks make the
same passes, those with fewer batches some without weight.

Letters: k vectors; w numbers of each on this rank.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from sounding.curvature.check import AGREE, AGREE_SINGLE
from sounding.curvature.pieces import Piece
from sounding.curvature.products import SINGLE_STEPS, STEPS, Product, differenced
from sounding.curvature.setting import Subject
from sounding.curvature.shards import Shards
from sounding.curvature.weighted import height, slope
from sounding.vectors import local

LADDER = (1e-4, 3e-4, 1e-3, 3e-3)  # single precision: sharp minima need the short ones
UNCHECKED = {torch.float64: STEPS[0], torch.float32: SINGLE_STEPS[0]}
SLOPE_STEPS, SINGLE_SLOPE_STEPS = (1e-6, 1e-5), (1e-3, 1e-2)  # longer: a loss has no jumps
SLOPE = 0.05  # relative: a wrong factor or a lost term is farther off
FAINT = 100  # times rounding: smaller changes of a loss say nothing


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """What differences of two gradients are worth here."""

    step: float  # ||step|| / ||parameters||
    error: float  # relative, of a product


def over_shards(subject: Subject, parts: list[Piece], step: float) -> Product:
    """(k, w) -> (k, w): two gradients of the whole loss a vector.

    It raises a ValueError once the parameters have changed.
    """
    before = subject.versions()

    def product(block: torch.Tensor) -> torch.Tensor:
        if subject.versions() != before:
            raise ValueError(
                "the model's parameters have changed since this operator was made; make a new one"
            )
        rows = [differenced(subject, parts, vector, step, slope) for vector in block]
        return torch.stack(rows).to(block.dtype)

    return product


def accuracy(subject: Subject, parts: list[Piece], start: torch.Tensor) -> Accuracy:
    """Which step suits this model best, and the error that is left.

    From the products with `start`, (w,) random, and with what comes out (which leans towards the
    sharpest directions), at each step: by how much those at neighbouring steps disagree, and by how
    much they are not symmetric. The same on all ranks.

    Raises:
        ValueError: If no step gives products that agree.
    """
    wide = subject.dtype == torch.float64
    steps, agree = (STEPS, AGREE) if wide else (LADDER, AGREE_SINGLE)
    v = start / subject.norm(start)
    along_v = [differenced(subject, parts, v, step, slope) for step in steps]
    length = subject.norm(along_v[0])
    if not length:
        return Accuracy(steps[0], 0.0)
    u = along_v[0] / length
    along_u = [differenced(subject, parts, u, step, slope) for step in steps]
    found = []
    for i, step in enumerate(steps[:-1]):
        asymmetry = _dot(subject, u, along_v[i]) / _dot(subject, v, along_u[i]) - 1
        errors = [_apart(subject, rows[i], rows[i + 1]) for rows in (along_v, along_u)]
        found.append((max(abs(asymmetry), *errors), step))
    error, step = min(found, key=lambda each: each[0] if math.isfinite(each[0]) else math.inf)
    if not error <= agree:
        raise ValueError(
            f"differences of the gradient at neighbouring steps disagree by {error:.1g}: the loss "
            "is not smooth enough for its precision (rectifiers, reduced precision in "
            "MixedPrecisionPolicy). Allow the memory for exact products (memory=...), or use a "
            "model in double precision; check=False takes the differences as they are"
        )
    return Accuracy(step, error)


def check_gradient(subject: Subject, parts: list[Piece]) -> None:
    """The gradient is the slope of the loss along itself.

    Raises:
        ValueError: If it is not.
    """
    wide = subject.dtype == torch.float64
    along, here = slope(subject, parts), abs(float(height(subject, parts)))
    length = float(subject.norm(along))
    size = float(subject.norm(*(local(p).detach() for p in subject.parameters)))
    ratios = [
        float(differenced(subject, parts, along, step, height)) / length**2
        for step in (SLOPE_STEPS if wide else SINGLE_SLOPE_STEPS)
        if step * size * length > FAINT * torch.finfo(subject.dtype).eps * here
    ]
    if ratios and not min(abs(ratio - 1) for ratio in ratios) <= SLOPE:
        raise ValueError(
            f"the loss's slope along the gradient is {ratios[0]:.3g} of what the gradient says; "
            "take out set_gradient_divide_factor, reduced precision (MixedPrecisionPolicy), "
            "detached values and hooks on gradients, or pass check=False to trust it"
        )


def _apart(subject: Subject, one: torch.Tensor, other: torch.Tensor) -> float:
    return float(subject.norm(one - other) / subject.norm(one))


def _dot(subject: Subject, one: torch.Tensor, other: torch.Tensor) -> float:
    return float(_shards(subject).parts.add((one @ other)[None]))


def _shards(subject: Subject) -> Shards:
    assert subject.shards is not None
    return subject.shards
