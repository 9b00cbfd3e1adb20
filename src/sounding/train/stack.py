"""The numbers of several networks that are alike, stacked.

Letters: R runs, P trainable parameters of one network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Stack:
    """R networks' numbers; the networks themselves stay as they are.

    Attributes:
        rows: The trainable parameters of every network, (R, P), and :attr:`gradients` theirs.
        parameters: By name, (R, *shape), views of the rows; :attr:`slopes` those of the gradients.
        fixed: Frozen parameters and buffers by name, (R, *shape).
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        first = dict(models[0].named_parameters())
        self._shapes = {name: p.shape for name, p in first.items() if p.requires_grad}
        with torch.no_grad():
            self._hold(torch.stack([_row(model) for model in models]))
            fixed = [_fixed(model) for model in models]
            self.fixed = {name: torch.stack([one[name] for one in fixed]) for name in fixed[0]}

    def _hold(self, rows: torch.Tensor) -> None:
        self.rows, self.gradients = rows, torch.zeros_like(rows)
        self.parameters = self._views(rows)
        self.slopes = self._views(self.gradients)

    def _views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts = rows.split(sizes, dim=1)
        return {
            name: part.view(len(rows), *shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def keep(self, runs: torch.Tensor) -> None:
        """Go on with some of the networks only; earlier views are of no use any more."""
        self._hold(self.rows[runs])
        self.fixed = {name: t[runs] for name, t in self.fixed.items()}

    @torch.no_grad()
    def copy_to(self, model: nn.Module, run: int) -> None:
        """Give `model` the numbers of one of the networks."""
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, stacked in {**self.parameters, **self.fixed}.items():
            tensors[name].copy_(stacked[run])


def _row(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


def _fixed(model: nn.Module) -> dict[str, torch.Tensor]:
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(model.named_buffers())}
