"""Inputs with their class labels: what every function of this package returns."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Labelled(NamedTuple):
    """Samples and their classes; unpacks as ``x, y``, ready to be a batch."""

    x: torch.Tensor  # (N, ...)
    y: torch.Tensor  # (N,) int64 class numbers


def checked_labels(labels: torch.Tensor, classes: int, source: object) -> torch.Tensor:
    """The labels as int64.

    Raises:
        ValueError: If one of them is not in 0..classes-1; the message names `source`.
    """
    labels = labels.long()
    wrong = torch.nonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"{source}: label {int(labels[row])} in row {row} is not in 0..{classes - 1}; "
            "the file is damaged, or is another data set"
        )
    return labels


def checked_limit(limit: int | None) -> int | None:
    """The number of rows to read.

    Raises:
        ValueError: If it is smaller than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is the number of rows to read, at least 1, got {limit}")
    return limit
