"""The losses that a script computes without gradients: what it knows of held-out samples."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from sounding.capture.losses import elements
from sounding.capture.operations import argument

NAMES = (
    *("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div"),
)

Hear = Callable[[str, torch.Tensor, int], None]  # its name, its mean over the elements, the block


class Scoring:
    """Tells `hear` of torch's usual losses while a block without gradients runs.

    The functions are exchanged for the time of the block only, so that nothing of a training step,
    compiled or not, ever meets one of ours. No value is waited for.
    """

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._block = 0
        self._inside = False  # torch calls a loss by its name again inside of a mode
        self._own: dict[str, tuple[Any, Any]] = {}  # the functions that were there, and ours

    def begin(self) -> None:
        """A block without gradients begins."""
        self._block += 1
        table = functional.__dict__
        for name in NAMES:
            known = self._own.get(name)
            if known is None or known[0] is not table[name]:
                known = self._own[name] = table[name], self._heard(name, table[name])
            table[name] = known[1]

    def end(self) -> None:
        """It ends; a function that somebody else has put in place meanwhile stays."""
        table = functional.__dict__
        for name, (original, ours) in self._own.items():
            if table[name] is ours:
                table[name] = original

    def _heard(self, name: str, original: Callable) -> Callable:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or self._inside or torch.is_grad_enabled():
                return original(*args, **kwargs)
            self._inside = True
            try:
                value = original(*args, **kwargs)
            finally:
                self._inside = False
            if isinstance(value, torch.Tensor) and value.numel():
                self._hear(name, _mean(name, args, kwargs, value), self._block)
            return value

        return call


def _mean(name: str, args: Any, kwargs: Any, value: torch.Tensor) -> torch.Tensor:
    """() the loss as a mean, whatever the reduction."""
    if value.dim():
        return value.mean()
    output = argument("input", 0, None, args, kwargs)
    target = argument("target", 1, None, args, kwargs)
    if kwargs.get("reduction") == "sum" and isinstance(target, torch.Tensor):
        return value / elements(name, output, target)
    return value
