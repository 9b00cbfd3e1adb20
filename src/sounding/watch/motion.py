"""How far a step moves each parameter beside its size, and what the optimiser remembers of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sounding.capture.sample import dense, gathered

ENTRIES = 1024  # of a parameter; the ratio of two norms is then known to a few percent
RUN = 16  # of them that lie side by side: a line of the cache
SECOND = ("exp_avg_sq", "square_avg")  # what torch's optimisers call the mean squared gradient


class Motion:
    """The parameters just before a step; `after` compares them with what the step made of them.

    Of each parameter evenly spaced runs of entries are kept, all where it has at most ENTRIES.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        held = {n: p for n, p in model.named_parameters() if id(p) in groups and dense(p).numel()}
        self.names = tuple(held)  # (P,) of the parameters that the optimiser holds
        self._parameters = list(held.values())
        self._groups = [groups[id(p)] for p in held.values()]
        self._optimizer = optimizer
        self._before = [_some(p) for p in self._parameters]

    def after(self) -> dict[str, np.ndarray]:
        """`ratio`: (P,) norm of the update over that of the weights; inf for a parameter of zeros.

        `second`: (P,) root of the mean squared gradient that an adaptive optimiser divides by, its
        bias corrected, averaged over the entries; nan where it keeps none.
        """
        count, roots = len(self.names), np.full(len(self.names), np.nan)
        if not count:
            return {"ratio": np.zeros(0, np.float32), "second": np.zeros(0, np.float32)}
        kept = {i: m for i, p in enumerate(self._parameters) if (m := self._memory(p)) is not None}
        steps = [self._steps(self._parameters[i]) for i in kept]
        now = [_some(p) for p in self._parameters]
        every = gathered([*self._before, *now, *map(_some, kept.values()), *steps])
        numbers = [part.numpy() for part in every]
        weights, starts = _joined(numbers[:count])
        update = _joined(numbers[count : 2 * count])[0] - weights
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved, size = (np.add.reduceat(x * x, starts) for x in (update, weights))
            ratio = np.sqrt(moved / size)
        for place, i in enumerate(kept):
            mean = float(numbers[2 * count + place].mean(dtype=np.float64))
            made = float(numbers[2 * count + len(kept) + place][0])
            roots[i] = math.sqrt(max(mean, 0.0) / self._correction(i, made))
        return {"ratio": ratio.astype(np.float32), "second": roots.astype(np.float32)}

    def _memory(self, parameter: nn.Parameter) -> torch.Tensor | None:
        state = self._optimizer.state.get(parameter, {})
        kept = next((state[name] for name in SECOND if name in state), None)
        return kept if isinstance(kept, torch.Tensor) and dense(kept).numel() else None

    def _steps(self, parameter: nn.Parameter) -> torch.Tensor:
        """(1,) how many the optimiser has counted; 0 where it does not count."""
        made = self._optimizer.state[parameter].get("step", 0)
        return torch.as_tensor(made).detach().reshape(1).float()

    def _correction(self, place: int, made: float) -> float:
        """What a running mean that began at zero is divided by after so many steps."""
        group: dict[str, Any] = self._groups[place]
        if "betas" not in group or not made:
            return 1.0
        return 1 - float(group["betas"][1]) ** made


def _joined(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The parts behind one another, in double precision, and where each of them begins."""
    whole = np.concatenate(parts).astype(np.float64)
    return whole, np.cumsum([0, *map(len, parts)])[:-1]


def _some(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of at most ENTRIES entries: short runs, evenly spaced, for each is one look at memory.

    The spacing is odd, so that the runs stay on no column of a power of two.
    """
    flat = dense(tensor.detach()).reshape(-1)
    if len(flat) > ENTRIES:
        count = ENTRIES // RUN
        spacing = ((len(flat) - RUN) // (count - 1) - 1) | 1
        flat = flat.as_strided((count, RUN), (spacing, 1))
    wide = torch.float64 if flat.dtype == torch.float64 else torch.float32
    return flat.clone().reshape(-1).to(wide)
