"""Units with the same weights, and those that get the same gradient too: equal for ever."""

from __future__ import annotations

import functools
from collections import defaultdict

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
    prints = gathered([_fingerprint(w.detach().flatten(1)) for w in weights.values()])
    groups: dict[int, list[int]] = defaultdict(list)
    for i, fingerprint in enumerate(prints):
        groups[len(fingerprint)].append(i)
    names, found = list(weights), dict.fromkeys(weights, (0, 0))
    for indices in groups.values():
        values = np.stack([prints[i].numpy() for i in indices])  # (N, rows)
        orders = np.argsort(values, axis=1)
        ordered = np.take_along_axis(values, orders, axis=1)
        with np.errstate(invalid="ignore"):  # NaN and infinity are no twins
            near = np.abs(np.diff(ordered)) <= CLOSE * np.abs(ordered[:, 1:])
        for at in np.flatnonzero(near.any(1)):
            name = names[indices[at]]
            found[name] = _counted(weights[name], orders[at], near[at])
    return found


def _fingerprint(matrix: torch.Tensor) -> torch.Tensor:
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    return matrix @ _direction(matrix.shape[1], matrix.dtype, matrix.device)


@functools.lru_cache(maxsize=32)
def _direction(columns: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A vector in which no two columns count alike."""
    places = torch.arange(columns, dtype=torch.float32)
    return (torch.cos(places * places * 0.37 + places) + 1.5).to(device, dtype)


def _counted(weight: torch.Tensor, order: np.ndarray, near: np.ndarray) -> tuple[int, int]:
    """Rows with a twin, of those that are `near` the next one in `order`."""
    rows, gradient = weight.detach().flatten(1), weight.grad
    pairs = np.flatnonzero(near)
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
