"""Runs whose networks are alike, as one program.

Letters: R runs, T steps, k shares classified right a step.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.result import NotApplicable
from sounding.train.batches import is_data_set
from sounding.train.case import Case
from sounding.train.inputs import check_numbers, explained
from sounding.train.loop import LOOK_EVERY, NOISE, finished, measured, new_model, noting
from sounding.train.seeding import seeded
from sounding.train.stack import Stack
from sounding.train.stacked_batches import StackedBatches
from sounding.train.stacked_chain import Chain, is_chain
from sounding.train.stacked_steps import StackedOptimisers
from sounding.train.stacked_whole import Losses, Whole
from sounding.train.trial import FINAL_SHARE, Trial


@dataclasses.dataclass
class Run:
    """A run that has not begun: its network, and random state as `build` left it."""

    number: int  # among all jobs
    case: Case
    seed: int
    model: nn.Module
    random: tuple[Any, Any]  # Python's and numpy's


def prepared(number: int, case: Case, seed: int) -> Run:
    """Build the network of one run, as ``train`` does."""
    with seeded(seed), torch.enable_grad():
        model = new_model(case)
        return Run(number, case, seed, model, (random.getstate(), np.random.get_state()))  # noqa: NPY002 - the global one is meant


def train_together(runs: Sequence[Run], ended: Callable[[Run, Trial], None]) -> None:
    """Train all `runs`; `ended` is told of each, those that diverge first.

    Their networks must be alike, and their data, batch sizes, losses and numbers of steps the same.

    Raises:
        NotApplicable: Before the first step, if one program does not compute what they compute one
            by one; says why.
    """
    began = time.perf_counter()
    runs = sorted(runs, key=lambda run: repr(run.case.recipe))  # equal recipes become neighbours
    case = runs[0].case
    steps = case.recipe.steps
    stack = Stack([run.model for run in runs])
    optimisers = StackedOptimisers(stack, [run.case.recipe for run in runs], steps)
    batches = StackedBatches(case.batches, case.recipe.batch_size, [run.seed for run in runs])
    losses_of = _losses_of(stack, runs[0])
    record = _Record(runs)
    shares, note_from = 0, 0
    for step in range(steps):
        batch = batches.next()
        losses, right = losses_of(batch, of_all=batches.of_all, note=step >= note_from)
        if step == 0:
            _compare(runs, stack, batches, batch, losses)
            shares = len(right)
            note_from = _first_noted(steps, shares)
            right = right if note_from == 0 else right[:0]
        optimisers.step(step)
        record.note(losses, right)
        if step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1:
            finite = record.look()
            if not finite.all():
                for part in (stack, optimisers, batches):
                    part.keep(finite)
                losses_of = _losses_of(stack, runs[0])
            if not finite.any():
                break
    record.report(stack, shares, (time.perf_counter() - began) / len(runs), ended)


def _losses_of(stack: Stack, run: Run) -> Callable[..., Losses]:
    """The faster of the ways to differentiate what is stacked."""
    model, loss = run.model, run.case.loss
    if is_data_set(run.case.batches) and is_chain(model, loss):
        y = run.case.batches[1]
        labels = y.ndim == 1 and y.dtype == torch.long and bool((y >= 0).all())
        return Chain(stack, model, loss, labels).differentiate
    return Whole(stack, model, loss).differentiate


def _first_noted(steps: int, shares: int) -> int:
    """The step from which on shares classified right count, if there are so many a step.

    As the accuracy is their mean over the last tenth.
    """
    return steps - math.ceil(_counted(steps * shares) / shares) if shares else steps


def _counted(values: int) -> int:
    """How many of the last of so many values :func:`sounding.train.trial.final_mean` takes."""
    return max(1, round(FINAL_SHARE * values))


class _Record:
    """The losses of all runs, and which of them are still going."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.going = np.arange(len(runs))
        self.losses: list[list[np.ndarray]] = [[] for _ in runs]
        self.right: list[list[np.ndarray]] = [[] for _ in runs]
        self._latest: list[tuple[torch.Tensor, torch.Tensor]] = []  # on the device

    def note(self, losses: torch.Tensor, right: torch.Tensor) -> None:
        self._latest.append((losses, right))

    def look(self) -> torch.Tensor:
        """Which of the runs still going have had finite losses only; the others end."""
        losses = torch.stack([losses for losses, _ in self._latest]).cpu().double().numpy()
        right = torch.cat([right for _, right in self._latest]).cpu().double().numpy()
        self._latest = []
        for column, run in enumerate(self.going):
            self.losses[run].append(losses[:, column])
            self.right[run].append(right[:, column])
        finite = np.isfinite(losses).all(0)
        self.going = self.going[finite]
        return torch.from_numpy(finite)

    def report(
        self, stack: Stack, shares: int, seconds: float, ended: Callable[[Run, Trial], None]
    ) -> None:
        """Hand out the trials, each with its share of the time."""
        rows = {run: row for row, run in enumerate(self.going)}
        for number, run in enumerate(self.runs):
            losses = np.concatenate(self.losses[number])
            metrics: dict[str, float] = {}
            if number in rows:
                stack.copy_to(run.model, rows[number])
                metrics = _metrics(run)
            else:
                losses = losses[: np.flatnonzero(~np.isfinite(losses))[0] + 1]
            if shares:
                counted = _counted(len(losses) * shares)
                right = np.concatenate(self.right[number])[-counted:]
                metrics = {"accuracy": float(np.mean(right)) if number in rows else math.nan, **metrics}
            ended(run, finished(run.seed, losses, metrics, seconds))


def _metrics(run: Run) -> dict[str, float]:
    """The metrics of a trained network, with random state as it is after ``train``."""
    with seeded(run.seed):
        random.setstate(run.random[0])
        np.random.set_state(run.random[1])  # noqa: NPY002 - as above
        torch.manual_seed(run.seed + NOISE)
        return measured(run.case, run.model)


# --- the first step, one by one -------------------------------------------------------------------


def _compare(
    runs: Sequence[Run],
    stack: Stack,
    batches: StackedBatches,
    batch: Any,
    losses: torch.Tensor,
) -> None:
    """The first losses and gradients must be those of each network alone.

    They may differ by half the digits: sums in another order cost some of them, a network that
    computes something else costs all.
    """
    for number, run in enumerate(runs):
        one = batches.one(batch, number)
        if number == 0:
            check_numbers(run.case.batches if isinstance(run.case.batches, tuple) else one)
        hits: list[torch.Tensor] = []
        with explained(run.model, one, 0):
            loss = noting(run.case.loss, hits)(run.model, one)
        trained = [p for p in run.model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, trained)
        row = torch.cat([g.flatten() for g in gradients])
        tolerance = torch.finfo(row.dtype).eps ** 0.5
        for alone, together in ((loss.detach(), losses[number]), (row, stack.gradients[number])):
            difference = torch.linalg.vector_norm(alone - together)
            scale = torch.linalg.vector_norm(alone)
            if bool((alone.isfinite().all())) and not float(difference) <= tolerance * float(scale):
                raise NotApplicable("the network or its loss computes something else when stacked")
