"""Reduced tensors of equal shape put together, so that each statistic is one operation for many.

Letters: N tensors, B rows (samples of the batch) of which R were sampled, F sampled features.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sounding.capture.sample import Reduced, gathered


@dataclasses.dataclass(eq=False)
class Block:
    """Samples of N tensors of equal shape, divided by `scale` so that no square overflows."""

    indices: np.ndarray  # (N,) places in the sequence that was given
    values: np.ndarray  # (N, R, F)
    scale: np.ndarray  # (N,) largest absolute entry
    unseen: float  # fraction of the features that the sample leaves out: 0 where all are there


@dataclasses.dataclass(eq=False)
class Squares:
    """Sizes of N tensors, exact: from every entry."""

    rms: np.ndarray  # (N,) nan where there is no tensor
    error: np.ndarray  # (N,) standard error of the rms over the rows
    finite: np.ndarray  # (N,) False where an entry is NaN or infinite


def squares(reduced: Sequence[Reduced | None]) -> Squares:
    """The rms of each tensor, and its standard error as the rows are independent samples.

    If m_i is the mean square of row i, rms^2 = mean(m) has the standard error sd(m)/sqrt(B), and
    the rms half of that, relatively.
    """
    rms, error = np.full(len(reduced), np.nan), np.full(len(reduced), np.nan)
    for indices, norms, features in _row_norms(reduced):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            norms = norms / np.sqrt(features)[:, None]
            largest = norms.max(1)
            scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
            mean_squares = (norms / scale[:, None]) ** 2  # (N, B)
            rms[indices] = scale * np.sqrt(mean_squares.mean(1))
            if norms.shape[1] > 1:
                spread = mean_squares.std(1, ddof=1) / np.sqrt(norms.shape[1])
                error[indices] = rms[indices] * spread / mean_squares.mean(1) / 2
    error[rms == 0] = 0.0
    there = np.array([r is not None and r.numel > 0 for r in reduced], dtype=bool)
    return Squares(rms=rms, error=error, finite=np.isfinite(rms) | ~there)


def blocks(reduced: Sequence[Reduced | None]) -> list[Block]:
    """The samples, in double precision, by shape; tensors without a sample are left out."""
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is not None and item.sample is not None and item.sample.numel():
            groups[(*item.sample.shape, item.features)].append(index)  # type: ignore[index]
    found = []
    for (_, seen, features), indices in groups.items():
        samples = [reduced[i].sample for i in indices]  # type: ignore[union-attr]
        values = stacked(samples)  # type: ignore[arg-type]
        scale = np.abs(values).max((1, 2))
        safe = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
        values /= safe[:, None, None]
        found.append(Block(np.array(indices), values, safe, 1 - seen / features))
    return found


def stacked(tensors: list[torch.Tensor]) -> np.ndarray:
    """(N, ...) the tensors, all of one shape, in double precision on the CPU."""
    return np.stack([t.numpy() for t in gathered(tensors)]).astype(np.float64)


def _row_norms(
    reduced: Sequence[Reduced | None],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(indices, (N, B) norms of the rows, (N,) features of a row), for each number of rows."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is None or not item.numel:
            continue
        exact = item.norms if item.norms is not None else item.sample
        if exact is not None:
            groups[tuple(exact.shape)].append(index)
    for shape, indices in groups.items():
        items = [reduced[i] for i in indices]
        kept = [r.norms if r.norms is not None else r.sample for r in items if r is not None]
        values = stacked(kept)  # type: ignore[arg-type]
        if len(shape) == 2:  # whole tensors
            values = _norms(values)
        features = np.array([r.features for r in items if r is not None], dtype=np.float64)
        yield np.array(indices), values, features


def _norms(values: np.ndarray) -> np.ndarray:
    """(N, B) 2-norms of the rows of (N, B, F), safe from under- and overflow in double."""
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.abs(values).max(2)
        scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        scaled = values / scale[:, :, None]
        return scale * np.sqrt(np.einsum("nbf,nbf->nb", scaled, scaled))
