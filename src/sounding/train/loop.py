"""The only training loop."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.objective import Batch, Loss, Objective, as_objective, check_scalar
from sounding.result import Series
from sounding.train.batches import draw, is_data_set
from sounding.train.case import Case
from sounding.train.inputs import (
    check_labels,
    check_model,
    check_numbers,
    explained,
    is_classification,
    only_numbers,
)
from sounding.train.recipe import lr_factor, make_optimiser
from sounding.train.seeding import seeded
from sounding.train.trial import Trial, final_mean

OnStep = Callable[[int, torch.Tensor], None]  # (step, its loss); to read the loss is to wait for it

LOOK_EVERY = 20  # steps; a look at the losses waits for the device, without one NaN trains on
NOISE = 1_000_003  # added to the seed for what training itself draws, so that it repeats no weights

turns = threading.RLock()  # torch's random state belongs to the process, so threads take turns
_trained: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def train(
    case: Case, seed: int, *, steps: int | None = None, on_step: OnStep | None = None
) -> Trial:
    """One run of `case`, a function of the seed alone.

    Weights are drawn from the seed itself; batches by a generator of their own; dropout and the
    like from a second seed, set after `build`. So two cases that differ in one of these share the
    others, and a comparison over seeds is paired. Random state is given back, and the network is
    local. Threads take turns; processes run side by side.

    Args:
        case: What is trained.
        seed: Of the weights, the batches, and what training draws.
        steps: Instead of `case.recipe.steps`; a schedule then ends at this step.
        on_step: Called after every step with its number and its loss.

    Returns:
        A Trial with the loss of every step, up to the first one that is not finite, and 'accuracy'
        (of training, over the last tenth of the steps) where the targets are class labels, beside
        the case's own metrics.

    Raises:
        ValueError: If the batch cannot be trained on; names the cause and what to do.
    """
    began = time.perf_counter()
    recipe = case.recipe if steps is None else case.recipe.replace(steps=steps)
    case = case.replace(recipe=recipe)
    hits: list[torch.Tensor] = []
    with turns, seeded(seed), torch.enable_grad():
        model = new_model(case)
        torch.manual_seed(seed + NOISE)
        losses = _descend(case, model, noting(case.loss, hits), seed, on_step)
        metrics = measured(case, model) if math.isfinite(losses[-1]) else {}
    if len(hits) >= len(losses):
        right = torch.stack(hits).cpu().double().numpy()
        metrics = {"accuracy": float(final_mean(right)), **metrics}
    return finished(seed, losses, metrics, time.perf_counter() - began)


def finished(seed: int, losses: np.ndarray, metrics: dict[str, float], seconds: float) -> Trial:
    """The Trial of a run; one that diverged has no accuracy."""
    diverged = not math.isfinite(losses[-1])
    if diverged and "accuracy" in metrics:
        metrics = {**metrics, "accuracy": math.nan}
    loss = Series(quantity="training loss", unit="", steps=np.arange(len(losses)), values=losses)
    return Trial(seed=seed, loss=loss, metrics=metrics, diverged=diverged, seconds=seconds)


def _descend(
    case: Case, model: nn.Module, objective: Objective, seed: int, on_step: OnStep | None
) -> np.ndarray:
    """The loss before every update, up to the first one that is not finite."""
    recipe = case.recipe
    optimiser = make_optimiser(recipe, model.parameters())
    base = [group["lr"] for group in optimiser.param_groups]
    losses: list[torch.Tensor] = []  # on the device, until somebody looks
    sound: list[torch.Tensor] = []
    for step, batch in zip(range(recipe.steps), _batches(case, seed, sound), strict=False):
        factor = lr_factor(recipe, step, recipe.steps)
        for group, lr in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = lr * factor
        optimiser.zero_grad(set_to_none=True)
        with explained(model, batch, step):
            loss = objective(model, batch)
        check_scalar(loss).backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        losses.append(loss.detach().reshape(()))
        if on_step is not None:
            on_step(step, losses[-1])
        if step % LOOK_EVERY == LOOK_EVERY - 1 and not _finite(losses[-LOOK_EVERY:]):
            break
    return _until_divergence(torch.stack(losses).cpu().double().numpy(), sound)


def _batches(case: Case, seed: int, sound: list[torch.Tensor]) -> Iterator[Batch]:
    """The batches of a run; `sound` notes of each whether it is free of NaN.

    A whole data set is examined at once, beforehand; so is the first batch of anything else.
    """
    batches = draw(case.batches, case.recipe.batch_size, seed)
    if is_data_set(case.batches):
        check_numbers(case.batches)
        yield from batches
    for batch in batches:
        if not sound:
            check_numbers(batch)
        sound.append(only_numbers(batch))
        yield batch


def _finite(losses: list[torch.Tensor]) -> bool:
    return bool(torch.stack(losses).isfinite().all())


def _until_divergence(losses: np.ndarray, sound: list[torch.Tensor]) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(losses))
    if not bad.size:
        return losses
    for step, whole in enumerate(sound[: bad[0] + 1]):
        if not whole:  # a fault of the data, no divergence
            raise ValueError(
                f"the batch of step {step} holds NaN or infinity; remove or fill in these samples "
                "before training"
            )
    return losses[: bad[0] + 1]


def new_model(case: Case) -> nn.Module:
    """A network that nothing was trained on yet, in training mode.

    Raises:
        ValueError: If there is nothing to train in it, or `build` returned it before.
    """
    model = case.build()
    check_model(model)
    if model in _trained:
        raise ValueError(
            f"build returned a {type(model).__name__} that was trained before; it must make a new "
            "network each time, for example lambda: Net() instead of lambda: net"
        )
    _trained.add(model)
    return model.train()


def noting(loss: Loss | Objective, hits: list[torch.Tensor], *, check: bool = True) -> Objective:
    """`loss` as an Objective; `hits` notes the share of samples classified right, where it can.

    That is for a loss of (output, target) with class labels; it costs no second pass. The first
    labels are checked beforehand, if `check` is set.
    """
    if isinstance(loss, Objective):
        return loss

    def noted(output: Any, target: Any) -> torch.Tensor:
        if is_classification(output, target):
            if check and not hits:
                check_labels(output, target)
            hits.append(_accuracy(output.detach(), target))
        return loss(output, target)

    return as_objective(noted)


def _accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    counted = target >= 0  # a negative label is the usual mark of what a loss leaves out
    return ((output.argmax(1) == target) & counted).sum() / counted.sum()


def measured(case: Case, model: nn.Module) -> dict[str, float]:
    """The case's metrics of a trained network, which is left in eval mode."""
    if case.metric is None:
        return {}
    model.eval()
    with torch.no_grad():
        metrics = case.metric(model)
    if not hasattr(metrics, "items"):
        raise TypeError(
            f"metric returned a {type(metrics).__name__}; return numbers by name, for example "
            "{'accuracy': 0.97}"
        )
    return {str(name): float(value) for name, value in metrics.items()}
