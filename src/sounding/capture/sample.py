"""Reduce a tensor inside a hook: its exact norm, and a small copy to be reduced later.

A tensor that is kept and reduced later is wrong under in-place operations and costs memory. So a
hook takes the exact 2-norm of the whole (which also shows any NaN or Inf) and copies at most
ROWS x FEATURES values; everything else is computed from the copies, at once, at the end.
"""

from __future__ import annotations

import dataclasses

import torch

ROWS = 32  # samples of the batch: standard errors over them are known to 1/sqrt(2 * 31) = 13 %
FEATURES = 128  # values a sample: with ROWS 4,096 values, 16 kB a tensor whatever its size


@dataclasses.dataclass(slots=True)
class Reduced:
    """A tensor, reduced: B rows in all, of which R are in the sample."""

    numel: int
    rows: int  # B
    norm: torch.Tensor | float  # exact 2-norm over all entries
    sample: torch.Tensor | None  # (R, F)


def reduce(tensor: torch.Tensor, *, sampled: bool = True) -> Reduced:
    """Norm and sample of a floating-point tensor; the first dimension is the batch's.

    Costs one pass over the tensor and a copy of 16 kB.
    """
    tensor = tensor.detach()
    rows = tensor.shape[0] if tensor.dim() else 1
    return Reduced(tensor.numel(), rows, norm(tensor), sample(tensor) if sampled else None)


def norm(tensor: torch.Tensor) -> torch.Tensor | float:
    """The 2-norm, not fooled by overflow or underflow of squares in single precision.

    On the CPU a number; elsewhere a tensor, so that nothing waits for the device.
    """
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.device.type != "cpu":
        wide = torch.float32 if tensor.device.type == "mps" else torch.float64
        return torch.linalg.vector_norm(tensor, dtype=wide)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    value = float(torch.linalg.vector_norm(tensor))
    # Squares underflow below 1e-19 an entry and overflow above 1e19: look again in double.
    if not 1e-15 < value < 1e18 and tensor.numel():
        value = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    return value


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of at most ROWS evenly spaced rows and FEATURES evenly spaced entries of each."""
    if tensor.dim() < 2:
        tensor = tensor.reshape(-1, 1)
    rows = tensor[:: -(-tensor.shape[0] // ROWS) or 1].flatten(1)
    return rows[:, :: _odd_stride(rows.shape[1])].float().clone()


def _odd_stride(length: int) -> int:
    """The smallest odd stride that leaves at most FEATURES of `length` entries.

    Odd, so that it does not stay on the same channels of a power-of-two width.
    """
    stride = -(-length // FEATURES) or 1
    return stride if stride % 2 else stride + 1
