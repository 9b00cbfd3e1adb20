"""Remedies for the gradients, between the end of the backward pass and the update."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from sounding.remedies.live import held, steps_of
from sounding.remedies.selection import last_weight
from sounding.remedies.weights import Trace

SMALLEST = 1e-3  # norm that a unit of zeros is taken to have, as in Brock et al. 2021


def clip_norm(optimizer: Optimizer, *, bound: float = 1.0) -> None:
    """The gradient of all parameters together is shortened to 2-norm `bound` where it is longer.

    Touches the recipe. Pascanu et al. 2013: the direction stays. A bound that acts at every step
    sets the learning rate; a quantile of the norms seen so far acts only on the rare large ones.

    Raises:
        ValueError: If `bound` is not positive.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    _positive("bound", bound)
    # Called by its full name at every step, so that whoever watches clipping hears of it.
    steps_of(optimizer).gradients.append(
        lambda optimizer: nn.utils.clip_grad_norm_(_moving(optimizer), bound)
    )


def clip_value(optimizer: Optimizer, *, bound: float = 1.0) -> None:
    """Every entry of the gradient is cut to [-bound, bound].

    Touches the recipe. Unlike `clip_norm` it turns the direction of the step.

    Raises:
        ValueError: If `bound` is not positive.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    _positive("bound", bound)
    steps_of(optimizer).gradients.append(
        lambda optimizer: (
            (moving := _moving(optimizer)) and nn.utils.clip_grad_value_(moving, bound)
        )
    )


def clip_units(
    optimizer: Optimizer, model: nn.Module, trace: Trace, *, factor: float = 0.01
) -> None:
    """A unit's gradient is shortened to `factor` times the norm of the unit's weights.

    Touches the recipe. Adaptive gradient clipping (Brock et al. 2021, "High-performance large-scale
    image recognition without normalization", section 4): a unit is a row of a weight, or a whole
    vector. The last layer is left alone, as there.

    Raises:
        ValueError: If `factor` is not positive.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    _positive("factor", factor)
    own, nodes = dict(model.named_parameters()), trace()
    at = last_weight(nodes)
    last = (nodes[at].weight, nodes[at].bias) if at >= 0 else ()
    spared = {own[name] for name in last if name in own}

    @torch.no_grad()
    def clip(optimizer: Optimizer) -> None:
        for p in _moving(optimizer):
            if p not in spared and p.grad is not None:
                bound = factor * _unit_norms(p).clamp_min(SMALLEST)
                p.grad *= (bound / _unit_norms(p.grad).clamp_min(1e-12)).clamp_max(1.0)

    steps_of(optimizer).gradients.append(clip)


def divide_gradients(optimizer: Optimizer, *, by: float = 2.0) -> None:
    """The gradient is divided by a number before every step.

    Touches the recipe. For gradients that are summed over `by` backward passes whose losses were
    not divided: the step is then that of the mean, whatever the number of passes.

    Raises:
        ValueError: If `by` is not positive.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    _positive("by", by)

    @torch.no_grad()
    def divide(optimizer: Optimizer) -> None:
        for p in _moving(optimizer):
            if p.grad is not None:
                p.grad /= by

    steps_of(optimizer).gradients.append(divide)


def zero_gradients(optimizer: Optimizer) -> None:
    """The gradients are forgotten after every step.

    Touches the recipe. For a loop without `zero_grad`, in which every step repeats all the
    gradients before it. Does nothing in a loop that has it.

    Raises:
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """

    def forget(optimizer: Optimizer) -> None:
        for p in held(optimizer):
            p.grad = None

    steps_of(optimizer).after.append(forget)


def _moving(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters that have a gradient; torch's clipping wants one at least."""
    return [p for p in held(optimizer) if p.grad is not None]


def _unit_norms(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dim() < 2:
        return tensor.norm()
    return tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.dim() - 1))


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; it must be positive and finite")
