"""The losses that a script computes without gradients: what it knows of held-out samples."""

from __future__ import annotations

import functools
import operator
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
PICK = operator.itemgetter(*NAMES)

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
        self._there: tuple[Callable, ...] = ()  # the functions that were there, and ours for them
        self._ours: tuple[Callable, ...] = ()

    def begin(self) -> None:
        """A block without gradients begins."""
        self._block += 1
        there = PICK(functional.__dict__)
        if there != self._there:
            self._there = there
            self._ours = tuple(map(self._heard, NAMES, there))
        functional.__dict__.update(zip(NAMES, self._ours, strict=True))

    def end(self) -> None:
        """It ends; a function that somebody else has put in place meanwhile stays."""
        now = PICK(functional.__dict__)
        left = self._there
        if now != self._ours:
            every = zip(now, self._ours, self._there, strict=False)
            left = [there if one is ours else one for one, ours, there in every]
        functional.__dict__.update(zip(NAMES, left, strict=False))

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
