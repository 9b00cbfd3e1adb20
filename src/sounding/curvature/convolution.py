"""Convolutions whose second derivative uses the kernels of the first, and take in a batch norm.

The derivative of a convolution's backward pass is two convolutions and one backward pass of the
same kind; torch goes through transposed tensors instead, which its kernels are slow at. A batch
norm in evaluation mode behind a convolution is a scale of its weights and a shift: put there, it
costs nothing for each activation.
"""

from __future__ import annotations

from typing import Any

import torch

Settings = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


def convolution(x: Any, weight: Any, bias: Any, settings: Settings) -> torch.Tensor:
    """As torch.nn.functional.conv1d, 2d or 3d of a batch."""
    y = _Convolution.apply(x, weight, settings)
    return y if bias is None else y + bias.view(-1, *[1] * (x.dim() - 2))


def settings_of(
    x: Any, weight: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Settings | None:
    """The arguments in full; None for what is left to torch (no batch, padding in words)."""
    if not isinstance(x, torch.Tensor) or x.dim() != weight.dim() or isinstance(padding, str):
        return None
    count = x.dim() - 2
    full = [
        list(v) if isinstance(v, tuple | list) else [v] * count for v in (stride, padding, dilation)
    ]
    full = [v * count if len(v) == 1 else v for v in full]
    return full[0], full[1], full[2], groups


def _forward(x: Any, weight: Any, settings: Settings) -> torch.Tensor:
    stride, padding, dilation, groups = settings
    none = [0] * len(stride)
    return torch.convolution(x, weight, None, stride, padding, dilation, False, none, groups)


def _backward(g: Any, x: Any, weight: Any, settings: Settings, mask: list[bool]) -> Any:
    stride, padding, dilation, groups = settings
    return torch.ops.aten.convolution_backward(
        g, x, weight, None, stride, padding, dilation, False, [0] * len(stride), groups,
        [*mask, False],
    )[:2]  # fmt: skip


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, settings: Settings) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.settings = settings
        return _forward(x, weight, settings)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        mask = list(ctx.needs_input_grad[:2])
        return *_ConvolutionBackward.apply(gradients[0], x, weight, ctx.settings, mask), None


class _ConvolutionBackward(torch.autograd.Function):
    """(gradient by x, gradient by the weight), linear in g, and in the other of the two."""

    @staticmethod
    def forward(ctx: Any, g: Any, x: Any, weight: Any, settings: Settings, mask: Any) -> Any:
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(g, x, weight)
            ctx.settings = settings
            ctx.set_materialize_grads(False)
        return _backward(g, x, weight, settings, mask)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *vectors: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's type
        g, x, weight = ctx.saved_tensors
        by_x, by_weight = vectors
        parts = []
        if by_x is not None:
            parts.append(_forward(by_x, weight, ctx.settings))
        if by_weight is not None:
            parts.append(_forward(x, by_weight, ctx.settings))
        mask = [
            by_weight is not None and ctx.needs_input_grad[1],
            by_x is not None and ctx.needs_input_grad[2],
        ]
        of_x, of_weight = None, None
        if any(mask):
            of_x, of_weight = _backward(
                g, x if by_x is None else by_x, weight if by_weight is None else by_weight,
                ctx.settings, mask,
            )  # fmt: skip
        of_g = sum(parts[1:], parts[0]) if parts else None
        return of_g, of_x, of_weight, None, None


def with_norm(
    x: Any, weight: Any, bias: Any, settings: Settings, norm: dict[str, Any]
) -> torch.Tensor:
    """The convolution followed by a batch norm with running statistics, as one convolution."""
    scale = torch.rsqrt(norm["running_var"] + norm["eps"])
    if norm["weight"] is not None:
        scale = scale * norm["weight"]
    mean = norm["running_mean"] if bias is None else norm["running_mean"] - bias
    shift = -mean * scale
    if norm["bias"] is not None:
        shift = shift + norm["bias"]
    scaled = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return convolution(x, scaled, shift, settings)
