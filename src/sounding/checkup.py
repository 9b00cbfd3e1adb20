"""Examine a model on one batch, or a case over its training: what is wrong, where, what to do."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import nn

from sounding.capture.passes import record
from sounding.exam import Checkup, judged
from sounding.measure.examination import readings
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.rules import RULES, Rule
from sounding.train import Case, Progress, first_batch, make_optimiser, seeded, silent, train
from sounding.train.inputs import check_model, check_numbers, explained
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer


class _Asked(NamedTuple):
    """Which rules are asked."""

    rules: tuple[Rule, ...]
    ignore: tuple[str, ...]


def checkup(
    model: nn.Module | Case,
    loss: Loss | Objective | None = None,
    batch: Batch | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    deep: bool = False,
    seed: int = 0,
    steps: int | None = None,
    rules: tuple[Rule, ...] = RULES,
    ignore: tuple[str, ...] = (),
    subject: str = "",
    progress: Progress = silent,
) -> Checkup:
    """Examine `model` on one batch, or a whole case; nothing about it is changed.

    One recorded forward and backward pass, in the mode (training or evaluation) that the model is
    in, and a few milliseconds of arithmetic: at most three plain passes in all for nets whose
    step takes 10 ms or more. With ``deep=True`` a case is trained instead, and watched: rules about
    the loop, the data, the rate and the loss over time speak too, and suspicions are decided by
    tests. That takes one training and, after it, at most about a minute.

    Args:
        model: Any module; a compiled one runs uncompiled for this pass. Or a :class:`Case`, which
            knows loss, batches and optimiser itself.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batch: A pair (input, target); 32 samples or more let every rule speak.
        optimizer: Where given, its kind and learning rate are read.
        deep: Train the case and examine the training. A model by itself cannot be begun again.
        seed: Of a case's weights and batches.
        steps: Of a deep examination; None: those of the case's recipe.
        rules: What to look for; add your own with ``(*sounding.RULES, mine)``.
        ignore: Codes of rules to leave out.
        subject: How the report calls what was examined.
        progress: Told of the training and of the tests.

    Raises:
        ValueError: If the model has nothing to train, the batch does not fit, or the loss is not
            one number; the sentence says what to do.
        TypeError: If a model comes without loss and batch, a case with them, or ``deep=True``
            without a case.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> batch = torch.randn(32, 4), torch.randint(0, 3, (32,))
        >>> checkup(net, nn.functional.cross_entropy, batch).findings
        ()
    """
    asked = _Asked(rules, ignore)
    if isinstance(model, Case):
        if loss is not None or batch is not None or optimizer is not None:
            raise TypeError("a case knows its loss, batches and optimiser; pass the case alone")
        name = subject or model.name
        if deep:
            return _trained(model, seed, steps, name, progress, asked)
        return _built(model, seed, name, asked)
    if loss is None or batch is None:
        raise TypeError("pass checkup(model, loss, batch), or checkup(case)")
    if deep:
        raise TypeError(
            "deep=True trains the network anew, which needs a sounding.Case; for a loop of your "
            "own use sounding.watch, for a script `sounding run`"
        )
    return _on_a_batch(model, loss, batch, optimizer, subject, asked)


def _on_a_batch(
    model: nn.Module,
    loss: Loss | Objective,
    batch: Batch,
    optimizer: torch.optim.Optimizer | None,
    subject: str,
    asked: _Asked,
) -> Checkup:
    start = time.perf_counter()
    objective = as_objective(loss)
    check_model(model)
    check_numbers(batch)

    def compute() -> torch.Tensor:
        with explained(model, batch):
            return objective(model, batch)

    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    module = getattr(objective, "loss", None)
    also = (module,) if isinstance(module, nn.Module) else ()
    taken = readings(model, record(model, compute, inputs, also=also), optimizer=optimizer)
    return judged(taken, rules=asked.rules, ignore=asked.ignore, subject=subject, start=start)


def _built(case: Case, seed: int, subject: str, asked: _Asked) -> Checkup:
    """The network of a case as it is before the first step; the random state is given back."""
    with seeded(seed):
        model = case.build()
        check_model(model)
        optimiser = make_optimiser(case.recipe, model.parameters())
        batch = first_batch(case, seed)
        return _on_a_batch(model, case.loss, batch, optimiser, subject, asked)


def _trained(
    case: Case, seed: int, steps: int | None, subject: str, progress: Progress, asked: _Asked
) -> Checkup:
    """The training of a case, watched and judged."""
    total = case.recipe.steps if steps is None else steps
    what = f"training {total} steps, then tests of a minute at most"

    def told(step: int, loss: torch.Tensor) -> None:
        progress(what, step, total)

    observer = Observer()
    with observer.watching():
        train(case, seed, steps=steps, on_step=told)
    progress("deciding suspicions", 0, 0)
    exam = diagnose(observer, subject, rules=asked.rules, ignore=asked.ignore, progress=progress)
    if exam is None:
        reason = "; ".join(observer.failures) or "no forward pass of a module was seen"
        raise ValueError(f"the training could not be examined: {reason}")
    return exam
