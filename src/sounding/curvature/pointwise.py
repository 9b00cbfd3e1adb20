"""Activations with both derivatives kept, so that a Hessian product multiplies instead of deriving.

Torch composes the second derivative of GELU, SiLU and Mish of some twenty passes over the tensor,
again for every product: a third of the time of a transformer's. Here f'(x) and f''(x) are computed
once, where the graph is built, and a product is three multiplications.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

Slopes = tuple[torch.Tensor, torch.Tensor]  # f'(x), f''(x)


def activation(func: Callable, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`func` of x, one of those in SLOPES, with its two derivatives kept."""
    options = {k: v for k, v in kwargs.items() if k != "inplace"}
    with torch.no_grad():
        y = func(x.detach(), *args, **options)
        first, second = SLOPES[func.__name__](x.detach(), *args, **options)
    return _Activation.apply(x, y, first, second)


class _Activation(torch.autograd.Function):
    """f(x), given f(x), f'(x) and f''(x)."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any, first: Any, second: Any) -> Any:
        ctx.save_for_backward(x, first, second)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, first, second = ctx.saved_tensors
        return _Slope.apply(gradients[0], x, first, second), None, None, None


class _Slope(torch.autograd.Function):
    """g f'(x), whose derivatives are f'(x) by g, and g f''(x) by x."""

    @staticmethod
    def forward(ctx: Any, g: Any, x: Any, first: Any, second: Any) -> Any:
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(first, g * second)
        return g * first

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *vectors: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's type
        first, curvature = ctx.saved_tensors
        return vectors[0] * first, vectors[0] * curvature, None, None


def _gelu(x: torch.Tensor, approximate: str = "none") -> Slopes:
    if approximate == "none":
        below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return below + x * density, density * (2 - x * x)
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(scale * (x + cubic * x**3))
    inner, bend = scale * (1 + 3 * cubic * x * x), 6 * scale * cubic * x
    steep = 1 - t * t
    first = 0.5 * (1 + t) + 0.5 * x * steep * inner
    return first, steep * inner + 0.5 * x * steep * (bend - 2 * t * inner * inner)


def _silu(x: torch.Tensor) -> Slopes:
    s = torch.sigmoid(x)
    steep = s * (1 - s)
    return s + x * steep, steep * (2 + x * (1 - 2 * s))


def _mish(x: torch.Tensor) -> Slopes:
    t, s = torch.tanh(F.softplus(x)), torch.sigmoid(x)
    steep = 1 - t * t
    first = steep * s  # of tanh(softplus(x))
    second = steep * s * (1 - s) - 2 * t * steep * s * s
    return t + x * first, 2 * first + x * second


SLOPES: dict[str, Callable[..., Slopes]] = {"gelu": _gelu, "silu": _silu, "mish": _mish}
