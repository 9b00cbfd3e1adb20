"""The same training as several processes saw it. Letters: R processes (ranks), S common steps."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ranks(Result):
    """What each process recorded of one training, beside the others."""

    parallel: str  # 'DistributedDataParallel', 'FSDP', '' for none that is known
    steps: np.ndarray  # (S,)
    loss: np.ndarray  # (R, S) of the process's own batches, to six digits
    gradient_norm: np.ndarray  # (R, S) as the optimiser steps, nan: not measured
    weights: tuple[str, ...]  # (R,) a sum over all weights before the first step, every digit
