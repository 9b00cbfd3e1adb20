"""Units with the same weights, and those that get the same gradient too: equal for ever."""

from __future__ import annotations

import numpy as np
import torch

from sounding.capture.sample import gathered

CLOSE = 1e-5  # relative distance of two fingerprints that asks for a look at the rows themselves
AT_ONCE = 4096  # rows that are compared at a time


def twins(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """For each weight, units (rows) with an exact twin, and those whose gradient is the twin's too.

    One product of each weight with a vector gives its rows fingerprints, which are sorted; only rows
    with nearly the same fingerprint are compared in full. Exact, unless a third row's
    fingerprint falls within the rounding of two equal ones.
    """
    rows = {name: w.detach().flatten(1) for name, w in weights.items()}
    prints = gathered([_fingerprint(matrix) for matrix in rows.values()])
    return {
        name: _counted(rows[name], weights[name].grad, fingerprint.numpy())
        for name, fingerprint in zip(rows, prints, strict=True)
    }


def _fingerprint(matrix: torch.Tensor) -> torch.Tensor:
    columns = torch.arange(matrix.shape[1], dtype=torch.float32, device=matrix.device)
    direction = torch.cos(columns * columns * 0.37 + columns) + 1.5  # no two columns alike
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    return matrix @ direction.to(matrix.dtype)


def _counted(
    rows: torch.Tensor, gradient: torch.Tensor | None, fingerprint: np.ndarray
) -> tuple[int, int]:
    order = np.argsort(fingerprint)
    ordered = fingerprint[order]
    near = np.abs(np.diff(ordered)) <= CLOSE * np.abs(ordered[1:])
    pairs = np.flatnonzero(near)
    if not len(pairs):
        return 0, 0
    equal = np.zeros(len(near), dtype=bool)
    equal[pairs] = _equal(rows, order[pairs], order[pairs + 1], 0.0)
    duplicates = _members(equal)
    if gradient is None or gradient.is_sparse or not duplicates:
        return duplicates, 0
    slopes = gradient.detach().flatten(1)
    scale = float(slopes.abs().amax()) * torch.finfo(slopes.dtype).eps * 8  # sums in another order
    pairs = np.flatnonzero(equal)
    equal[pairs] = _equal(slopes, order[pairs], order[pairs + 1], scale)
    return duplicates, _members(equal)


def _equal(
    rows: torch.Tensor, first: np.ndarray, second: np.ndarray, tolerance: float
) -> np.ndarray:
    """Which of the pairs of rows agree in every entry."""
    found = []
    for start in range(0, len(first), AT_ONCE):
        one = rows[torch.from_numpy(first[start : start + AT_ONCE]).to(rows.device)]
        two = rows[torch.from_numpy(second[start : start + AT_ONCE]).to(rows.device)]
        found.append(((one - two).abs() <= tolerance).all(1).cpu().numpy())
    return np.concatenate(found)


def _members(equal: np.ndarray) -> int:
    """Rows that equal a neighbour, from the comparison of each with the next."""
    either = np.zeros(len(equal) + 1, dtype=bool)
    either[1:] |= equal
    either[:-1] |= equal
    return int(either.sum())
