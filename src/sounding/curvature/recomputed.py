"""Kept graphs of which a part is computed anew in every product, as activations are checkpointed.

A checkpoint (torch.utils.checkpoint) puts hooks on what autograd saves; they run the forward pass
of its part again, in whatever state the model is in by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch.autograd.graph import saved_tensors_hooks

from sounding.curvature.setting import Subject

Product = Callable[[torch.Tensor], torch.Tensor]


class Packing:
    """What hooks on saved tensors there were while a graph was built.

    Attributes:
        seen: Whether there were any.
        depth: How many there are now.
    """

    def __init__(self) -> None:
        self.seen, self.depth = False, 0


@contextlib.contextmanager
def packing() -> Iterator[Packing]:
    """Watches for hooks on saved tensors that are put on inside."""
    found, kind = Packing(), cast(Any, saved_tensors_hooks)
    enter, leave = kind.__enter__, kind.__exit__

    def entered(hooks: Any) -> Any:
        found.seen, found.depth = True, found.depth + 1
        return enter(hooks)

    def left(hooks: Any, *raised: Any) -> Any:
        found.depth -= 1
        return leave(hooks, *raised)

    kind.__enter__, kind.__exit__ = entered, left
    try:
        yield found
    finally:
        kind.__enter__, kind.__exit__ = enter, leave


def recomputed(subject: Subject, product: Product, packed: Packing) -> Product:
    """`product`; where `packed` has seen hooks, its passes run as the first one did.

    That is of the same function, after which the model is given back.
    """
    if not packed.seen:
        return product

    def apply(block: torch.Tensor) -> torch.Tensor:
        with subject.prepared(), torch.no_grad():
            return product(block)

    return apply
