"""Two rectifiers of the same Gaussian input: their mean product, its slope and its curvature.

f(w, v) = E relu(w'x) relu(v'x) = |w| |v| (sin t + (pi - t) cos t) / (2 pi) for x ~ N(0, I), t being
the angle between w and v (Cho and Saul, "Kernel Methods for Deep Learning", NIPS 2009); gradient
and Hessian by Safran and Shamir, ICML 2018, in the form of Brutzkus and Globerson, ICML 2017.

Everything is a function of the gap 1 - cos t = |w/|w| - v/|v||^2 / 2, which rounding leaves exact
where the two vectors nearly coincide; there f is twice differentiable, but not three times.

Letters: n neurons (rows of W), k of the other layer (rows of V), d inputs.
"""

from __future__ import annotations

import math
from typing import Any

import torch

TINY = 1e-150  # its square is still a number: stands for the sine of an angle of zero


class _Angle(torch.autograd.Function):
    """t of the gap; its slope 1 / sin t is read as finite at t = 0, where it multiplies zeros."""

    @staticmethod
    def forward(ctx: Any, gap: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gap)
        return 2 * torch.asin((gap / 2).clamp(0, 1).sqrt())

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (gap,) = ctx.saved_tensors
        return grads[0] * (gap > 0) / sine(gap).clamp(min=TINY)


class _Product(torch.autograd.Function):
    """sin t + (pi - t) cos t of the gap; its slope is exactly t - pi."""

    @staticmethod
    def forward(ctx: Any, gap: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gap)
        angle = 2 * torch.asin((gap / 2).clamp(0, 1).sqrt())
        return sine(gap) + (math.pi - angle) * (1 - gap)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (gap,) = ctx.saved_tensors
        return grads[0] * (_angle(gap) - math.pi)


def _angle(gap: torch.Tensor) -> torch.Tensor:
    return _Angle.apply(gap)  # type: ignore[return-value]


def sine(gap: torch.Tensor) -> torch.Tensor:
    """The sine of an angle, from its gap 1 - cos t."""
    return (gap * (2 - gap)).clamp(min=0).sqrt()


def gaps(w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """1 - cos of the angles between rows: (..., n, d), (..., k, d) of length 1 -> (..., n, k)."""
    return (w[..., :, None, :] - v[..., None, :, :]).square().sum(-1) / 2


def mean_products(w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """E relu(w'x) relu(v'x) for every row of `w` (..., n, d) and of `v` (..., k, d): (..., n, k).

    Twice differentiable by autograd wherever no row is zero.
    """
    a, b = w.norm(dim=-1, keepdim=True), v.norm(dim=-1, keepdim=True)
    kernel = _Product.apply(gaps(w / a, v / b))
    return a * b.mT * kernel / (2 * math.pi)  # type: ignore[operator]


def same_unit_curvature(w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Second derivatives of sum_j f(w_i, v_j) with respect to w_i: (..., n, d, d).

    A pair at angle zero adds nothing, the limit of its formula.
    """
    a, b = w.norm(dim=-1, keepdim=True), v.norm(dim=-1, keepdim=True)
    w, v = w / a, v / b
    gap = gaps(w, v)
    s = sine(gap)
    size = b.mT / a / (2 * math.pi)
    weight = torch.where(s > 0, size / s.clamp(min=TINY), 0.0)  # (..., n, k)
    # c w - v, from the difference where c is nearly 1
    apart = (w[..., :, None, :] - v[..., None, :, :]) - gap[..., None] * w[..., :, None, :]
    outer = torch.einsum("...ik,...ika,...ikb->...iab", weight, apart, apart)
    across = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device) - w[..., None] * w[..., None, :]
    return (size * s).sum(-1)[..., None, None] * across + outer


def cross_unit_curvature(w: torch.Tensor) -> torch.Tensor:
    """Second derivatives of f(w_i, w_j) with respect to w_i, then w_j: (..., n, n, d, d).

    df/dw_i = (|w_j| sin t w_i/|w_i| + (pi - t) w_j) / (2 pi). The length |w_j| sin t has the
    gradient (w_j - c w_i) / s in the unit vectors, and -t has (w_i - c w_j) / (s |w_j|).
    """
    unit = w / w.norm(dim=-1, keepdim=True)
    gap = gaps(unit, unit)
    s = sine(gap)
    angle = 2 * torch.asin((gap / 2).clamp(0, 1).sqrt())
    here, there = unit[..., :, None, :], unit[..., None, :, :]
    part = (there - here) + gap[..., None] * here  # w_j - c w_i, of length s
    back = (here - there) + gap[..., None] * there  # w_i - c w_j
    over = torch.where(s > 0, 1 / s.clamp(min=TINY), 0.0)[..., None]
    first = here[..., :, None] * (part * over)[..., None, :]
    second = there[..., :, None] * (back * over)[..., None, :]
    eye = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    return ((math.pi - angle)[..., None, None] * eye + first + second) / (2 * math.pi)
