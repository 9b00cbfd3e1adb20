"""How far a step moves each parameter beside its size, and what the optimiser remembers of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
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
    """How far each step moves the parameters: ask `before` it, and `after` it for what it did.

    Of each parameter evenly spaced runs of entries are kept, all where it has at most ENTRIES.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        held = {n: p for n, p in model.named_parameters() if id(p) in groups and dense(p).numel()}
        self.names = tuple(held)  # (P,) of the parameters that the optimiser holds
        self._parameters = list(held.values())
        self._groups = [groups[id(p)] for p in held.values()]
        self._optimizer = optimizer
        self._held = list(groups)
        self._weights = self._memories = self._counts = _Entries([])
        self._before: list[torch.Tensor] = []

    @property
    def fits(self) -> bool:
        """Whether the optimiser still holds what it held."""
        return self._held == [id(p) for g in self._optimizer.param_groups for p in g["params"]]

    def before(self) -> None:
        """The parameters just before a step."""
        self._weights = self._weights.of(self._parameters)
        self._before = self._weights.copies()

    def after(self) -> dict[str, np.ndarray]:
        """`ratio`: (P,) norm of the update over that of the weights; inf for a parameter of zeros.

        `second`: (P,) root of the mean squared gradient that an adaptive optimiser divides by, its
        bias corrected, averaged over the entries; nan where it keeps none.
        """
        count, roots = len(self.names), np.full(len(self.names), np.nan)
        if not count:
            return {"ratio": np.zeros(0, np.float32), "second": np.zeros(0, np.float32)}
        states = [self._optimizer.state.get(p, {}) for p in self._parameters]
        kept = {i: m for i, state in enumerate(states) if (m := _memory(state)) is not None}
        self._memories = self._memories.of(list(kept.values()))
        made = [torch.as_tensor(states[i].get("step", 0)) for i in kept]  # 0: it does not count
        self._counts = self._counts.of(made)
        new = self._weights.of(self._parameters)
        parts = self._before, new.copies(), self._memories.copies(), self._counts.copies()
        numbers = iter(gathered([copy for part in parts for copy in part]))
        old, now, second, counts = ([next(numbers).numpy() for _ in part] for part in parts)
        moved = [after - before for after, before in zip(now, old, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.sqrt(new.squares(moved) / new.squares(old))
        means, steps = self._memories.means(second), self._counts.means(counts)
        for i, mean, made in zip(kept, means.tolist(), steps.tolist(), strict=True):
            roots[i] = math.sqrt(max(mean, 0.0) / _correction(self._groups[i], made))
        return {"ratio": ratio.astype(np.float32), "second": roots.astype(np.float32)}


def _memory(state: dict[str, Any]) -> torch.Tensor | None:
    kept = next((state[name] for name in SECOND if name in state), None)
    return kept if isinstance(kept, torch.Tensor) else None


def _correction(group: dict[str, Any], made: float) -> float:
    """What a running mean that began at zero is divided by after so many steps."""
    if "betas" not in group or not made:
        return 1.0
    return 1 - float(group["betas"][1]) ** made


class _Entries:
    """At most ENTRIES of the entries of each tensor, copied with few operations for all together.

    Short runs, evenly spaced, for each is one look at memory. The spacing is odd, so that the runs
    stay on no column of a power of two.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tensors
        self._addresses = [_address(tensor) for tensor in tensors]
        groups = defaultdict[Any, list[tuple[int, torch.Tensor]]](list)
        for i, tensor in enumerate(tensors):
            view = _runs(dense(tensor.detach()).reshape(-1))
            groups[view.dtype, view.device, view.dim()].append((i, view))
        self._views = [[view for _, view in members] for members in groups.values()]
        self._whose = [np.array([i for i, _ in members]) for members in groups.values()]
        self._sizes = [np.array([v.numel() for v in views]) for views in self._views]
        self._starts = [np.cumsum(sizes) - sizes for sizes in self._sizes]

    def of(self, tensors: Sequence[torch.Tensor]) -> _Entries:
        """Those of `tensors`: the same views, where they still lie where they lay."""
        same = len(tensors) == len(self._tensors) and all(
            a is b and at and a.data_ptr() == at
            for a, b, at in zip(tensors, self._tensors, self._addresses, strict=True)
        )
        return self if same else _Entries(tensors)

    def copies(self) -> list[torch.Tensor]:
        """The entries as they are now."""
        found = [torch.cat(views).reshape(-1) for views in self._views]
        return [c if c.dtype == torch.float64 else c.float() for c in found]

    def squares(self, copies: list[np.ndarray]) -> np.ndarray:
        """(tensors,) the sum of the squares of each one's entries."""
        return self._sums([np.square(copy, dtype=np.float64) for copy in copies])

    def means(self, copies: list[np.ndarray]) -> np.ndarray:
        """(tensors,) the mean of each one's entries."""
        found = self._sums(copies)
        for whose, sizes in zip(self._whose, self._sizes, strict=True):
            found[whose] /= sizes
        return found

    def _sums(self, copies: list[np.ndarray]) -> np.ndarray:
        found = np.zeros(len(self._tensors))
        for copy, whose, starts in zip(copies, self._whose, self._starts, strict=True):
            found[whose] = np.add.reduceat(copy, starts, dtype=np.float64)
        return found


def _address(tensor: torch.Tensor) -> int:
    """Where the entries lie; 0 where a view of them must be made anew each time."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout == torch.strided
    live = plain and tensor.is_contiguous() and not tensor.is_complex()
    return tensor.data_ptr() if live else 0


def _runs(flat: torch.Tensor) -> torch.Tensor:
    """(ENTRIES / RUN, RUN) of a long one; a short one as it is."""
    if len(flat) <= ENTRIES:
        return flat
    count, stride = ENTRIES // RUN, flat.stride(0)
    spacing = ((len(flat) - RUN) // (count - 1) - 1) | 1
    return flat.as_strided((count, RUN), (spacing * stride, stride))
