"""Is a product right? Symmetric, and equal to the finite difference of the gradient.

Asked on a few samples, in double precision on a copy of the model: there a step can be so short
that it crosses no kink of a rectifier, and formulas are what is in question, not rounding.
"""

from __future__ import annotations

import dataclasses

import torch

from sounding.curvature.products import (
    SINGLE_STEPS,
    STEPS,
    Product,
    difference,
    differenced,
    double,
    forward,
    gradient,
    value,
)
from sounding.curvature.setting import SLICE, Subject, sliced, widened
from sounding.objective import Batch
from sounding.vectors import normal

AGREE = 1e-4  # relative: a thousand times the error of differences, far below a wrong formula's
AGREE_SINGLE = 5e-2  # where differences have to be taken in single precision
SYMMETRIC = 1e-3
LOSS_STEP = 100  # times the gradient's: a loss has no jumps, so its differences may be longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What came out for one method."""

    method: str
    outcome: str  # 'right', 'wrong', 'error', 'undecided'
    deviation: float  # relative, of products from finite differences
    asymmetry: float  # |u'Hv - v'Hu| / mean of ||Hu||, ||Hv||, for standard normal u, v
    words: str = ""  # of the error that was raised


def small(subject: Subject, batch: Batch) -> tuple[Subject, Batch]:
    """A copy in double precision with few samples; the subject itself where it cannot be copied."""
    few = sliced(batch, 0, SLICE)
    for candidate in (few, batch):
        if candidate is None:
            continue
        try:
            wide, converted = subject.wide(), widened(candidate)
            with wide.prepared():
                wide.loss(converted)
        except Exception:  # a foreign model's own objections
            continue
        return wide, converted
    return subject, batch


def verify(subject: Subject, batch: Batch, method: str, *, seed: int = 0) -> Verification:
    """Try `method` on two random vectors; `subject` and `batch` as :func:`small` gives them.

    Each vector's product is compared with differences at a step of its own; where they disagree,
    with the other step too. Costs two products and four gradients of few samples.
    """
    wide = subject.dtype == torch.float64
    steps, agree = (STEPS, AGREE) if wide else (SINGLE_STEPS, AGREE_SINGLE)
    vectors = normal(2, subject.layout.size, seed=seed, dtype=subject.dtype, device=subject.device)
    try:
        if method == "difference" and not _of_the_loss(subject, batch, vectors[0], steps, agree):
            return _failed(method, "the gradient is not that of the loss")
        found = _product(subject, batch, method)(vectors)
        pairs = list(zip(vectors, found, steps, steps[::-1], strict=True))
        deviations = [
            _deviation(subject, product, differenced(subject, batch, vector, step))
            for vector, product, step, _ in pairs
        ]
        scatter = 0.0
        for i, (vector, product, step, other) in enumerate(pairs):
            if deviations[i] > agree:
                one, two = (differenced(subject, batch, vector, s) for s in (step, other))
                scatter = max(scatter, _deviation(subject, one, two))
                deviations[i] = min(deviations[i], _deviation(subject, product, two))
    except Exception as error:
        return _failed(method, str(error).strip().split("\n")[0])
    return _judged(method, vectors, found, max(deviations), scatter, agree)


def _failed(method: str, words: str) -> Verification:
    nan = float("nan")
    return Verification(method=method, outcome="error", deviation=nan, asymmetry=nan, words=words)


def _of_the_loss(
    subject: Subject, batch: Batch, vector: torch.Tensor, steps: tuple[float, ...], agree: float
) -> bool:
    """Whether the gradient along `vector` is the loss's slope; detached values make it another."""
    slope = float(differenced(subject, batch, vector, steps[0] * LOSS_STEP, value))
    there = gradient(subject, batch)
    return abs(slope - float(there @ vector)) <= 10 * agree * float(there.norm())


def _product(subject: Subject, batch: Batch, method: str) -> Product:
    """As in the operator, but for the graph, which is not worth keeping here."""
    makers = {"forward": forward, "difference": difference}
    return makers.get(method, double)(subject, batch)


def _judged(
    method: str,
    vectors: torch.Tensor,
    found: torch.Tensor,
    deviation: float,
    scatter: float,
    agree: float,
) -> Verification:
    """`scatter` is the deviation of the two differences from one another."""
    size = float(found.norm(dim=1).mean())
    asymmetry = float((vectors[0] @ found[1] - vectors[1] @ found[0]).abs()) / size if size else 0.0
    symmetric = asymmetry <= max(SYMMETRIC, agree)
    outcome = "wrong"
    if bool(torch.isfinite(found).all()) and symmetric:
        if deviation <= agree:
            outcome = "right"
        elif scatter > agree and method != "difference":
            outcome = "undecided"  # kinks, or rounding: the differences themselves disagree
    return Verification(method=method, outcome=outcome, deviation=deviation, asymmetry=asymmetry)


def _deviation(subject: Subject, found: torch.Tensor, other: torch.Tensor) -> float:
    """The largest relative deviation of any parameter's part, small parts against the whole."""
    whole = float(other.norm())
    if not whole:
        return float(found.norm())
    parts = zip(subject.layout.split(found - other), subject.layout.split(other), strict=True)
    return max(float(d.norm()) / max(float(o.norm()), 1e-2 * whole) for d, o in parts)
