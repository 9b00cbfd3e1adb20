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
from sounding.train.case import Case
from sounding.train.inputs import check_numbers, explained
from sounding.train.loop import LOOK_EVERY, NOISE, finished, measured, new_model, noting
from sounding.train.seeding import seeded
from sounding.train.stack import Stack
from sounding.train.stacked_batches import StackedBatches
from sounding.train.stacked_steps import StackedOptimisers
from sounding.train.trial import Trial


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
    runs = sorted(runs, key=lambda run: repr(run.case.recipe))
    case = runs[0].case
    steps = case.recipe.steps
    with torch.enable_grad():
        stack = Stack([run.model for run in runs], case.loss)
        optimisers = StackedOptimisers(stack, [run.case.recipe for run in runs], steps)
        batches = StackedBatches(case.batches, case.recipe.batch_size, [run.seed for run in runs])
        record = _Record(runs, steps)
        for step in range(steps):
            batch = batches.next()
            losses, right = stack.differentiate(batch, batches.of_all)
            if step == 0:
                _compare(runs, stack, batches, batch, losses)
            optimisers.step(step)
            record.note(losses, right)
            if step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1:
                finite = record.look()
                if not finite.all():
                    for part in (stack, optimisers, batches):
                        part.keep(finite)
                    if not finite.any():
                        break
        seconds = (time.perf_counter() - began) / len(runs)
        record.report(stack, seconds, ended)


class _Record:
    """The losses of all runs, and which of them are still going."""

    def __init__(self, runs: Sequence[Run], steps: int) -> None:
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

    def report(self, stack: Stack, seconds: float, ended: Callable[[Run, Trial], None]) -> None:
        rows = {run: row for row, run in enumerate(self.going)}
        for number, run in enumerate(self.runs):
            losses = np.concatenate(self.losses[number])
            right = np.concatenate(self.right[number])
            metrics: dict[str, float] = {}
            if number in rows:
                stack.copy_to(run.model, rows[number])
                metrics = _metrics(run)
            else:
                losses = losses[: np.flatnonzero(~np.isfinite(losses))[0] + 1]
            ended(run, finished(run.seed, losses, right, metrics, seconds))


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
