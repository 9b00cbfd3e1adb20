"""The losses and gradients of stacked chains of layers, written out where that is faster.

A linear layer and its activation take three matrix products and two passes over what they
put out. Small networks spend more time on everything around that than on the products
themselves; so here the products of all runs are one call each, and everything is written into
memory that is used again at the next step. Other layers go through ``torch.func.vmap`` and
autograd.

Letters: R runs, B samples, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional

from sounding.objective import Batch, Loss
from sounding.train.alike import same
from sounding.train.loop import noting
from sounding.train.stack import Stack
from sounding.train.stacked_whole import Losses

aten = torch.ops.aten


class _Layer(Protocol):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs (R, B, ...) at inputs (R, B, ...)."""
        ...

    def backward(self, slope: torch.Tensor, onwards: bool) -> torch.Tensor:
        """The loss's gradient by the inputs, if `onwards`; that by the parameters is written."""
        ...


class Chain:
    """Layers one after the other, and a loss of their output.

    `labels` says whether all targets are class labels, one a sample, and none of them negative.
    """

    def __init__(self, stack: Stack, model: nn.Sequential, loss: Loss, labels: bool) -> None:
        self.stack, self.loss = stack, loss
        self._by_hand = labels and _is_cross_entropy(loss)
        self.layers, first = _layers(stack, model)
        self.last_backward = first  # nothing before it is trained
        self.written_out = not any(isinstance(layer, _Others) for layer in self.layers)

    def differentiate(self, batch: Batch, *, of_all: bool, note: bool) -> Losses:
        """As of :class:`sounding.train.stacked_whole.Whole`."""
        runs = len(self.stack.rows)
        x, y = (t.expand(runs, *t.shape) for t in batch) if of_all else batch
        with torch.no_grad():
            for layer in self.layers:
                x = layer.forward(x)
            losses, right, slope = self._loss(x, y, note)
            for number in range(len(self.layers) - 1, self.last_backward - 1, -1):
                slope = self.layers[number].backward(slope, number > self.last_backward)
        return losses, right

    def _loss(self, output: torch.Tensor, target: torch.Tensor, note: bool) -> Any:
        if self._by_hand and output.ndim == 3:
            return _cross_entropy(output, target, note)
        return self._any_loss(output, target, note)

    @torch.enable_grad()
    def _any_loss(self, output: torch.Tensor, target: torch.Tensor, note: bool) -> Any:
        def one(output: torch.Tensor, target: torch.Tensor) -> Any:
            hits: list[torch.Tensor] = []
            loss = noting(self.loss, hits, check=False)(nn.Identity(), (output, target))
            return loss.reshape(()), hits

        output = output.detach().requires_grad_()
        losses, right = vmap(one)(output, target)
        (slope,) = torch.autograd.grad(losses.sum(), output)
        losses = losses.detach()
        return losses, torch.stack(right) if note and right else _none(losses), slope


def _none(losses: torch.Tensor) -> torch.Tensor:
    return losses.new_empty(0, len(losses))


def _is_cross_entropy(loss: Loss) -> bool:
    plain = nn.CrossEntropyLoss()
    return loss is functional.cross_entropy or (type(loss) is type(plain) and same(loss, plain))


def _cross_entropy(output: torch.Tensor, target: torch.Tensor, note: bool) -> Any:
    """Losses, shares classified right, and the losses' gradient by the output (R, B, C)."""
    samples, column = target.shape[1], target.unsqueeze(2)
    slope = torch.log_softmax(output, 2)
    losses = slope.gather(2, column).sum((1, 2)).div_(-samples)
    slope.exp_()
    slope.scatter_add_(2, column, slope.new_full((1, 1, 1), -1.0).expand_as(column))
    slope.div_(samples)
    right = _none(losses)
    if note:
        right = (output.argmax(2) == target).sum(1, keepdim=True).t() / samples
    return losses, right, slope


# --- layers ---------------------------------------------------------------------------------------

Activation = tuple[
    Callable[[torch.Tensor], Any],  # in place
    Callable[[torch.Tensor, torch.Tensor], Any],  # (slope, output): the slope goes on, in place
]


def _activation(module: nn.Module) -> Activation | None:
    """An activation whose derivative its output tells; None of any other module."""
    if type(module) is nn.ReLU:
        return torch.relu_, lambda g, y: aten.threshold_backward.grad_input(g, y, 0, grad_input=g)
    if type(module) is nn.Tanh:
        return torch.tanh_, lambda g, y: aten.tanh_backward.grad_input(g, y, grad_input=g)
    if type(module) is nn.Sigmoid:
        return torch.sigmoid_, lambda g, y: aten.sigmoid_backward.grad_input(g, y, grad_input=g)
    if type(module) is nn.LeakyReLU and module.negative_slope > 0:
        slope = module.negative_slope
        return (
            lambda x: functional.leaky_relu_(x, slope),
            lambda g, y: aten.leaky_relu_backward.grad_input(g, y, slope, True, grad_input=g),
        )
    return None


class _Linear:
    """A linear layer and the activation after it."""

    def __init__(self, stack: Stack, name: str, activation: Activation | None) -> None:
        tensors = {**stack.parameters, **stack.fixed}
        self.weight = tensors[f"{name}.weight"]  # (R, F', F)
        self.bias = tensors.get(f"{name}.bias")  # (R, F')
        self.weight_slope = stack.slopes.get(f"{name}.weight")
        self.bias_slope = stack.slopes.get(f"{name}.bias")
        self.activation = activation
        self.x = self.y = self.x_slope = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.x = x.flatten(1, -2)
        y = _memory(self.y, self.x, self.weight.shape[1])
        weight = self.weight.transpose(1, 2)
        torch.bmm(self.x, weight, out=y)
        if self.bias is not None:
            y.add_(self.bias.unsqueeze(1))  # together with the product, baddbmm, is slower
        if self.activation is not None:
            self.activation[0](y)
        self.y = y
        return y.view(*x.shape[:-1], -1)

    def backward(self, slope: torch.Tensor, onwards: bool) -> torch.Tensor:
        shape = (*slope.shape[:-1], -1)
        slope = slope.reshape(self.y.shape).contiguous()  # a loss may give one number for many
        if self.activation is not None:
            self.activation[1](slope, self.y)
        if self.weight_slope is not None:
            # into memory of its own, then copied: into parts of the rows torch would loop over runs
            self.weight_slope.copy_(torch.bmm(slope.transpose(1, 2), self.x))
        if self.bias_slope is not None:
            torch.sum(slope, 1, out=self.bias_slope)
        if not onwards:
            return slope
        self.x_slope = _memory(self.x_slope, self.x, self.x.shape[2])
        return torch.bmm(slope, self.weight, out=self.x_slope).view(shape)


def _memory(old: torch.Tensor, like: torch.Tensor, width: int) -> torch.Tensor:
    shape = (*like.shape[:-1], width)
    return old if old.shape == shape else like.new_empty(shape)


class _Flatten:
    """All but the samples' dimension as one."""

    def __init__(self) -> None:
        self.shape = torch.Size()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shape = x.shape
        return x.flatten(2)

    def backward(self, slope: torch.Tensor, onwards: bool) -> torch.Tensor:
        return slope.reshape(self.shape)


class _Others:
    """Any other layers, one after the other."""

    def __init__(self, stack: Stack, members: Mapping[str, nn.Module]) -> None:
        self.host = nn.Sequential(*members.values())
        self.in_place = any(getattr(module, "inplace", False) for module in self.host.modules())

        def own(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {
                f"{number}.{name.removeprefix(f'{member}.')}": tensor
                for number, member in enumerate(members)
                for name, tensor in tensors.items()
                if name.startswith(f"{member}.")
            }

        self.parameters, self.slopes = own(stack.parameters), own(stack.slopes)
        self.fixed = own(stack.fixed)
        self.leaves: list[torch.Tensor] = []
        self.y = torch.empty(0)

    @torch.enable_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        leaves = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
        x = x.detach().requires_grad_(x.is_floating_point())
        self.leaves = [*leaves.values(), x]
        call = vmap(lambda tensors, x: functional_call(self.host, tensors, (x,)))
        self.y = call({**leaves, **self.fixed}, x.clone() if self.in_place else x)
        return self.y.detach()

    def backward(self, slope: torch.Tensor, onwards: bool) -> torch.Tensor:
        wanted = self.leaves if onwards else self.leaves[:-1]
        found = torch.autograd.grad(self.y, wanted, slope)
        for target, gradient in zip(self.slopes.values(), found, strict=False):
            target.copy_(gradient)
        self.leaves = []
        return found[-1]


# --- which networks -------------------------------------------------------------------------------


def is_chain(model: nn.Sequential) -> bool:
    """Whether a :class:`Chain` is what the network is, and worth it: it has linear layers."""
    members = list(_members(model).values())
    return (
        type(model) is nn.Sequential
        and any(type(member) is nn.Linear for member in members)
        and len(set(members)) == len(members)
        and sum(1 for m in members for _ in m.parameters()) == len(list(model.parameters()))
        and not any(_has_hooks(module) for module in model.modules())
    )


def _members(model: nn.Module, name: str = "") -> dict[str, nn.Module]:
    """Layers by their full name, in order; of chains within chains too."""
    if type(model) is not nn.Sequential:
        return {name.rstrip("."): model}
    return {
        k: v for n, m in model._modules.items() if m for k, v in _members(m, f"{name}{n}.").items()
    }


def _has_hooks(module: nn.Module) -> bool:
    return any(value for name, value in vars(module).items() if name.endswith("_hooks"))


def _layers(stack: Stack, model: nn.Sequential) -> tuple[list[_Layer], int]:
    """The layers, and the number of the first of them that has something trained in it."""
    layers: list[_Layer] = []
    trained: list[bool] = []
    others: dict[str, nn.Module] = {}
    members = list(_members(model).items())

    def add(layer: _Layer, *modules: nn.Module) -> None:
        layers.append(layer)
        trained.append(any(p.requires_grad for module in modules for p in module.parameters()))

    def add_others() -> None:
        if others:
            add(_Others(stack, dict(others)), *others.values())
            others.clear()

    while members:
        name, module = members.pop(0)
        flat = type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)
        if type(module) is nn.Linear:
            add_others()
            activation = _activation(members[0][1]) if members else None
            if activation is not None:
                members.pop(0)
            add(_Linear(stack, name, activation), module)
        elif flat:
            add_others()
            add(_Flatten())
        elif type(module) is not nn.Identity:
            others[name] = module
    add_others()
    return layers, trained.index(True)
