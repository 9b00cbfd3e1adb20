"""Reduce a tensor where it appears: exact norms of its rows, and a small copy for later.

A tensor that is kept and reduced later is wrong under in-place operations and costs memory. So a
hook copies a small tensor; of a larger one it takes the exact 2-norm of every row (which also
shows any NaN or Inf) and copies ROWS x FEATURES values. The rest is computed from these, for many
tensors at once, at the end.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

ROWS = 32  # samples of the batch: standard errors over them are known to 1/sqrt(2 * 31) = 13 %
FEATURES = 128  # values a sample: with ROWS 4,096 values, 16 kB a tensor whatever its size
WHOLE = ROWS * FEATURES  # a tensor up to this size is copied as it is
SAFE = (1e-15, 1e18)  # norms in single precision between which no square under- or overflows


@dataclasses.dataclass(slots=True, eq=False)
class Reduced:
    """What is left of a tensor of B rows with F features each (a row is a sample of the batch)."""

    rows: int  # B
    features: int  # F
    norms: torch.Tensor | None  # (B,) exact 2-norms of the rows; None where the sample is all
    sample: torch.Tensor | None  # (R, at most F); all of a small tensor, (B, F)

    @property
    def numel(self) -> int:
        """Entries of the tensor."""
        return self.rows * self.features


def reduce(tensor: torch.Tensor, *, sampled: bool = True) -> Reduced:
    """The norms of the rows, and a sample if wanted; the first dimension counts the rows.

    Complex entries are read as two real features each. Costs one pass over the tensor, and at
    most 16 kB that stay.
    """
    tensor = _at_least_rows(tensor)
    rows, numel = tensor.shape[0], tensor.numel()
    features = numel // rows if rows else 0
    view = _as_rows(tensor)
    if numel <= WHOLE:
        return Reduced(rows, features, None, _sample(tensor, view))
    norms = row_norms(tensor if view is None else view)
    return Reduced(rows, features, norms, _sample(tensor, view) if sampled else None)


def measured(tensors: list[torch.Tensor]) -> list[Reduced]:
    """The norms of the rows alone, of many tensors at once; waits once for a device."""
    views = [_flat(tensor) for tensor in tensors]
    there = [i for i, view in enumerate(views) if view.numel()]
    found = [Reduced(len(view), 0, None, None) for view in views]
    if not there:
        return found
    norms = torch.cat(gathered([_row_norms(views[i]) for i in there]))
    rows = [len(views[i]) for i in there]
    peaks = np.maximum.reduceat(norms.numpy(), np.cumsum([0, *rows[:-1]]))
    safe = (SAFE[0] < peaks) & (peaks < SAFE[1]) | (norms.dtype == torch.float64)
    for i, part, sure in zip(there, norms.split(rows), safe, strict=True):
        part = part if sure else row_norms(views[i]).cpu()
        found[i] = Reduced(len(part), views[i].shape[1], part, None)
    return found


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """(B, F) view or copy."""
    if tensor.dim() == 2 and type(tensor) is torch.Tensor and not tensor.is_complex():
        return tensor
    tensor = _at_least_rows(tensor)
    view = _as_rows(tensor)
    return tensor.flatten(1) if view is None else view


def _row_norms(view: torch.Tensor) -> torch.Tensor:
    if view.dtype == torch.float32 and view.is_cpu:
        return torch.linalg.vector_norm(view, dim=1)
    return row_norms(view)


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a small tensor, or of ROWS evenly spaced rows and FEATURES entries of each."""
    tensor = _at_least_rows(tensor)
    return _sample(tensor, _as_rows(tensor))


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers as a strided, real tensor: the entries that a sparse one holds.

    Of a tensor that is spread over processes the part of this one: no process waits for another.
    """
    local = getattr(tensor, "to_local", None)
    if local is not None:
        tensor = local()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor


def share(tensor: torch.Tensor) -> float:
    """Entries of the whole tensor for each one of the part that this process holds, mostly 1."""
    local = getattr(tensor, "to_local", None)
    return 1.0 if local is None else tensor.numel() / max(local().numel(), 1)


def _at_least_rows(tensor: torch.Tensor) -> torch.Tensor:
    tensor = dense(tensor.detach())
    return tensor if tensor.dim() > 1 else tensor.reshape(-1, 1)


# -- norms ------------------------------------------------------------------------------------


def row_norms(tensor: torch.Tensor) -> torch.Tensor:
    """(B,) 2-norms over all but the first dimension, not fooled by under- or overflow of squares.

    On the CPU in the tensor's own precision, and again in double where that was not safe;
    elsewhere in double at once, so that nothing waits for the device.
    """
    return _safe_norm(tensor, tuple(range(1, tensor.dim())))


def norm(tensor: torch.Tensor) -> torch.Tensor:
    """() the 2-norm over all entries, with the same care."""
    return _safe_norm(dense(tensor.detach()), None)


def _safe_norm(tensor: torch.Tensor, dims: tuple[int, ...] | None) -> torch.Tensor:
    if tensor.device.type != "cpu":
        return torch.linalg.vector_norm(tensor, dim=dims, dtype=_widest(tensor))
    found = torch.linalg.vector_norm(tensor, dim=dims, dtype=_at_least_single(tensor))
    if found.dtype == torch.float64 or not found.numel():
        return found
    if not SAFE[0] < float(found.numpy().max()) < SAFE[1]:
        return torch.linalg.vector_norm(tensor, dim=dims, dtype=torch.float64)
    return found


def norms(tensors: list[torch.Tensor]) -> list[float]:
    """The 2-norm of each tensor, exact; waits once for each device, not once for each tensor."""
    values = [dense(tensor.detach()) for tensor in tensors]
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, value in enumerate(values):
        groups.setdefault((value.device, value.dtype), []).append(i)
    found = [0.0] * len(values)
    for indices in groups.values():
        some = [values[i] for i in indices]
        dtype = _at_least_single(some[0]) if some[0].device.type == "cpu" else _widest(some[0])
        sizes = torch.stack([torch.linalg.vector_norm(v, dtype=dtype) for v in some]).tolist()
        for i, size in zip(indices, sizes, strict=True):
            safe = dtype == torch.float64 or SAFE[0] < size < SAFE[1]
            found[i] = size if safe else float(norm(values[i]))
    return found


def gathered(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same tensors on the CPU; those on another device cross in one transfer each dtype."""
    found = list(tensors)
    away: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(tensors):
        if tensor.device.type != "cpu":
            away.setdefault((tensor.device, tensor.dtype), []).append(i)
    for indices in away.values():
        flat = torch.cat([tensors[i].reshape(-1) for i in indices]).cpu()
        parts = flat.split([tensors[i].numel() for i in indices])
        for i, part in zip(indices, parts, strict=True):
            found[i] = part.view(tensors[i].shape)
    return found


def _at_least_single(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _widest(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64


# -- samples ----------------------------------------------------------------------------------


def _as_rows(tensor: torch.Tensor) -> torch.Tensor | None:
    """(B, F) view of the tensor, features in the order of memory; None where there is none."""
    if tensor.dim() == 2:
        return tensor
    if tensor.is_contiguous():
        return tensor.flatten(1)
    order = sorted(range(1, tensor.dim()), key=tensor.stride, reverse=True)
    try:
        return tensor.permute(0, *order).view(tensor.shape[0], -1)
    except RuntimeError:
        return None


def _sample(tensor: torch.Tensor, view: torch.Tensor | None) -> torch.Tensor:
    if tensor.numel() <= WHOLE:
        return _copied(tensor.flatten(1) if view is None else view)
    step = math.ceil(tensor.shape[0] / ROWS) or 1
    if view is not None:
        return _copied(view[::step, :: _odd_stride(view.shape[1])])
    features = tensor[0].numel()  # no view: fetch the entries one by one, never the whole
    at = torch.arange(0, features, _odd_stride(features), device=tensor.device)
    places = []
    for size in reversed(tensor.shape[1:]):  # torch.unravel_index imports sympy: half a second
        places.append(at % size)
        at = at // size
    return _copied(tensor[::step][(slice(None), *reversed(places))])


def _copied(values: torch.Tensor) -> torch.Tensor:
    dtype = _at_least_single(values)
    if values.dtype == dtype:
        return values.clone(memory_format=torch.contiguous_format)
    return values.to(dtype)


def _odd_stride(length: int) -> int:
    """The smallest odd stride that leaves at most FEATURES of `length` entries.

    Odd, so that it does not stay on the same channels of a power-of-two width.
    """
    stride = math.ceil(length / FEATURES) or 1
    return stride if stride % 2 else stride + 1
