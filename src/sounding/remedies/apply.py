"""Apply a remedy: to a model or optimiser in place, or to a case, treated from then on."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.keep import given_back
from sounding.capture.losses import Comparison
from sounding.capture.recorder import Node, Recorder
from sounding.objective import Batch, as_objective
from sounding.remedies.live import hand_over, held
from sounding.remedies.registry import REMEDIES, check, needs
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.train.batches import draw
from sounding.train.case import Case
from sounding.train.recipe import make_optimiser

Forward = Callable[[], Any]


def treat(
    remedy: Remedy, model: nn.Module, forward: Forward, optimizer: Optimizer | None = None
) -> None:
    """Apply `remedy` in place, to `model` or to the `optimizer` that is going to train it.

    Random weights are drawn from torch's global generator. Parameters that stay keep their
    identity; new ones (of inserted layers) must be handed to the optimiser by the caller.

    Args:
        remedy: What is applied.
        model: What is changed, or looked at.
        forward: Runs the model once, on another batch each time if it can, up to the loss if that
            is known.
        optimizer: For a remedy of the recipe.

    Raises:
        ValueError: If the remedy's name or an argument is unknown.
        NotApplicable: If the remedy has no meaning for this model or optimiser.
    """
    check(remedy)

    def run() -> None:
        with torch.no_grad(), given_back(model):
            forward()

    def compare() -> tuple[list[Node], Comparison | None]:
        recorder = Recorder(model)
        with torch.enable_grad(), given_back(model), recorder.watching():
            forward()
        return recorder.nodes, recorder.compared

    given = {
        "model": model,
        "trace": lambda: compare()[0],
        "forward": run,
        "compare": compare,
        "optimizer": optimizer,
    }
    wanted = needs(remedy)
    if "optimizer" in wanted and optimizer is None:
        raise NotApplicable("there is no optimiser yet that could be treated")
    REMEDIES[remedy.name](**{name: given[name] for name in wanted}, **remedy.arguments)


def treat_training(
    remedies: Iterable[Remedy],
    model: nn.Module,
    forward: Forward,
    optimizers: Iterable[Optimizer],
) -> None:
    """Apply `remedies` in place to a training that is about to begin.

    First those of the model, whose new parameters are handed to the optimisers that train it, then
    those of the optimisers.

    Raises:
        ValueError: If a remedy's name or an argument is unknown.
        NotApplicable: If a remedy has no meaning for this model, or for any of its optimisers.
    """
    before = list(model.parameters())
    training = [o for o in optimizers if not set(before).isdisjoint(held(o))]
    of_model, of_optimiser = _sorted(remedies)
    for remedy in of_model:
        treat(remedy, model, forward)
    hand_over(training, before, list(model.parameters()))
    for remedy in of_optimiser:
        _treat_any(remedy, model, forward, training)


def apply(remedy: Remedy | Iterable[Remedy], case: Case) -> Case:
    """A copy of `case` whose every build and optimiser is treated; the given case is left alone.

    The treatment is tried at once, so that a remedy which does not fit says so here.

    Raises:
        ValueError: If a remedy's name or an argument is unknown.
        NotApplicable: If a remedy has no meaning for this case.
    """
    of_model, of_optimiser = _sorted((remedy,) if isinstance(remedy, Remedy) else remedy)
    objective, batches = as_objective(case.loss), _Batches(case)
    built: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def forward(model: nn.Module) -> Forward:
        drawn = iter(batches)
        return lambda: objective(model, next(drawn))

    def build() -> nn.Module:
        model = case.build()
        for one in of_model:
            treat(one, model, forward(model))
        built.add(model)
        return model

    def optimiser(parameters: list[nn.Parameter]) -> Optimizer:
        made = make_optimiser(case.recipe, parameters)
        own = set(parameters)
        model = next(model for model in built if not own.isdisjoint(model.parameters()))
        for one in of_optimiser:
            treat(one, model, forward(model), made)
        return made

    recipe = case.recipe
    if of_optimiser:  # what `optimiser` does itself is not done to its result
        recipe = recipe.replace(
            optimiser=optimiser, lr=None, momentum=0.0, weight_decay=0.0, options={}
        )
    treated = dataclasses.replace(case, build=build, recipe=recipe)
    with given_back():
        model = treated.build()
        make_optimiser(recipe, model.parameters())
    return treated


class _Batches:
    """The batches of the run with seed 0, from the first one on, each drawn once."""

    def __init__(self, case: Case) -> None:
        self._source = draw(case.batches, case.recipe.batch_size, 0)
        self._drawn: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        at = 0
        while True:
            if at == len(self._drawn):
                self._drawn.append(next(self._source))
            yield self._drawn[at]
            at += 1


def _sorted(remedies: Iterable[Remedy]) -> tuple[list[Remedy], list[Remedy]]:
    """Those of the model and those of its optimiser, in their order."""
    found: tuple[list[Remedy], list[Remedy]] = ([], [])
    for remedy in remedies:
        check(remedy)
        found["optimizer" in needs(remedy)].append(remedy)
    return found


def _treat_any(
    remedy: Remedy, model: nn.Module, forward: Forward, optimizers: list[Optimizer]
) -> None:
    """Treat all optimisers for which the remedy has a meaning.

    Raises:
        NotApplicable: If there is none.
    """
    refused: list[NotApplicable] = []
    for optimizer in optimizers:
        try:
            treat(remedy, model, forward, optimizer)
        except NotApplicable as reason:
            refused.append(reason)
    if len(refused) == len(optimizers):
        raise refused[0] if refused else NotApplicable("no optimiser trains the model yet")
