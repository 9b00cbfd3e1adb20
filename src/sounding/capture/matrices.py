"""Reduce a weight in one go, while it is at hand: size, mean, a sample, a sketch, equal units.

Reading a large weight from memory costs more than computing on it, so everything that is asked of
it is asked at once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import defaultdict

import numpy as np
import torch

from sounding.capture.sample import dense, gathered, norm, sample, share

SKETCHED = 16  # random directions that a weight is multiplied with
SAMPLED = 1024  # entries: a kurtosis is known to sqrt(24 / 1024) = 15 % from them
LOOKED_AT = 4096  # rows of a lookup table that are sketched and compared; of others all are
CLOSE = 1e-5  # relative distance of two fingerprints that asks for a look at the rows themselves
AT_ONCE = 4096  # rows that are compared at a time


@dataclasses.dataclass(slots=True, eq=False)
class Matrix:
    """What is left of a weight with n rows (output units), its other dimensions made one."""

    norm: float
    mean: float
    sample: np.ndarray  # (k,) some of the entries
    sketch: np.ndarray  # (n, k) its products with k random directions
    shape: tuple[int, ...]
    epsilon: float  # relative rounding of an entry
    duplicates: int = 0  # rows with a twin of equal entries
    symmetric: int = 0  # of these, rows whose twin has the same gradient too: equal for ever

    @property
    def longest(self) -> int:
        """Its longer side."""
        return max(self.shape[0], math.prod(self.shape[1:]))


def matrices(weights: dict[str, torch.Tensor], lookups: set[str]) -> dict[str, Matrix]:
    """Each weight reduced; of `lookups`, tables of which few rows are used, some rows only.

    Costs one product with 16 vectors; waits for the device four times in all.
    """
    parts = [_parts(w.detach(), name in lookups) for name, w in weights.items()]
    columns = [gathered(list(column)) for column in zip(*parts, strict=True)]
    found = {}
    for (name, weight), size, some, sketch in zip(weights.items(), *columns, strict=True):
        rows = sketch.numpy()
        with np.errstate(invalid="ignore"):  # of infinite weights there is no mean
            total = float(rows[:, 0].sum(dtype=np.float64))
        found[name] = Matrix(
            norm=float(size) * math.sqrt(share(weight)),
            mean=total / max(rows.shape[0] * _columns(weight), 1),
            sample=some.numpy().ravel()[:: math.ceil(some.numel() / SAMPLED) or 1],
            sketch=rows[:, 1:],
            shape=tuple(weight.shape),
            epsilon=torch.finfo(weight.dtype).eps,
        )
    _compare(found, {n: w for n, w in weights.items() if n not in lookups})
    return found


def _columns(weight: torch.Tensor) -> int:
    return math.prod(weight.shape[1:])


def _parts(weight: torch.Tensor, lookup: bool) -> tuple[torch.Tensor, ...]:
    weight = dense(weight)
    rows = weight.flatten(1)
    if lookup:
        rows = rows[:: math.ceil(len(rows) / LOOKED_AT) or 1]
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    directions = _directions(rows.shape[1], rows.dtype, rows.device)
    return norm(weight), sample(weight), rows @ directions


@functools.lru_cache(maxsize=32)
def _directions(columns: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(columns, 1 + SKETCHED) ones, which sum the rows, and random directions."""
    random = torch.randn(columns, SKETCHED, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.ones(columns, 1), random], dim=1).to(device, dtype)


# -- equal units ------------------------------------------------------------------------------


def _compare(found: dict[str, Matrix], weights: dict[str, torch.Tensor]) -> None:
    """Count the rows that equal another one of their weight.

    The first column of the sketch gives each row a fingerprint, these are sorted, and only rows
    with nearly the same one are compared in full. Exact, unless a third row's fingerprint falls
    within the rounding of two equal ones.
    """
    groups: dict[int, list[str]] = defaultdict(list)
    for name, weight in weights.items():
        rows = len(found[name].sketch)
        if rows > 1 and weight.numel():
            groups[rows].append(name)
    for names in groups.values():
        prints = np.stack([found[name].sketch[:, 0] for name in names])  # (N, rows)
        orders = np.argsort(prints, axis=1)
        ordered = np.take_along_axis(prints, orders, axis=1)
        with np.errstate(invalid="ignore"):  # NaN and infinity are no twins
            near = np.abs(np.diff(ordered)) <= CLOSE * np.abs(ordered[:, 1:])
        for at in np.flatnonzero(near.any(1)):
            matrix = found[names[at]]
            counted = _twins(weights[names[at]], orders[at], near[at])
            matrix.duplicates, matrix.symmetric = counted


def _twins(weight: torch.Tensor, order: np.ndarray, near: np.ndarray) -> tuple[int, int]:
    """Rows with a twin, of those that are `near` the next one in `order`."""
    rows, gradient = dense(weight.detach()).flatten(1), weight.grad
    pairs = np.flatnonzero(near)
    equal = np.zeros(len(near), dtype=bool)
    equal[pairs] = _equal(rows, order[pairs], order[pairs + 1], 0.0)
    duplicates = _members(equal)
    if gradient is None or gradient.is_sparse or not duplicates:
        return duplicates, 0
    slopes = dense(gradient.detach()).flatten(1)
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
