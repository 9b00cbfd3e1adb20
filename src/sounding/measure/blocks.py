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
class Sizes:
    """Sizes of N tensors, exact: from every entry."""

    rms: np.ndarray  # (N,) nan where there is no tensor
    error: np.ndarray  # (N,) standard error of the rms over the rows
    finite: np.ndarray  # (N,) False where an entry is NaN or infinite


@dataclasses.dataclass(eq=False)
class Block:
    """Samples of N tensors of equal shape."""

    indices: np.ndarray  # (N,) places in the sequence that was given
    values: np.ndarray  # (N, R, F) in double precision, where no square of a single overflows
    unseen: float  # fraction of the features that the sample leaves out: 0 where all are there
    whole: bool  # whether the samples are all there is of the tensors


def sizes(reduced: Sequence[Reduced | None], samples: Sequence[Block] | None = None) -> Sizes:
    """The rms of each tensor, and its standard error as the rows are independent samples.

    If m_i is the mean square of row i, rms^2 = mean(m) has the standard error sd(m)/sqrt(B), and
    the rms half of that, relatively. `samples` are the blocks of the same tensors, where they have
    been made already.
    """
    rms, error = np.full(len(reduced), np.nan), np.full(len(reduced), np.nan)
    finite = np.ones(len(reduced), dtype=bool)
    for indices, squares in _mean_squares(reduced, blocks(reduced) if samples is None else samples):
        rows = squares.shape[1]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            mean = squares.mean(1)
            rms[indices] = np.sqrt(mean)
            if rows > 1:
                relative = squares.std(1, ddof=1) / np.sqrt(rows) / mean / 2
                error[indices] = np.where(mean > 0, rms[indices] * relative, 0.0)
        finite[indices] = np.isfinite(mean)
    return Sizes(rms=rms, error=error, finite=finite)


def blocks(reduced: Sequence[Reduced | None]) -> list[Block]:
    """The samples by shape; tensors without a sample are left out."""
    groups: dict[tuple[int, int, int, bool], list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is not None and item.sample is not None and item.sample.numel():
            rows, seen = item.sample.shape
            groups[rows, seen, item.features, item.norms is None].append(index)
    return [
        Block(
            indices=np.array(indices),
            values=stacked(
                [s for i in indices if (r := reduced[i]) and (s := r.sample) is not None]
            ),
            unseen=1 - seen / features,
            whole=whole,
        )
        for (_, seen, features, whole), indices in groups.items()
    ]


def _sample(item: Reduced | None) -> torch.Tensor | None:
    return None if item is None else item.sample


def _mean_squares(
    reduced: Sequence[Reduced | None], samples: Sequence[Block]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(indices, (N, B) exact mean square of each row) for tensors of one number of rows each."""
    for block in samples:
        if block.whole:
            with np.errstate(invalid="ignore", over="ignore"):
                squares = np.einsum("nbf,nbf->nb", block.values, block.values)
            yield block.indices, squares / block.values.shape[2]
    groups: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is not None and item.norms is not None and item.numel:
            groups[item.rows].append(index)
    for indices in groups.values():
        items = [r for i in indices if (r := reduced[i]) is not None]
        norms = stacked([n for r in items if (n := r.norms) is not None])
        with np.errstate(invalid="ignore", over="ignore"):
            yield np.array(indices), norms**2 / np.array([[float(r.features)] for r in items])


def stacked(tensors: Sequence[torch.Tensor]) -> np.ndarray:
    """(N, ...) tensors of one shape, in double precision on the CPU."""
    values = np.empty((len(tensors), *tensors[0].shape))
    for place, tensor in zip(values, gathered(list(tensors)), strict=True):
        place[...] = tensor.numpy()
    return values
