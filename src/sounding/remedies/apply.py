"""Apply a remedy: to a model in place, or to a case, whose builds are treated from then on."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from sounding.capture.keep import given_back
from sounding.capture.recorder import Node, Recorder
from sounding.objective import as_objective
from sounding.remedies.architecture import change_activation, insert_norm
from sounding.remedies.remedy import Remedy
from sounding.remedies.weights import data_driven_init, reinitialise
from sounding.train.case import Case, first_batch

REMEDIES: dict[str, Callable[..., None]] = {
    "reinitialise": reinitialise,
    "data_driven_init": data_driven_init,
    "change_activation": change_activation,
    "insert_norm": insert_norm,
}


def treat(remedy: Remedy, model: nn.Module, forward: Callable[[], Any]) -> None:
    """Apply `remedy` to `model` in place; `forward` runs the model once on a batch.

    Random weights are drawn from torch's global generator. Parameters that stay keep their
    identity; new ones (of inserted layers) must be handed to the optimiser by the caller.

    Raises:
        ValueError: If the remedy's name or an argument is unknown.
        NotApplicable: If the remedy has no meaning for this model.
    """
    if remedy.name not in REMEDIES:
        near = difflib.get_close_matches(remedy.name, REMEDIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(REMEDIES)}"
        raise ValueError(f"no remedy is called {remedy.name!r}{hint}")

    def run() -> None:
        with torch.no_grad(), given_back(model):
            forward()

    def trace() -> list[Node]:
        recorder = Recorder(model)
        with torch.enable_grad(), given_back(model), recorder.watching():
            forward()
        return recorder.nodes

    function = REMEDIES[remedy.name]
    known = set(inspect.signature(function).parameters) - {"model", "trace", "forward"}
    if unknown := set(remedy.arguments) - known:
        takes = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{remedy.name} has no argument {min(unknown)!r}; it takes {takes}")
    extra = {"forward": run} if function is data_driven_init else {}
    function(model, trace, **extra, **remedy.arguments)


def apply(remedy: Remedy | Iterable[Remedy], case: Case) -> Case:
    """A copy of `case` whose every build is treated; the given case is left alone.

    The treatment is tried on one build at once, so that a remedy which does not fit says so here.

    Raises:
        NotApplicable: If the remedy has no meaning for this case.
    """
    remedies = (remedy,) if isinstance(remedy, Remedy) else tuple(remedy)
    batch = first_batch(case)

    def build() -> nn.Module:
        model = case.build()
        objective = as_objective(case.loss)
        for one in remedies:
            treat(one, model, lambda: objective(model, batch))
        return model

    treated = dataclasses.replace(case, build=build)
    with given_back():
        treated.build()
    return treated
