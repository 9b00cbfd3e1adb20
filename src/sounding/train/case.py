"""What is examined, trained and compared: a network, its loss, its data, its recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.train.batches import check_batches, draw
from sounding.train.recipe import Recipe

Metric = Callable[[nn.Module], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Case:
    """Everything that a training run needs but its seed.

    >>> import torch
    >>> x = torch.randn(32, 4)
    >>> build = lambda: nn.Linear(4, 1)
    >>> case = Case(build, nn.functional.mse_loss, (x, x[:, :1]), Recipe(lr=0.1))
    >>> case.recipe.lr
    0.1

    Attributes:
        build: Makes a new network; called once a seed, after torch, numpy and Python are seeded.
        loss: A function of (output, target), or an Objective of (model, batch).
        batches: A pair (x, y) of tensors, the whole data set, drawn in shuffled mini-batches of
            `recipe.batch_size`; or any collection of batches that can be read again and again (a
            list, a DataLoader), cycled through as it is.
        recipe: How it is trained.
        metric: Numbers by name, measured on the trained network, in eval mode and without
            gradients. More counts as better, unless the name says loss, error or perplexity.
        name: What reports call it.
    """

    build: Callable[[], nn.Module]
    loss: Loss | Objective
    batches: Any
    recipe: Recipe
    metric: Metric | None = dataclasses.field(default=None, kw_only=True)
    name: str = dataclasses.field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.build, nn.Module) or not callable(self.build):
            raise TypeError(
                f"build is a {type(self.build).__name__}; pass a function that makes a new network "
                "each time it is called, for example lambda: Net()"
            )
        if not isinstance(self.recipe, Recipe):
            raise TypeError(
                f"recipe is a {type(self.recipe).__name__}; pass for example "
                "sounding.Recipe(lr=0.1)"
            )
        as_objective(self.loss)
        check_batches(self.batches)

    def replace(self, **changes: Any) -> Case:
        """A copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)


def first_batch(case: Case, seed: int = 0) -> Batch:
    """The batch of step 0 of the run with `seed`."""
    return next(draw(case.batches, case.recipe.batch_size, seed))
