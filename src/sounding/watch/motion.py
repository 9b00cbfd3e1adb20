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
SECOND = ("exp_avg_sq", "square_avg")  # what torch's optimisers call the mean squared gradient


class Motion:
    """The parameters just before a step; `after` compares them with what the step made of them.

    Of each parameter evenly spaced entries are kept, all where there are no more than ENTRIES.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        held = {n: p for n, p in model.named_parameters() if id(p) in groups}
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
        if not self.names:
            return {"ratio": np.zeros(0, np.float32), "second": np.zeros(0, np.float32)}
        moved = [_some(p) - b for p, b in zip(self._parameters, self._before, strict=True)]
        update = map(torch.linalg.vector_norm, moved)
        weight = map(torch.linalg.vector_norm, self._before)
        states = [self._optimizer.state.get(p, {}) for p in self._parameters]
        second = list(map(_second, states, self._groups))
        places = [i for i, root in enumerate(second) if root is not None]
        sizes = [*update, *weight, *(root for root in second if root is not None)]
        numbers = [float(s) for s in gathered([size.reshape(1).float() for size in sizes])]
        count, roots = len(self.names), np.full(len(self.names), np.nan)
        roots[places] = numbers[2 * count :]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.array(numbers[:count]) / np.array(numbers[count : 2 * count])
        return {"ratio": ratio.astype(np.float32), "second": roots.astype(np.float32)}


def _some(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of at most ENTRIES entries; the stride is odd, so it stays on no power of two."""
    flat = dense(tensor.detach()).reshape(-1)
    stride = math.ceil(len(flat) / ENTRIES) | 1
    return flat[::stride].clone()


def _second(state: dict[str, Any], group: dict[str, Any]) -> torch.Tensor | None:
    kept = next((state[name] for name in SECOND if name in state), None)
    if not isinstance(kept, torch.Tensor) or not kept.numel():
        return None
    mean = _some(kept).float().mean()
    if "betas" in group and "step" in state:  # it began at zero, and is corrected for that
        step = torch.as_tensor(state["step"], device=mean.device)
        mean = mean / (1 - float(group["betas"][1]) ** step)
    return mean.sqrt()
