"""Optimiser steps of many runs at once, each with its own settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sounding.train.recipe import Recipe, lr_factor, make_optimiser
from sounding.train.stack import Stack

FUSED = ("sgd", "adam", "adamw")
IMPLEMENTATION = ("fused", "foreach", "capturable", "differentiable")  # options that choose one


@dataclasses.dataclass
class _Block:
    """Runs with the same recipe, neighbours in the stack, and their optimiser.

    An optimiser known by name treats every number alone, so that it does to the stacked parameters
    of several runs what it would do to each of them.
    """

    recipe: Recipe
    first: int
    count: int
    optimiser: torch.optim.Optimizer
    parameter: nn.Parameter


class StackedOptimisers:
    """The optimisers of a stack; equal recipes must be neighbours."""

    def __init__(self, stack: Stack, recipes: Sequence[Recipe], steps: int) -> None:
        self.stack, self.steps = stack, steps
        self.recipes = list(recipes)
        self.blocks: list[_Block] = []
        first = 0
        for at, recipe in enumerate(recipes):
            if at + 1 == len(recipes) or recipes[at + 1] != recipe:
                parameter = _rows(stack, first, at + 1 - first)
                optimiser = make_optimiser(_fused(recipe), [parameter])
                self.blocks.append(_Block(recipe, first, at + 1 - first, optimiser, parameter))
                first = at + 1
        self._limits()

    def step(self, step: int) -> None:
        """Move every run along its gradient, clipped if its recipe wants that."""
        self._clip()
        for block in self.blocks:
            recipe = block.recipe
            assert recipe.lr is not None
            block.optimiser.param_groups[0]["lr"] = recipe.lr * lr_factor(recipe, step, self.steps)
            block.optimiser.step()

    def keep(self, runs: torch.Tensor) -> None:
        """Go on with some of the runs, after the stack itself was told so."""
        kept, first = [], 0
        for block in self.blocks:
            mask = runs[block.first : block.first + block.count]
            count = int(mask.sum())
            if count:
                parameter = _rows(self.stack, first, count)
                _exchange(block.optimiser, block.parameter, parameter, mask)
                kept.append(
                    dataclasses.replace(block, first=first, count=count, parameter=parameter)
                )
            first += count
        self.blocks = kept
        self.recipes = [recipe for recipe, stays in zip(self.recipes, runs, strict=True) if stays]
        self._limits()

    def _limits(self) -> None:
        """The largest norms, (R, 1); None where nothing is clipped."""
        clips = [recipe.clip for recipe in self.recipes]
        rows = self.stack.rows
        self._clips = None
        if any(clip is not None for clip in clips):
            column = [torch.inf if clip is None else clip for clip in clips]
            self._clips = torch.tensor(column, dtype=rows.dtype, device=rows.device)[:, None]

    def _clip(self) -> None:
        """As ``torch.nn.utils.clip_grad_norm_``."""
        if self._clips is None:
            return
        gradients = self.stack.gradients
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        factors = (self._clips / (norms + 1e-6)).clamp(max=1.0)
        gradients.mul_(factors.where(self._clips.isfinite(), 1.0))


def _fused(recipe: Recipe) -> Recipe:
    """With torch's fused step, one pass over the numbers, where there is one."""
    if recipe.optimiser not in FUSED or set(recipe.options) & set(IMPLEMENTATION):
        return recipe
    return recipe.replace(options={**recipe.options, "fused": True})


def _rows(stack: Stack, first: int, count: int) -> nn.Parameter:
    parameter = nn.Parameter(stack.rows[first : first + count])
    parameter.grad = stack.gradients[first : first + count]
    return parameter


def _exchange(
    optimiser: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter, runs: torch.Tensor
) -> None:
    """Let `optimiser` go on with `new`, which holds these rows of `old`."""
    optimiser.param_groups[0]["params"] = [new]
    state = optimiser.state.pop(old, {})

    def kept(value: Any) -> Any:
        whole = isinstance(value, torch.Tensor) and value.shape == old.shape
        return value[runs.to(value.device)] if whole else value

    optimiser.state[new] = {name: kept(value) for name, value in state.items()}
