"""The list of remedies: which there are, what each touches, and what it has to be given."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from sounding.remedies import (
    architecture,
    batch_norm,
    finetune,
    gradients,
    inputs,
    norms,
    optimisers,
    outputs,
    rate,
    saddles,
    weights,
)
from sounding.remedies.remedy import Argument, Remedy

GIVEN = ("model", "trace", "forward", "compare", "optimizer")  # what is no argument of a remedy

_LISTED: dict[str, tuple[Callable[..., None], ...]] = {
    "recipe": (
        rate.scale_lr,
        rate.warm_up,
        rate.hold_lr,
        optimisers.set_momentum,
        optimisers.set_weight_decay,
        optimisers.no_decay_on,
        optimisers.set_epsilon,
        optimisers.decouple_decay,
        optimisers.change_optimiser,
        gradients.clip_norm,
        gradients.clip_value,
        gradients.clip_units,
        gradients.divide_gradients,
        gradients.zero_gradients,
        finetune.freeze,
        finetune.linear_probe_then_finetune,
        finetune.discriminative_lr,
        finetune.gradual_unfreezing,
        batch_norm.freeze_norm,
        saddles.escape,
    ),
    "weights": (
        weights.reinitialise,
        weights.data_driven_init,
        outputs.set_output_bias,
        outputs.scale_last_layer,
        outputs.scale_embeddings,
        batch_norm.recalibrate_statistics,
    ),
    "architecture": (
        architecture.change_activation,
        architecture.add_activations,
        architecture.remove_output_activation,
        architecture.set_dropout,
        norms.insert_norm,
        norms.exchange_norm,
        batch_norm.fold_batch_norm,
        inputs.standardise_inputs,
        outputs.scale_output,
        outputs.standardise_targets,
    ),
}
REMEDIES = {function.__name__: function for listed in _LISTED.values() for function in listed}
TOUCHES = {function.__name__: touched for touched, listed in _LISTED.items() for function in listed}


def prescribe(name: str, **arguments: Argument) -> Remedy:
    """The remedy of that name, with what it touches; names and arguments are checked.

    >>> prescribe("scale_lr", factor=0.1).touches
    'recipe'

    Raises:
        ValueError: If there is no such remedy, or it has no such argument.
    """
    remedy = Remedy(name=name, arguments=arguments, touches=TOUCHES.get(name, ""))
    check(remedy)
    return remedy


def check(remedy: Remedy) -> None:
    """Whether there is such a remedy, with such arguments.

    Raises:
        ValueError: If there is not; says what there is.
    """
    if remedy.name not in REMEDIES:
        near = difflib.get_close_matches(remedy.name, REMEDIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(REMEDIES)}"
        raise ValueError(f"no remedy is called {remedy.name!r}{hint}")
    known = {name for name in _parameters(remedy) if name not in GIVEN}
    if unknown := set(remedy.arguments) - known:
        takes = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{remedy.name} has no argument {min(unknown)!r}; it takes {takes}")


def needs(remedy: Remedy) -> set[str]:
    """What the remedy's function has to be given, out of GIVEN."""
    return {name for name in _parameters(remedy) if name in GIVEN}


def filled(remedy: Remedy) -> dict[str, Any]:
    """All of the remedy's arguments, with the values of those that are not given."""
    parameters = inspect.signature(REMEDIES[remedy.name]).parameters.items()
    known = {name: p.default for name, p in parameters if name not in GIVEN}
    return {**known, **remedy.arguments}


def _parameters(remedy: Remedy) -> list[str]:
    return list(inspect.signature(REMEDIES[remedy.name]).parameters)
