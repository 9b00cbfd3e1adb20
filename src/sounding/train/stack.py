"""Networks that differ only in their numbers, as one function of stacked parameters.

Letters: R runs, P trainable parameters of one network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from sounding.objective import Batch, Loss, Objective
from sounding.train.loop import noting


class Stack:
    """R networks in one: `rows` holds the trainable parameters of each, `gradients` theirs.

    Networks become one by ``torch.func.vmap``; autograd then differentiates the sum of the R
    losses, in which every loss depends on its own row alone. The networks given stay as they are.
    """

    def __init__(self, models: Sequence[nn.Module], loss: Loss | Objective) -> None:
        first = dict(models[0].named_parameters())
        self._names = [name for name, p in first.items() if p.requires_grad]
        self._shapes = [first[name].shape for name in self._names]
        self._ends = torch.tensor([shape.numel() for shape in self._shapes]).cumsum(0).tolist()
        self._host = _Loss(models[0], loss)
        with torch.no_grad():
            trained = [[dict(m.named_parameters())[name] for name in self._names] for m in models]
            self.rows = torch.stack([torch.cat([p.flatten() for p in one]) for one in trained])
            fixed = [_fixed(model) for model in models]
            self._fixed = {name: torch.stack([one[name] for one in fixed]) for name in fixed[0]}
        self._settle()

    def _settle(self) -> None:
        """Parameters as views of the rows, and room for their gradients."""
        self.gradients = torch.empty_like(self.rows)
        self._leaves = {
            name: self.rows[:, end - shape.numel() : end].view(-1, *shape).requires_grad_()
            for name, shape, end in zip(self._names, self._shapes, self._ends, strict=True)
        }

    def differentiate(self, batch: Batch, of_all: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses (R,) of all networks, and the shares classified right (k, R), k mostly 0 or 1.

        The gradients are in :attr:`gradients` afterwards, the buffers have seen the batch.

        Args:
            batch: Every network's own, stacked along a new first dimension.
            of_all: Whether instead it is one batch, the same for all.
        """
        tensors = {f"model.{name}": t for name, t in {**self._leaves, **self._fixed}.items()}
        losses, right = vmap(self._call, in_dims=(0, None if of_all else 0))(tensors, batch)
        found = torch.autograd.grad(losses.sum(), list(self._leaves.values()))
        torch.cat([gradient.flatten(1) for gradient in found], 1, out=self.gradients)
        losses = losses.detach()
        return losses, torch.stack(right) if right else losses.new_empty(0, len(losses))

    def _call(self, tensors: dict[str, torch.Tensor], batch: Batch) -> Any:
        return functional_call(self._host, tensors, (batch,))

    def keep(self, runs: torch.Tensor) -> None:
        """Go on with some of the networks only."""
        self.rows = self.rows.detach()[runs]
        self._fixed = {name: t[runs] for name, t in self._fixed.items()}
        self._settle()

    @torch.no_grad()
    def copy_to(self, model: nn.Module, run: int) -> None:
        """Give `model` the numbers of one of the networks."""
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, stacked in {**self._leaves, **self._fixed}.items():
            tensors[name].copy_(stacked[run])


class _Loss(nn.Module):
    """A network and its loss as one module: batch -> (loss, shares classified right)."""

    def __init__(self, model: nn.Module, loss: Loss | Objective) -> None:
        super().__init__()
        self.model = model
        self.loss = (loss,)  # hidden from the module, which may have parameters of its own

    def forward(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        hits: list[torch.Tensor] = []
        loss = noting(self.loss[0], hits, check=False)(self.model, batch)
        return loss.reshape(()), hits


def _fixed(model: nn.Module) -> dict[str, torch.Tensor]:
    """Frozen parameters and buffers."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(model.named_buffers())}
