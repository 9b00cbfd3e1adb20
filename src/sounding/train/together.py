"""Runs whose networks are alike, as one program.

Letters: R runs, T steps, k shares classified right a step.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.objective import Objective
from sounding.result import NotApplicable
from sounding.train.batches import is_data_set
from sounding.train.case import Case
from sounding.train.first_steps import Alone, first_steps, now
from sounding.train.inputs import check_numbers, only_numbers
from sounding.train.loop import LOOK_EVERY, NOISE, finished, measured, new_model
from sounding.train.seeding import seeded
from sounding.train.stack import Stack
from sounding.train.stacked_batches import StackedBatches
from sounding.train.stacked_chain import Chain, is_chain
from sounding.train.stacked_steps import StackedOptimisers, in_blocks
from sounding.train.stacked_whole import Whole
from sounding.train.trial import FINAL_SHARE, Trial

WORDS = 150  # characters of torch's own message that are passed on
SMALL = 2**20  # bytes of one network's parameters: linear layers were never slower together below
MEASURED = 4  # steps, the first of which are slow; the fastest counts
MEASURABLE = 120  # steps of a run of which the measured ones, if they are lost, are 5 % at most


@dataclasses.dataclass(frozen=True)
class Run:
    """One job."""

    number: int
    case: Case
    seed: int


@dataclasses.dataclass(frozen=True)
class Built(Run):
    """A run that has its network, and Python's and numpy's random state as `build` left it."""

    model: nn.Module
    random: tuple[Any, Any]


def build(run: Run) -> Built:
    """The run with its network, made as ``train`` makes it."""
    with seeded(run.seed):
        model = new_model(run.case)
        state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
    return Built(run.number, run.case, run.seed, model, state)


def reason_against(case: Case) -> str:
    """Why runs of this case cannot be one program, whatever its network; '' if nothing is known."""
    if callable(case.recipe.optimiser):
        return "an optimiser made by a function may treat parameters otherwise when stacked"
    if not (is_data_set(case.batches) or isinstance(case.batches, list | tuple)):
        return f"batches out of a {type(case.batches).__name__} come one run at a time"
    return ""


def reason_against_network(model: nn.Module) -> str:
    """The same for a network."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if len({(p.dtype, p.device) for p in trained}) > 1:
        return "its parameters have several types or devices"
    return "" if trained[0].is_floating_point() else "its parameters are complex"


def train_together(runs: Sequence[Built], *, measure: bool) -> list[tuple[Run, Trial]]:
    """Train all `runs`; each with its trial, in the order of their numbers.

    Their networks must be alike, and their data, batch sizes, losses and numbers of steps the same.

    Args:
        runs: Two or more.
        measure: Whether to refuse where that would be slower than one by one.

    Raises:
        NotApplicable: If one program does not compute what they compute one by one, mostly at the
            first step, or would be slower, at the first few; says why.
    """
    try:
        order = in_blocks([run.case.recipe for run in runs])
        return _train([runs[number] for number in order], measure)
    except NotApplicable:
        raise
    except Exception as error:
        words = next(iter(str(error).splitlines()), "").strip()
        raise NotApplicable(f"{type(error).__name__} when stacked: {words[:WORDS]}") from error


def _train(runs: Sequence[Built], measure: bool) -> list[tuple[Run, Trial]]:
    """The runs come in the order of ``in_blocks``."""
    began = time.perf_counter()
    case = runs[0].case
    steps = case.recipe.steps
    stack = Stack([run.model for run in runs])
    optimisers = StackedOptimisers(stack, [run.case.recipe for run in runs], steps)
    batches = StackedBatches(case.batches, case.recipe.batch_size, [run.seed for run in runs])
    engine = _engine(stack, runs[0])
    sure = engine.written_out and stack.rows[0].nbytes <= SMALL
    if measure and steps < MEASURABLE and not sure:
        raise NotApplicable(f"{steps} steps are too few to find out which is faster")
    batch = batches.next()
    alone = _alone(runs, batches, batch)
    record, note_from = _Record(runs), _first_noted(steps, alone.shares)
    race = _Race(stack, alone.seconds * len(runs), measure and not sure)
    for step in range(steps):
        batch = batches.next() if step else batch
        found = engine.differentiate(batch, of_all=batches.of_all, note=step >= note_from)
        if step == 0:
            alone.check(found[0], stack.gradients)
        optimisers.step(step)
        record.note(*found)
        race.lap()
        if step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1:
            finite = record.look()
            if not finite.any():
                break
            if not finite.all():
                for part in (stack, optimisers, batches):
                    part.keep(finite)
                engine = _engine(stack, runs[0])
    return record.trials(stack, alone.shares, (time.perf_counter() - began) / len(runs))


def _alone(runs: Sequence[Built], batches: StackedBatches, batch: Any) -> Alone:
    """The first step of each run; random state is given back."""
    data = runs[0].case.batches
    if is_data_set(data):
        check_numbers(data)
    elif not all(only_numbers(one) for one in data):
        raise NotApplicable("a batch holds NaN or infinity")
    with seeded(runs[0].seed):
        return first_steps(
            (run.case, run.model, batches.one(batch, number)) for number, run in enumerate(runs)
        )


class _Race:
    """The first few steps against the time that they take one by one."""

    def __init__(self, stack: Stack, alone: float, on: bool) -> None:
        self._device, self._alone = stack.rows.device, alone
        self._began = now(self._device)
        self._seconds: list[float] = []
        self._left = MEASURED if on else 0

    def lap(self) -> None:
        """A step has ended.

        Raises:
            NotApplicable: If it was the last one that is measured, and all were slower.
        """
        if not self._left:
            return
        self._left -= 1
        self._seconds.append(now(self._device) - self._began)
        self._began += self._seconds[-1]
        together = min(self._seconds)
        if not self._left and together > self._alone:
            raise NotApplicable(
                f"a step takes {1e3 * together:.2g} ms together, {1e3 * self._alone:.2g} ms so"
            )


def _engine(stack: Stack, run: Built) -> Chain | Whole:
    """The faster of the ways to differentiate what is stacked."""
    model, loss = run.model, run.case.loss
    if (
        is_data_set(run.case.batches)
        and isinstance(model, nn.Sequential)
        and not isinstance(loss, Objective)
        and is_chain(model)
    ):
        y = run.case.batches[1]
        labels = y.ndim == 1 and y.dtype == torch.long and bool((y >= 0).all())
        return Chain(stack, model, loss, labels)
    return Whole(stack, model, loss)


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

    def __init__(self, runs: Sequence[Built]) -> None:
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

    def trials(self, stack: Stack, shares: int, seconds: float) -> list[tuple[Run, Trial]]:
        """Every run with its trial; each has the same share of the time."""
        trials: list[tuple[Run, Trial]] = []
        rows = {run: row for row, run in enumerate(self.going.tolist())}
        for number, run in sorted(enumerate(self.runs), key=lambda pair: pair[1].number):
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
                metrics = {
                    "accuracy": float(np.mean(right)) if number in rows else math.nan,
                    **metrics,
                }
            trials.append((run, finished(run.seed, losses, metrics, seconds)))
        return trials


def _metrics(run: Built) -> dict[str, float]:
    """The metrics of a trained network, with random state as it is after ``train``."""
    with seeded(run.seed):
        random.setstate(run.random[0])
        np.random.set_state(run.random[1])  # noqa: NPY002 - as above
        torch.manual_seed(run.seed + NOISE)
        return measured(run.case, run.model)
