"""Numbers that may still be on a device: taken, compared and told apart without waiting for it."""

from __future__ import annotations

import math

import torch

from sounding.capture.sample import dense


def total_norm(gradients: list[torch.Tensor]) -> torch.Tensor | float:
    """The 2-norm over all of them; 0.0 of none."""
    if not gradients:
        return 0.0
    kinds = {(type(g), g.device, g.dtype, g.layout) for g in gradients}
    if kinds == {(torch.Tensor, gradients[0].device, torch.float32, torch.strided)}:
        norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        return torch.linalg.vector_norm(torch.stack(norms))
    return torch.nn.utils.get_total_norm([dense(g) for g in gradients])


def no_number(value: torch.Tensor | float) -> bool:
    """Whether a loss is infinite or NaN, where that is known without waiting for a device."""
    if isinstance(value, torch.Tensor):
        return value.device.type == "cpu" and not bool(torch.isfinite(value))
    return not math.isfinite(value)


def is_nan(norm: torch.Tensor | float) -> bool:
    """The same of a measured norm, which may be infinite because its square has no place."""
    return isinstance(norm, torch.Tensor) and norm.device.type == "cpu" and bool(norm.isnan())


def least(one: torch.Tensor | float, other: torch.Tensor | float) -> torch.Tensor | float:
    """The smaller one, without waiting for a device."""
    tensor = next((v for v in (one, other) if isinstance(v, torch.Tensor)), None)
    if tensor is None:
        return min(float(one), float(other))
    one, other = (torch.as_tensor(v, device=tensor.device).to(tensor) for v in (one, other))
    return torch.minimum(one, other)
