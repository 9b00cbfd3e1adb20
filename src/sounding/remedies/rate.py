"""Remedies for the learning rate. What a script or a schedule sets is multiplied, never lost."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from sounding.remedies.live import Group, steps_of


def scale_lr(optimizer: Optimizer, *, factor: float = 0.1) -> None:
    """Every learning rate times `factor`, at every step, on top of any schedule.

    Touches the recipe. Where training is unstable, gradient descent needs a learning rate below
    2 / sharpness (Cohen et al. 2021); where it is slow, a larger one.

    Raises:
        ValueError: If `factor` is not positive and finite.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"factor is {factor!r}; it must be positive and finite")
    scale_rates(optimizer, lambda _: factor)


def warm_up(optimizer: Optimizer, *, steps: int = 100) -> None:
    """The learning rate rises linearly over the first `steps` steps: times (step + 1) / steps.

    Touches the recipe, on top of any schedule. Goyal et al. 2017 for large batches; for Adam,
    whose first second moments are noise, Liu et al. 2020, and Ma and Yarats 2021, who propose
    2 / (1 - beta2) steps.

    Raises:
        ValueError: If `steps` is not at least 1.
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """
    if steps < 1:
        raise ValueError(f"steps is {steps!r}; a warm-up needs at least one")
    scale_rates(optimizer, lambda count: min(1.0, (count + 1) / steps))


def hold_lr(optimizer: Optimizer) -> None:
    """The learning rate never falls: each group keeps the largest one that it has had.

    Touches the recipe. Undoes a schedule that ends too early (a scheduler for epochs that is called
    at every batch); a warm-up stays.

    Raises:
        NotApplicable: If the optimiser searches for its steps itself (L-BFGS).
    """

    def hold(group: Group, own: Group, _: int) -> list[Group]:
        own["held_lr"] = max(own.get("held_lr", 0.0), float(group["lr"]))
        return [{**group, "lr": own["held_lr"]}]

    steps_of(optimizer).edits.append(hold)


def scale_rates(optimizer: Optimizer, factor) -> None:
    """Every learning rate times `factor` of the number of steps so far."""
    steps_of(optimizer).edits.append(
        lambda group, _, count: [{**group, "lr": group["lr"] * factor(count)}]
    )
