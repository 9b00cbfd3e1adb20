"""How a network is trained: optimiser, learning rate, schedule, warm-up, clipping, batches."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

MakeOptimiser = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Schedule = Callable[[int, int], float]  # (step, steps) -> factor on the learning rate

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
WITH_MOMENTUM = ("sgd", "rmsprop")
SCHEDULES = ("constant", "cosine", "linear")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a case is trained.

    >>> Recipe(lr=0.1, momentum=0.9).replace(lr=0.01).lr
    0.01

    Attributes:
        optimiser: A name out of `OPTIMISERS` with torch's defaults, or a function of the list of
            trainable parameters that returns a ``torch.optim.Optimizer``.
        lr: Learning rate. Needed, unless `optimiser` is a function; there it overrides.
        momentum: For 'sgd' and 'rmsprop'.
        weight_decay: As the optimiser means it: an L2 term, decoupled for 'adamw'.
        options: What else torch's optimiser of this name takes: {'betas': (0.8, 0.999)}.
        schedule: 'constant'; 'cosine' and 'linear' fall to zero over the steps after the warm-up;
            or a function of (step, steps) that returns a factor on `lr`.
        warmup: Steps over which the factor first rises linearly to 1.
        clip: Largest 2-norm of the whole gradient; None: not clipped.
        batch_size: Of mini-batches drawn from a pair of tensors; None: all of it every step.
        steps: Optimiser steps of one run.
    """

    optimiser: str | MakeOptimiser = "sgd"
    lr: float | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    schedule: str | Schedule = "constant"
    warmup: int = 0
    clip: float | None = None
    batch_size: int | None = 128
    steps: int = 300

    def __post_init__(self) -> None:
        _check_name("optimiser", self.optimiser, OPTIMISERS, "parameters")
        _check_name("schedule", self.schedule, SCHEDULES, "(step, steps)")
        _check_lr(self)
        _check_momentum(self)
        _check_amount("weight_decay", self.weight_decay, "0 switches it off")
        _check_options(self)
        check_count("warmup", self.warmup, 0)
        check_count("steps", self.steps, 1)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size, 1)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(
                f"clip is {self.clip!r}; give a positive norm, or None to clip nothing"
            )

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)


def make_optimiser(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of `recipe` for the trainable ones of `parameters`.

    Raises:
        ValueError: If it needs several evaluations a step, as L-BFGS does.
    """
    trainable = [p for p in parameters if p.requires_grad]
    if callable(recipe.optimiser):
        optimiser = recipe.optimiser(trainable)
        if isinstance(optimiser, torch.optim.LBFGS):
            raise ValueError("L-BFGS needs several losses a step; use another optimiser")
        if recipe.lr is not None:
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr
        return optimiser
    momentum = {"momentum": recipe.momentum} if recipe.optimiser in WITH_MOMENTUM else {}
    make = OPTIMISERS[recipe.optimiser]
    given = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, **momentum}
    return make(trainable, **given, **recipe.options)


def lr_factor(recipe: Recipe, step: int, steps: int) -> float:
    """The factor on the learning rate at `step` (from 0) of a run of `steps`.

    The warm-up factor is (step + 1) / warmup, so that the first step already moves; the schedule
    then runs over the remaining steps, as torch's ``CosineAnnealingLR`` and ``LinearLR`` do.
    """
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if callable(recipe.schedule):
        return recipe.schedule(step, steps)
    passed = (step - recipe.warmup) / max(1, steps - recipe.warmup)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * passed))
    return 1 - passed if recipe.schedule == "linear" else 1.0


def _check_name(field: str, value: Any, names: Iterable[str], arguments: str) -> None:
    if callable(value) or (isinstance(value, str) and value in set(names)):
        return
    near = difflib.get_close_matches(str(value), list(names), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"{field} {value!r} is not known; {hint}use one of {_listed(list(names))}, "
        f"or a function of {arguments}"
    )


def _check_lr(recipe: Recipe) -> None:
    if recipe.lr is None:
        if not callable(recipe.optimiser):
            raise ValueError("lr is missing; a recipe needs a learning rate, for example lr=0.1")
    elif not 0 < recipe.lr < math.inf:
        raise ValueError(f"lr is {recipe.lr!r}; a learning rate must be positive and finite")


def _check_momentum(recipe: Recipe) -> None:
    if not 0 <= recipe.momentum < 1:
        raise ValueError(f"momentum is {recipe.momentum!r}; it must be at least 0 and below 1")
    if recipe.momentum and recipe.optimiser not in WITH_MOMENTUM:
        raise ValueError(
            f"momentum belongs to {_listed(WITH_MOMENTUM)}; for one of the Adam family give "
            "options={'betas': (0.9, 0.999)}, whose first number is the momentum"
        )


def _check_options(recipe: Recipe) -> None:
    if not recipe.options:
        return
    if callable(recipe.optimiser):
        raise ValueError("options go with an optimiser's name; a function sets its own")
    taken = inspect.signature(OPTIMISERS[recipe.optimiser]).parameters
    allowed = [name for name in taken if name not in ("params", "lr", "momentum", "weight_decay")]
    for name in recipe.options:
        if name not in allowed:
            raise ValueError(
                f"options has {name!r}, which {recipe.optimiser!r} does not take here; it takes "
                f"{_listed(allowed)}"
            )


def _check_amount(field: str, value: float, hint: str) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{field} is {value!r}; it must be finite and not negative ({hint})")


def check_count(field: str, value: int, least: int) -> None:
    """Raise a ValueError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{field} is {value!r}; it must be a whole number of at least {least}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
