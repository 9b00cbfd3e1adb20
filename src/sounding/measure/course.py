"""What was seen of a training, step by step. Letters: S optimiser steps, nan: not measured."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Course(Result):
    """One number a step of one optimiser."""

    loss: np.ndarray  # (S,) what backward was called on, a mean over the calls of one step
    gradient_norm: np.ndarray  # (S,) 2-norm of all gradients that the optimiser holds, as it steps
    lr: np.ndarray  # (S,) of the first parameter group
    backwards: np.ndarray  # (S,) calls of backward since the step before
    carried: np.ndarray  # (S,) norm of the gradients there as one of them begins, the least one
    clipped_from: np.ndarray  # (S,) norm that torch's clipping saw; nan: it was not called
    bound: np.ndarray  # (S,) norm that it was told to keep; of clipping by value, nan
    # (S,) from the end of the step before to the end of this one
    seconds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    # (S,) of these, what the loop waited for a data loader
    waited: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    workers: int = -1  # processes of the loader; -1: none was seen

    @property
    def steps(self) -> int:
        """S, the optimiser steps seen."""
        return len(self.loss)

    def start(self) -> float:
        """Mean loss of the first twentieth of the steps, at least of one."""
        return float(np.mean(self.loss[: max(1, self.steps // 20)]))

    def end(self) -> float:
        """Mean loss of the last tenth of the steps, at least of one."""
        return float(np.mean(self.loss[-max(1, self.steps // 10) :]))
