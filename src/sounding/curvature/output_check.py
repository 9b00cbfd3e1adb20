"""Is the derivative of the output right? J v equals finite differences, and J'u is its transpose.

Asked like :mod:`sounding.curvature.check`: on a few samples, in double precision on a copy.
"""

from __future__ import annotations

import dataclasses

import torch

from sounding.curvature.blame import culprits
from sounding.curvature.check import AGREE, AGREE_SINGLE, SYMMETRIC, Verification
from sounding.curvature.outputs import METHODS, linearised, output_value
from sounding.curvature.products import SINGLE_STEPS, STEPS, differenced, gradient, moved, value
from sounding.curvature.setting import Subject, without_hooks
from sounding.objective import Batch
from sounding.vectors import normal

ASIDE = 1e-3  # how far from a kink a formula is tried as well, as a share of the parameters' size
KINK = "the output has a kink right here (a rectifier at exactly zero); one of its slopes is taken"
LOSS_STEPS = (1e-6, 1e-3)  # ||step|| / ||output||; the second for a loss in single precision
SLOPE = 1e-3  # relative: rounding of that, and far below a wrong formula's deviation
FAINT = 1e-2  # a parameter whose share is below this of the largest is not magnified further


def verified_output(subject: Subject, batch: Batch, method: str | None) -> Verification:
    """The first method with a right J, in the order of their cost.

    `subject` and `batch` are a small copy.

    Raises:
        ValueError: If there is none; names the layer.
    """
    order = (method,) if method else ("kept", "forward", "difference")
    tried: list[Verification] = []
    for candidate in order:
        tried.append(verify_output(subject, batch, candidate))
        if tried[-1].outcome in ("right", "undecided"):
            return tried[-1]
    names = culprits(subject, batch, ("difference",))
    where = ", ".join(names) if names else "a function or hook between the modules"
    raise ValueError(
        f"no right derivative of the output in {where}: {'; '.join(map(_said, tried))}. Detached "
        "values, hooks on gradients and weights that a pass rewrites do this: take that out, call "
        "model.eval(), freeze its parameters, or leave them out with parameters=...; check=False "
        "trusts the backward pass"
    )


def check_gradient(behind: Subject, batch: Batch) -> None:
    """The gradient of a loss by its output is the loss's slope along a random direction.

    Raises:
        ValueError: If not: with detached values it is another.
    """
    vector = normal(1, behind.layout.size, seed=0, dtype=behind.dtype, device=behind.device)[0]
    there = gradient(behind, batch)
    off = [
        abs(float(differenced(behind, batch, vector, step, value)) - float(there @ vector))
        for step in LOSS_STEPS
    ]
    if min(off) > SLOPE * float(there.norm()):
        raise ValueError(
            "the gradient by the output is not that of the loss; take out .detach() and hooks on "
            "gradients, or pass check=False to trust it"
        )


def verify_output(subject: Subject, batch: Batch, method: str, *, seed: int = 0) -> Verification:
    """Try `method` on two random vectors.

    Where differences to the two sides disagree there is a kink, so beside it is asked as well; or
    something inside rounds to single precision, so longer steps are taken. Each vector's product is
    compared with the difference at a step of its own, and where they disagree with the other step
    too. Costs ten passes of few samples.
    """
    with without_hooks(subject.parameters):
        return _verify_output(subject, batch, method, seed)


def _verify_output(subject: Subject, batch: Batch, method: str, seed: int) -> Verification:
    if subject.dtype != torch.float64:
        return _verify(subject, batch, method, SINGLE_STEPS, AGREE_SINGLE, seed)
    here = _verify(subject, batch, method, STEPS, AGREE, seed)
    if here.outcome != "undecided":
        return here
    aside = normal(1, subject.layout.size, seed=seed, dtype=subject.dtype, device=subject.device)
    by = ASIDE * _size(subject) / float(aside.norm())
    with moved(subject.parameters, subject.layout.split(aside[0]), by):
        beside = _verify(subject, batch, method, STEPS, AGREE, seed)
    if beside.outcome == "right":
        return dataclasses.replace(beside, words=KINK)
    if beside.outcome == "undecided":
        return _verify(subject, batch, method, SINGLE_STEPS, AGREE_SINGLE, seed)
    return beside


def _verify(
    subject: Subject,
    batch: Batch,
    method: str,
    steps: tuple[float, ...],
    agree: float,
    seed: int,
) -> Verification:
    """The vectors are weighted so that each parameter moves the output by as much."""
    kind = {"dtype": subject.dtype, "device": subject.device}
    try:
        j = linearised(subject, batch, method)
        u = normal(2, j.output.numel(), seed=seed, **kind)
        pulled = torch.cat([j.pull(row[None]) for row in u])  # a block would be tried both ways
        v = normal(2, subject.layout.size, seed=seed + 1, **kind) * _weights(subject, pulled)
        pushed = torch.cat([j.push(row[None]) for row in v]).to(subject.dtype)
        deviations, kink = [], 0.0
        for vector, found, step, other in zip(v, pushed, steps, steps[::-1], strict=True):
            slope, bent = _slope(subject, batch, vector, step)
            deviations.append(_relative(found, slope))
            if deviations[-1] > agree:
                second, bent_too = _slope(subject, batch, vector, other)
                kink = max(kink, bent, bent_too, _relative(second, slope))
                deviations[-1] = min(deviations[-1], _relative(found, second))
    except Exception as error:
        nan, words = float("nan"), str(error).strip().split("\n")[0]
        return Verification(
            method=method, outcome="error", deviation=nan, asymmetry=nan, words=words
        )
    mismatch = (pushed @ u.T - v @ pulled.T).abs().max()  # of u_j'(J v_i) and (J'u_j)'v_i
    asymmetry = float(mismatch / pushed.norm(dim=1).mean()) if mismatch else 0.0
    return _judged(method, max(deviations), asymmetry, kink, agree, pushed)


def _judged(
    method: str,
    deviation: float,
    asymmetry: float,
    kink: float,
    agree: float,
    pushed: torch.Tensor,
) -> Verification:
    """`kink` is by how much differences to the two sides, or at the two steps, disagree."""
    outcome = "wrong"
    if bool(torch.isfinite(pushed).all()) and asymmetry <= max(SYMMETRIC, agree):
        if deviation <= agree:
            outcome = "right"
        elif kink > agree and method != "difference":
            outcome = "undecided"
    return Verification(method=method, outcome=outcome, deviation=deviation, asymmetry=asymmetry)


def _weights(subject: Subject, pulled: torch.Tensor) -> torch.Tensor:
    """(n,) one over the size of each parameter's part of J'u, which is that of its part of J."""
    sizes = torch.stack([part.norm() for part in subject.layout.split(pulled)])
    largest = sizes.max()
    if not largest:
        return torch.ones_like(pulled[0])
    each = (largest / sizes.clamp(min=FAINT * float(largest))).tolist()
    parts = [torch.full_like(p, w) for p, w in zip(subject.parameters, each, strict=True)]
    return subject.layout.join(parts)


def _slope(
    subject: Subject, batch: Batch, vector: torch.Tensor, step: float
) -> tuple[torch.Tensor, float]:
    """(m,) the central difference of the output, and by how much its two sides disagree.

    At a kink they do at every step, unlike those of a gradient, which jumps there.
    """
    h = step * _size(subject) / float(vector.norm())
    parts = subject.layout.split(vector)
    sides = []
    for by in (h, 0.0, -h):
        with moved(subject.parameters, parts, by):
            sides.append(output_value(subject, batch).reshape(-1))
    ahead, here, behind = sides
    return (ahead - behind) / (2 * h), 2 * _relative(ahead - here, here - behind)


def _size(subject: Subject) -> float:
    return max(float(torch.stack([p.detach().norm() for p in subject.parameters]).norm()), 1e-3)


def _relative(found: torch.Tensor, other: torch.Tensor) -> float:
    """||found - other|| / ||other||, or ||found|| where the other is zero."""
    return float((found - other).norm() / (other.norm() or 1.0))


def _said(verification: Verification) -> str:
    how = METHODS[verification.method]
    if verification.outcome == "error":
        return f"{how}: {verification.words}"
    if verification.asymmetry > SYMMETRIC:
        return f"{how}: the backward pass misses the derivative by {verification.asymmetry:.1g}"
    return f"{how}: off the finite difference by {verification.deviation:.1g}"
