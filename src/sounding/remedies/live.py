"""Change what an optimiser does at its steps, while whoever drives it sees it as it was made.

Scripts and schedulers set learning rates in the parameter groups that they know, and go on to do
so. For the time of an update alone the optimiser works on edited copies of these groups. So a
remedy holds whatever kind of schedule there is, and whether it was made before or after.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sounding.result import NotApplicable

Group = dict[str, Any]
Edit = Callable[[Group, Group, int], Iterable[Group]]  # (a copy, the user's own, steps so far)
Act = Callable[[Optimizer], object]

COUNT = "steps_treated"  # kept in the first group, so it is saved and restored with the others
KEPT_AT = "_treated_steps"  # an attribute of the optimiser


class Steps:
    """What is done around every step of one optimiser; see `steps_of`."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.edits: list[Edit] = []  # of the groups, in their order
        self.gradients: list[Act] = []  # once the gradients are complete, before the update
        self.after: list[Act] = []  # when all is over, hooks included
        self.inner: Callable | None = vars(optimizer).get("step")  # of a scheduler; None: the class
        self._depth = 0  # of steps that have begun: one may call that of its parent class
        self._own: list[Group] = []  # while an update runs
        self._parts: list[tuple[Group, Group, Group]] = []  # (the own, its edited copy, as it was)
        optimizer.param_groups[0].setdefault(COUNT, 0)
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._behind)
        optimizer.step = types.MethodType(_wrapped(optimizer.step, self), optimizer)

    def count(self, optimizer: Optimizer) -> int:
        """Steps so far."""
        return optimizer.param_groups[0][COUNT]

    def edited(self, groups: list[Group]) -> Iterator[tuple[Group, Group]]:
        """The user's own groups, each beside the edited copies that stand for it in an update."""
        count = groups[0][COUNT]
        for own in groups:
            parts = [dict(own)]
            for edit in self.edits:
                parts = [new for part in parts for new in edit(part, own, count)]
            yield from ((own, part) for part in parts)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._depth += 1
        if self._depth > 1:
            return None
        self._own = optimizer.param_groups
        self._parts = [(own, part, dict(part)) for own, part in self.edited(self._own)]
        optimizer.param_groups = [part for _, part, _ in self._parts]
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._edit_gradients(optimizer)
            return None

        def evaluated() -> Any:
            loss = closure()
            self._edit_gradients(optimizer)
            return loss

        return (optimizer, evaluated), {}

    def _edit_gradients(self, optimizer: Optimizer) -> None:
        for act in self.gradients:
            act(optimizer)

    def _behind(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._depth -= 1
        if self._depth > 0:
            return
        for own, part, given in self._parts:  # what the optimiser itself writes into a group stays
            own.update({k: v for k, v in part.items() if k != "params" and v is not given.get(k)})
        self.give_back(optimizer)
        optimizer.param_groups[0][COUNT] += 1

    def give_back(self, optimizer: Optimizer) -> None:
        """No step is under way any more."""
        if self._own:
            optimizer.param_groups = self._own
        self._depth, self._own, self._parts = 0, [], []


def steps_of(optimizer: Optimizer) -> Steps:
    """The one place where the steps of `optimizer` are changed.

    Raises:
        NotApplicable: If one of its steps is a search of its own.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise NotApplicable("L-BFGS searches for its steps itself")
    if KEPT_AT not in vars(optimizer):
        vars(optimizer)[KEPT_AT] = Steps(optimizer)
    return vars(optimizer)[KEPT_AT]


def as_stepped(optimizer: Optimizer) -> list[Group]:
    """The parameter groups as the next update sees them; those of an untreated one are its own."""
    steps = vars(optimizer).get(KEPT_AT)
    groups = optimizer.param_groups
    return groups if steps is None else [part for _, part in steps.edited(groups)]


def held(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters that the optimiser moves."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def hand_over(
    optimizers: list[Optimizer], before: Iterable[nn.Parameter], after: Iterable[nn.Parameter]
) -> None:
    """Parameters that a model has lost leave its optimisers; new ones join the largest group.

    They join no group of their own, because schedulers count the groups.
    """
    old, now = set(before), set(after)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["params"] = [p for p in group["params"] if p in now or p not in old]
    new = [p for p in after if p not in old]
    if new and optimizers:
        largest = max(optimizers, key=lambda optimizer: len(held(optimizer)))
        group = max(largest.param_groups, key=lambda group: len(group["params"]))
        group["params"] += new
        if "param_names" in group:
            group["param_names"] = [*group["param_names"], *(f"new {i}" for i in range(len(new)))]


def _wrapped(step: Callable, steps: Steps) -> Callable:
    @functools.wraps(step)  # with the marks of a scheduler that has wrapped it before
    def wrapped(optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        vars(optimizer)["_opt_called"] = True  # schedulers ask for this
        try:
            if steps.inner is None:
                result = type(optimizer).step(optimizer, *args, **kwargs)
            else:
                result = steps.inner(*args, **kwargs)
        finally:
            steps.give_back(optimizer)  # also where it raised
        for act in steps.after:
            act(optimizer)
        return result

    return wrapped
