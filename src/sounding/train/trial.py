"""One training run, as numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sounding.result import Result, Series

FINAL_SHARE = 0.1  # of the steps, see final_loss


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trial(Result):
    """What one run left behind: its loss at every step and its final metrics."""

    seed: int
    loss: Series  # training loss at every step, before that step's update
    metrics: dict[str, float]  # at the end; nan where the run diverged
    diverged: bool  # the loss became NaN or infinite, at the last step of `loss`
    seconds: float

    def __str__(self) -> str:
        steps = len(self.loss.values)
        end = "diverged" if self.diverged else f"ended at loss {final_loss(self):.4g}"
        rest = "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())
        return f"seed {self.seed}: {end} after {steps} steps{rest}"


def final_loss(trial: Trial) -> float:
    """The mean loss over the last tenth of the steps; infinite for a run that diverged.

    One step's loss is one mini-batch's. The mean over the last tenth of T steps has a sampling
    error smaller by sqrt(T / 10), and is late by a twentieth of the run at most.
    """
    if trial.diverged:
        return math.inf
    return float(final_mean(trial.loss.values))


def final_mean(values: np.ndarray) -> np.floating:
    """The mean over the last tenth of `values`, at least over the last one."""
    return np.mean(values[-max(1, round(FINAL_SHARE * len(values))) :])
