"""The losses and gradients of a stack, for any network and loss that torch can vectorise."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from sounding.objective import Batch, Loss, Objective
from sounding.train.loop import noting
from sounding.train.stack import Stack

Losses = tuple[torch.Tensor, torch.Tensor]  # (R,), and shares classified right (k, R)


class Whole:
    """Network and loss as they are, under ``torch.func.vmap``.

    Autograd differentiates the sum of the losses, in which each depends on its own network alone.
    """

    written_out = False

    def __init__(self, stack: Stack, model: nn.Module, loss: Loss | Objective) -> None:
        self.stack, self._host = stack, _Loss(model, loss)
        self._names = _every_name(model)

    def differentiate(self, batch: Batch, *, of_all: bool, note: bool) -> Losses:
        """The losses; the gradients are written into the stack, and the buffers see the batch.

        Args:
            batch: Every run's own, stacked along a new first dimension.
            of_all: Whether instead it is one batch, the same for all.
            note: Whether the shares of samples classified right are wanted.
        """
        leaves = {n: p.detach().requires_grad_() for n, p in self.stack.parameters.items()}
        own = {**leaves, **self.stack.fixed}
        tensors = {f"model.{name}": own[first] for name, first in self._names.items()}
        losses, right = vmap(self._call, in_dims=(0, None if of_all else 0))(tensors, batch)
        found = torch.autograd.grad(losses.sum(), list(leaves.values()))
        torch.cat([gradient.flatten(1) for gradient in found], 1, out=self.stack.gradients)
        losses = losses.detach()
        return losses, torch.stack(right) if note and right else losses.new_empty(0, len(losses))

    def _call(self, tensors: dict[str, torch.Tensor], batch: Batch) -> Any:
        return functional_call(self._host, tensors, (batch,), tie_weights=False)


class _Loss(nn.Module):
    """A network and its loss as one module: batch -> (loss, shares classified right)."""

    def __init__(self, model: nn.Module, loss: Loss | Objective) -> None:
        super().__init__()
        self.model = model
        self.loss = (loss,)  # in a tuple: the parameters that it may have are none of the network's

    def forward(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        hits: list[torch.Tensor] = []
        loss = noting(self.loss[0], hits, check=False)(self.model, batch)
        return loss.reshape(()), hits


def _every_name(model: nn.Module) -> dict[str, str]:
    """Of a tensor that several layers share, every name, and its first one.

    A layer that is used several times has one name.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    first = {id(tensor): name for name, tensor in tensors.items()}
    return {
        f"{layer}.{name}".lstrip("."): first[id(tensor)]
        for layer, module in model.named_modules()
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    }
