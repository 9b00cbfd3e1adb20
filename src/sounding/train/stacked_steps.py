"""Optimiser steps of many runs at once, each with its own settings.

Letters: R runs, P trainable parameters of one network.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sounding.train.recipe import Recipe, lr_factor, make_optimiser
from sounding.train.stack import Stack

FUSED = ("sgd", "adam", "adamw")
IMPLEMENTATION = ("fused", "foreach", "capturable", "differentiable")  # options that choose one


def in_blocks(recipes: Sequence[Recipe]) -> list[int]:
    """The numbers of `recipes`, in an order in which those with one optimiser are neighbours."""
    return sorted(range(len(recipes)), key=lambda n: (repr(_unit(recipes[n])), repr(recipes[n])))


def _unit(recipe: Recipe) -> Recipe:
    """With learning rate 1, and without what only changes it or the gradient."""
    return recipe.replace(lr=1.0, schedule="constant", warmup=0, clip=None)


@dataclasses.dataclass
class _Block:
    """Neighbours in the stack whose optimisers differ in the learning rate at most.

    An optimiser known by name treats every number alone, so that it does to the stacked parameters
    of several runs what it would do to each of them. And its step is proportional to the learning
    rate: with other rates it takes a step of rate 1, of which every run goes its share.
    """

    runs: slice
    optimiser: torch.optim.Optimizer
    parameter: nn.Parameter

    def step(self, rates: torch.Tensor) -> None:
        """A step with these learning rates, (R,) in float64 on the CPU."""
        (group,) = self.optimiser.param_groups
        same = bool((rates == rates[0]).all())
        group["lr"] = rates[0].item() if same else 1.0
        before = None if same else self.parameter.detach().clone()
        self.optimiser.step()
        if before is not None:
            share = rates[:, None].to(before)
            with torch.no_grad():
                torch.lerp(before, self.parameter, share, out=self.parameter)


class StackedOptimisers:
    """The optimisers of a stack, whose recipes must come in the order of :func:`in_blocks`."""

    def __init__(self, stack: Stack, recipes: Sequence[Recipe], steps: int) -> None:
        self.stack = stack
        self.rates = torch.stack([_rates(recipe, steps) for recipe in recipes], 1)  # (steps, R)
        self._clips = _clips(recipes).to(stack.rows)
        self.blocks: list[_Block] = []
        for unit, members in itertools.groupby(recipes, _unit):
            runs = slice(self._end(), self._end() + len(list(members)))
            parameter = _rows(stack, runs)
            optimiser = make_optimiser(_fused(unit), [parameter])
            self.blocks.append(_Block(runs, optimiser, parameter))

    def _end(self) -> int:
        return self.blocks[-1].runs.stop if self.blocks else 0

    def step(self, step: int) -> None:
        """Move every run along its gradient, clipped if its recipe wants that."""
        if self._clips.isfinite().any():
            self._clip()
        for block in self.blocks:
            block.step(self.rates[step, block.runs])

    def _clip(self) -> None:
        """As ``torch.nn.utils.clip_grad_norm_``."""
        gradients = self.stack.gradients
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        factors = (self._clips / (norms + 1e-6)).clamp(max=1.0)
        gradients.mul_(factors.where(self._clips.isfinite(), 1.0))

    def keep(self, runs: torch.Tensor) -> None:
        """Go on with some of the runs, after the stack itself was told so."""
        self.rates, self._clips = self.rates[:, runs], self._clips[runs]
        old, self.blocks = self.blocks, []
        for block in old:
            mask = runs[block.runs]
            if mask.any():
                rows = slice(self._end(), self._end() + int(mask.sum()))
                parameter = _rows(self.stack, rows)
                _exchange(block.optimiser, block.parameter, parameter, mask)
                self.blocks.append(_Block(rows, block.optimiser, parameter))


def _rates(recipe: Recipe, steps: int) -> torch.Tensor:
    """The learning rate at every step, (steps,)."""
    assert recipe.lr is not None
    factors = [lr_factor(recipe, step, steps) for step in range(steps)]
    return torch.tensor([recipe.lr * factor for factor in factors], dtype=torch.float64)


def _clips(recipes: Sequence[Recipe]) -> torch.Tensor:
    """The largest norms of the gradients, (R, 1); infinite where nothing is clipped."""
    limits = [[torch.inf if recipe.clip is None else recipe.clip] for recipe in recipes]
    return torch.tensor(limits, dtype=torch.float64)


def _fused(recipe: Recipe) -> Recipe:
    """With torch's fused step, one pass over the numbers, where there is one."""
    if recipe.optimiser not in FUSED or set(recipe.options) & set(IMPLEMENTATION):
        return recipe
    return recipe.replace(options={**recipe.options, "fused": True})


def _rows(stack: Stack, runs: slice) -> nn.Parameter:
    parameter = nn.Parameter(stack.rows[runs])
    parameter.grad = stack.gradients[runs]
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
