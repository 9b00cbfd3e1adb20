"""What the pieces of the data add up to: products, and the loss itself with its gradient.

Letters: k vectors of n numbers, w of them on this rank.
"""

from __future__ import annotations

import torch

from sounding.curvature.pieces import Piece
from sounding.curvature.products import Product, gradient, value
from sounding.curvature.setting import Subject, without_hooks


def weighted(subject: Subject, products: list[Product], parts: list[Piece]) -> Product:
    """(k, n) -> (k, n): the sum over the pieces of this rank, each with its weight.

    It raises a ValueError once the parameters have changed.
    """
    before = subject.versions()

    def apply(block: torch.Tensor) -> torch.Tensor:
        if subject.versions() != before:
            raise ValueError(
                "the model's parameters have changed since this operator was made; make a new one"
            )
        total = torch.zeros_like(block)
        with without_hooks(subject.parameters):
            for product, part in zip(products, parts, strict=True):
                total += part.weight * product(block)
        return total

    return apply


def slope(subject: Subject, parts: list[Piece]) -> torch.Tensor:
    """(w,) the gradient of the loss of all ranks; of sharded parameters, this rank's part."""
    ranks, sharded = subject.ranks, subject.shards is not None
    factor = ranks.count if sharded else 1  # FSDP2 adds up by itself, but to a mean
    own = torch.zeros(subject.layout.size, dtype=subject.dtype, device=subject.device)
    for part in parts:
        own += gradient(subject, part.batch, part.weight * factor)
    return own if sharded else ranks.add(own)


def height(subject: Subject, parts: list[Piece]) -> torch.Tensor:
    """() the loss of all ranks."""
    own = [part.weight * value(subject, part.batch).double() for part in parts]
    return subject.ranks.add(torch.stack(own).sum())
