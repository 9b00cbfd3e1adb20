"""The products of the pieces of the data, added up to that of the whole."""

from __future__ import annotations

import torch

from sounding.curvature.pieces import Piece
from sounding.curvature.products import Product
from sounding.curvature.setting import Subject, without_hooks


def weighted(subject: Subject, products: list[Product], parts: list[Piece]) -> Product:
    """(k, n) -> (k, n): the sum over the pieces, each with its weight.

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
