"""A remedy for trainings that stand still at a saddle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim import Optimizer

from sounding.remedies.live import held, steps_of

LAST = "perturbed_at"  # kept in the first group, so it is saved and restored with the others


def escape(
    optimizer: Optimizer,
    *,
    radius: float = 0.1,
    gradient_threshold: float = 1e-3,
    interval: int = 50,
) -> None:
    """Noise from a ball is added to the parameters after a step whose gradient was small.

    Touches the recipe. Perturbed gradient descent (Jin et al. 2017, "How to escape saddle points
    efficiently"), for any optimiser: where the gradient's norm is at most `gradient_threshold` and
    there was no noise in the last `interval` steps, a point drawn uniformly from the ball of
    `radius` is added. At a minimum the steps behind it bring the parameters back. The noise depends
    on the number of steps alone, so a training that is resumed goes on with the same.

    Raises:
        ValueError: If a number is not positive.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    for name, number in (("radius", radius), ("gradient_threshold", gradient_threshold)):
        if not number > 0:
            raise ValueError(f"{name} is {number!r}; it must be positive")
    if interval < 1:
        raise ValueError(f"interval is {interval!r}; it is a number of steps, 1 at least")
    steps = steps_of(optimizer)

    @torch.no_grad()
    def perturb(optimizer: Optimizer) -> None:
        group, count = optimizer.param_groups[0], steps.count(optimizer)
        moving = [p for p in held(optimizer) if p.grad is not None]
        if not moving or count - group.get(LAST, -interval) < interval:
            return
        sizes = torch.stack([torch.linalg.vector_norm(p.grad).to("cpu") for p in moving])
        if float(sizes.norm()) > gradient_threshold:
            return
        group[LAST] = count
        for p, part in zip(moving, ball(moving, radius, count), strict=True):
            p += part.to(p.device, p.dtype)

    steps.after.append(perturb)


def ball(like: Sequence[torch.Tensor], radius: float, seed: int) -> list[torch.Tensor]:
    """A point drawn uniformly from a ball, in parts shaped like these tensors."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(p.shape, generator=generator) for p in like]
    norm = torch.stack([torch.linalg.vector_norm(part) for part in parts]).norm()
    share = torch.rand((), generator=generator) ** (1 / sum(part.numel() for part in parts))
    return [radius * share / norm * part for part in parts]
