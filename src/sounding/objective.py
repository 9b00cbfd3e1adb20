"""The scalar that is minimised, as a function of a model and a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Loss = Callable[[Any, Any], torch.Tensor]  # (output, target) -> scalar
Batch = Any  # usually a pair (input, target)


class Objective:
    """A scalar function of (model, batch).

    ``Objective(function)`` takes any function of (model, batch); :func:`as_objective` makes one of
    an ordinary loss of (output, target).
    """

    def __init__(self, function: Callable[[nn.Module, Batch], torch.Tensor]) -> None:
        self.function = function

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of `model` on `batch`: a tensor with one element, with its graph."""
        return self.function(model, batch)


class _OutputLoss(Objective):
    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, target = _pair(batch)
        output = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        return self.loss(output, target)


def as_objective(loss: Loss | Objective) -> Objective:
    """`loss` as an Objective; a plain loss is called as ``loss(model(input), target)``.

    Raises:
        TypeError: If `loss` cannot be called.
    """
    if isinstance(loss, Objective):
        return loss
    if not callable(loss):
        raise TypeError(
            f"loss is a {type(loss).__name__}; pass a function of (output, target) such as "
            "torch.nn.functional.cross_entropy, or sounding.Objective(function of model and batch)"
        )
    return _OutputLoss(loss)


def check_scalar(loss: Any) -> torch.Tensor:
    """`loss` if it is one real number that depends on something trainable.

    Raises:
        ValueError: If it is not a tensor, not a scalar, or has no gradient; says what to do.
    """
    if not isinstance(loss, torch.Tensor):
        raise ValueError(f"the loss is a {type(loss).__name__}, but it must be a torch tensor")
    if loss.numel() != 1:
        raise ValueError(
            f"the loss has shape {tuple(loss.shape)}, but one number is needed; reduce it, "
            "for example with reduction='mean' or .mean()"
        )
    if not loss.requires_grad:
        raise ValueError(
            "the loss does not depend on any trainable parameter; check for .detach(), .item(), "
            "torch.no_grad() or requires_grad=False between the parameters and the loss"
        )
    return loss


def _pair(batch: Batch) -> tuple[Any, Any]:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, target = batch
        return (inputs if isinstance(inputs, tuple | list | dict) else (inputs,)), target
    raise ValueError(
        "a batch must be a pair (input, target); for anything else pass "
        "sounding.Objective(lambda model, batch: ...) as the loss"
    )
