"""Is a product right? Symmetric, and equal to the finite difference of the gradient.

Asked on a few samples, in double precision on a copy of the model: there a step can be so short
that it crosses no kink of a rectifier, and formulas are what is in question, not rounding. The
gradient itself must be the slope of the loss: a detached value makes it another function's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from sounding.curvature.products import (
    METHODS,
    SINGLE_STEPS,
    STEPS,
    Product,
    difference,
    differenced,
    forward,
    gradient,
    kept,
    moved,
    value,
)
from sounding.curvature.ranks import Ranks
from sounding.curvature.setting import SLICE, Subject, sliced, widened
from sounding.objective import Batch
from sounding.vectors import normal

AGREE = 1e-4  # relative: a thousand times the error of differences, far below a wrong formula's
AGREE_SINGLE = 5e-2  # where differences have to be taken in single precision
SYMMETRIC = 1e-5  # in double precision; right products were within 1e-7 of it
LOSS_STEP = 100  # times the gradient's: a loss has no jumps, so its differences may be longer
LONGER_STEPS = (1e-6, 1e-5)  # where rounding outweighs a step of 1e-8: large or trained nets
BESIDE = 1e-3  # of the parameters' length: to where a kink is left behind


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


def agreed(
    ranks: Ranks, verified: Callable[[str | None], Verification], method: str | None
) -> Verification:
    """The first method that is right on every rank; undecided if it is on any.

    `verified` tries one method, or all of them for None, and raises where none is right.
    """
    with ranks.together():
        found = verified(method)
    methods = ranks.gathered(found.method)
    last = max(methods, key=list(METHODS).index)
    if any(other != last for other in methods):
        with ranks.together():
            found = found if found.method == last else verified(last)
    undecided = "undecided" in ranks.gathered(found.outcome)
    return dataclasses.replace(found, outcome="undecided" if undecided else found.outcome)


def verify(subject: Subject, batch: Batch, method: str, *, seed: int = 0) -> Verification:
    """Try `method` on two random vectors; `subject` and `batch` as :func:`small` gives them.

    Each vector's product is compared with differences at a step of its own; where they disagree,
    with the other step too. Where the differences disagree with one another, longer steps follow
    (rounding, or something inside is in single precision), then a point close by (a kink right
    here). Costs two products and five gradients of few samples.
    """
    if subject.dtype != torch.float64:
        return _tried(subject, batch, method, SINGLE_STEPS, AGREE_SINGLE, seed)
    found = _tried(subject, batch, method, STEPS, AGREE, seed)
    if found.outcome != "undecided":
        return found
    for steps, agree in ((LONGER_STEPS, AGREE), (SINGLE_STEPS, AGREE_SINGLE)):
        longer = _tried(subject, batch, method, steps, agree, seed)
        if longer.outcome != "undecided":
            return longer
    away = _random(subject, 1, seed + 1)[0]
    with moved(subject.parameters, subject.layout.split(away), _step(subject, away, BESIDE)):
        beside = _tried(subject, batch, method, STEPS, AGREE, seed)
    return beside if beside.outcome == "wrong" else found


def _tried(
    subject: Subject,
    batch: Batch,
    method: str,
    steps: tuple[float, float],
    agree: float,
    seed: int,
) -> Verification:
    vectors = _random(subject, 2, seed)
    try:
        slope, unsure = _slope(subject, batch, vectors[0], steps[0], agree)
        if slope > agree and unsure <= agree:
            return _failed(method, "the gradient is not that of the loss")
        product = _product(subject, batch, method)
        found = torch.cat([product(vector[None]) for vector in vectors])
        pairs = list(zip(vectors, found, steps, steps[::-1], strict=True))
        deviations = [
            _deviation(subject, product, differenced(subject, batch, vector, step))
            for vector, product, step, _ in pairs
        ]
        scatter = unsure if slope > agree else 0.0
        for i, (vector, product, step, other) in enumerate(pairs):
            if deviations[i] > agree:
                one, two = (differenced(subject, batch, vector, s) for s in (step, other))
                scatter = max(scatter, _deviation(subject, one, two))
                deviations[i] = min(deviations[i], _deviation(subject, product, two))
    except Exception as error:
        return _failed(method, str(error).strip().split("\n")[0])
    return _judged(method, vectors, found, max(deviations), scatter, agree)


def _random(subject: Subject, count: int, seed: int) -> torch.Tensor:
    size = subject.layout.size
    return normal(count, size, seed=seed, dtype=subject.dtype, device=subject.device)


def _step(subject: Subject, vector: torch.Tensor, share: float) -> float:
    """The multiple of `vector` whose length is this share of the parameters'."""
    size = torch.stack([p.detach().norm() for p in subject.parameters]).norm().clamp(min=1e-3)
    return float(share * size / vector.norm())


def _failed(method: str, words: str) -> Verification:
    nan = float("nan")
    return Verification(method=method, outcome="error", deviation=nan, asymmetry=nan, words=words)


def _slope(
    subject: Subject, batch: Batch, vector: torch.Tensor, step: float, agree: float
) -> tuple[float, float]:
    """Relative deviation of the gradient along `vector` from the loss's slope, and how sure it is.

    The second number is by how much the slopes ahead and behind differ: a kink, or rounding.
    """
    h = _step(subject, vector, step if agree == AGREE_SINGLE else LOSS_STEP * step)
    parts = subject.layout.split(vector)
    here, slopes = value(subject, batch), []
    for by in (h, -h):
        with moved(subject.parameters, parts, by):
            slopes.append(float((value(subject, batch) - here) / by))
    there = gradient(subject, batch)
    scale = float(there.norm()) or 1.0
    return abs(sum(slopes) / 2 - float(there @ vector)) / scale, abs(slopes[0] - slopes[1]) / scale


def _product(subject: Subject, batch: Batch, method: str) -> Product:
    if method in ("kept", "double"):  # the same graph
        return kept(subject, batch)[0]
    return {"forward": forward, "difference": difference}[method](subject, batch)


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
    outcome = "wrong"
    if scatter > agree:
        outcome = "undecided"  # kinks, or rounding: the differences themselves disagree
    elif bool(torch.isfinite(found).all()) and deviation <= agree:
        outcome = "right" if asymmetry <= max(SYMMETRIC, agree / 10) else "wrong"
    return Verification(method=method, outcome=outcome, deviation=deviation, asymmetry=asymmetry)


def _deviation(subject: Subject, found: torch.Tensor, other: torch.Tensor) -> float:
    """The largest relative deviation of any parameter's part, small parts against the whole."""
    whole = float(other.norm())
    if not whole:
        return float(found.norm())
    parts = zip(subject.layout.split(found - other), subject.layout.split(other), strict=True)
    return max(float(d.norm()) / max(float(o.norm()), 1e-2 * whole) for d, o in parts)
