"""The first step of several runs, each alone: what one program must agree with, and be faster than.

Letters: R runs, P trainable parameters of one network.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.objective import Batch, Loss, Objective, check_scalar
from sounding.result import NotApplicable
from sounding.train.case import Case
from sounding.train.inputs import explained
from sounding.train.loop import noting
from sounding.train.recipe import make_optimiser

TIMED = 3  # runs of which the optimiser's step is timed


@dataclasses.dataclass(frozen=True)
class Alone:
    """What the networks do at the first step, one by one."""

    losses: torch.Tensor  # (R,)
    gradients: torch.Tensor  # (R, P)
    shares: int  # classified right, that a step notes
    seconds: float  # of a step of one run

    def check(self, losses: torch.Tensor, gradients: torch.Tensor) -> None:
        """The same losses and gradients must come out of one program.

        They may differ by half the digits: sums in another order cost some of them, a network that
        computes something else when stacked costs all. What is not finite is not compared.

        Raises:
            NotApplicable: If they do not.
        """
        for alone, together in (
            (self.losses[:, None], losses[:, None]),
            (self.gradients, gradients),
        ):
            norm = torch.linalg.vector_norm
            allowed = torch.finfo(alone.dtype).eps ** 0.5 * norm(alone, dim=1)
            near = norm(alone - together, dim=1) <= allowed
            if not bool((near | ~alone.isfinite().all(1)).all()):
                raise NotApplicable("the network or its loss computes something else when stacked")


def first_steps(runs: Iterable[tuple[Case, nn.Module, Batch]]) -> Alone:
    """One forward and backward pass of each network on its batch.

    The networks' buffers see the batch, and some take a step; their numbers are of no use any more.

    Raises:
        NotApplicable: If one of them draws random numbers, which others would draw when stacked.
        ValueError: If a batch cannot be trained on.
    """
    before = _random_state()
    losses, gradients, seconds, stepping, hits = [], [], [], [], []
    for number, (case, model, batch) in enumerate(runs):
        began = _now(model)
        optimiser = make_optimiser(case.recipe, model.parameters())
        hits = []
        losses.append(_differentiate(model, case.loss, batch, hits))
        seconds.append(_now(model) - began)
        gradients.append(_gradient(model))
        if number < TIMED:
            optimiser.step()  # makes its state
            began = _now(model)
            optimiser.step()
            stepping.append(_now(model) - began)
        model.zero_grad()
    if _random_state() != before:
        raise NotApplicable("the network draws random numbers as it trains")
    return Alone(
        losses=torch.stack(losses),
        gradients=torch.stack(gradients),
        shares=len(hits),
        seconds=statistics.median(seconds) + statistics.median(stepping),
    )


def _differentiate(
    model: nn.Module, loss: Loss | Objective, batch: Batch, hits: list[torch.Tensor]
) -> torch.Tensor:
    with explained(model, batch, 0):
        value = noting(loss, hits)(model, batch)
    check_scalar(value).backward()
    return value.detach().reshape(())


def _gradient(model: nn.Module) -> torch.Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    if any(p.grad is None for p in trained):
        raise NotApplicable("some of its parameters have no gradient, so are left alone by `train`")
    return torch.cat([p.grad.flatten() for p in trained if p.grad is not None])


def _random_state() -> list[Any]:
    arrays = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is meant
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    return [random.getstate(), str(arrays), *(state.numpy().tobytes() for state in states)]


def _now(model: nn.Module) -> float:
    return now(next(model.parameters()).device)


def now(device: torch.device) -> float:
    """Seconds of work so far: on a CPU those of this process, which others do not disturb."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
