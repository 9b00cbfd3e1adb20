"""Reduced tensors of equal shape put together, so that each statistic is one operation for many.

Letters: N tensors, B rows (samples of the batch) of which R were sampled, F sampled features.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sounding.capture.sample import Reduced, gathered


@dataclasses.dataclass(eq=False)
class Sizes:
    """Sizes of N tensors, exact: from every entry."""

    rms: np.ndarray  # (N,) nan where there is no tensor
    error: np.ndarray  # (N,) standard error of the rms over the rows
    finite: np.ndarray  # (N,) False where an entry is NaN or infinite


@dataclasses.dataclass(eq=False)
class Block:
    """Samples of N tensors of equal shape, in units of their rms so that no square overflows."""

    indices: np.ndarray  # (N,) places in the sequence that was given
    values: np.ndarray  # (N, R, F)
    scale: np.ndarray  # (N,) the rms; 1 where it is 0 or not finite
    unseen: float  # fraction of the features that the sample leaves out: 0 where all are there


def sizes(reduced: Sequence[Reduced | None]) -> Sizes:
    """The rms of each tensor, and its standard error as the rows are independent samples.

    If m_i is the mean square of row i, rms^2 = mean(m) has the standard error sd(m)/sqrt(B), and
    the rms half of that, relatively.
    """
    rms, error = np.full(len(reduced), np.nan), np.full(len(reduced), np.nan)
    finite = np.ones(len(reduced), dtype=bool)
    groups: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is not None and item.numel:
            groups[item.rows].append(index)
    for rows, indices in groups.items():
        items = [r for i in indices if (r := reduced[i]) is not None]
        norms = np.stack([n.numpy() for n in gathered([r.norms for r in items])])
        norms = norms / np.sqrt([[float(r.features)] for r in items])  # (N, B) rms of each row
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            unit = _unit(norms.max(1))
            squares = (norms / unit[:, None]) ** 2
            rms[indices] = unit * np.sqrt(squares.mean(1))
            if rows > 1:
                relative = squares.std(1, ddof=1) / np.sqrt(rows) / squares.mean(1) / 2
                error[indices] = np.where(rms[indices] > 0, rms[indices] * relative, 0.0)
        finite[indices] = np.isfinite(rms[indices])
    return Sizes(rms=rms, error=error, finite=finite)


def blocks(reduced: Sequence[Reduced | None], rms: np.ndarray) -> list[Block]:
    """The samples in double precision, by shape; tensors without a sample are left out."""
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is not None and item.sample is not None and item.sample.numel():
            rows, seen = item.sample.shape
            groups[rows, seen, item.features].append(index)
    found = []
    for (_, seen, features), indices in groups.items():
        samples = [r.sample for i in indices if (r := reduced[i]) is not None]
        unit = _unit(rms[indices])
        values = np.stack([s.numpy() for s in gathered([s for s in samples if s is not None])])
        values = np.divide(values, unit[:, None, None], dtype=np.float64)
        found.append(Block(np.array(indices), values, unit, 1 - seen / features))
    return found


def _unit(scale: np.ndarray) -> np.ndarray:
    return np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
