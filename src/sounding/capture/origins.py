"""Which call made a tensor: tensors are followed by identity, and through autograd's graph."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

CONSTANT = -1  # made from parameters, buffers or nothing: it depends on no input
REACH = 200  # autograd nodes that are searched for the maker of an unknown tensor


class Origins:
    """Remembers who made each tensor of a pass, without keeping any of them alive."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = {id(p): name for name, p in model.named_parameters()}
        self._buffers = {id(b) for b in model.buffers()}
        self._makers: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._views: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}
        self._severed: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._functions: dict[Any, int] = {}  # autograd nodes of recorded outputs
        self.used: set[str] = set()  # parameters that took part in a call

    def maker(self, tensor: torch.Tensor) -> int | None:
        """Index of the call that made `tensor`, CONSTANT, or None where nothing is known."""
        entry = self._makers.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return entry[1]
        if id(tensor) in self._buffers or self.parameter(tensor):
            return CONSTANT
        return None

    def claim(self, tensor: torch.Tensor, index: int) -> None:
        """From now on `tensor` is what the call `index` made."""
        self._makers[id(tensor)] = (weakref.ref(tensor), index)
        if index != CONSTANT and tensor.grad_fn is not None:
            self._functions[tensor.grad_fn] = index

    def sever(self, tensor: torch.Tensor, index: int) -> None:
        """`tensor` was computed from what the call `index` made, and carries no gradient to it."""
        self._severed[id(tensor)] = (weakref.ref(tensor), index)

    def severed(self, given: list[torch.Tensor]) -> int:
        """The last call that one of these was computed from without a gradient; -1: none."""
        if not self._severed:
            return -1
        known = ((self._severed.get(id(t)), t) for t in given)
        return max((e[1] for e, t in known if e is not None and e[0]() is t), default=-1)

    def parameter(self, tensor: torch.Tensor) -> str:
        """The name of the parameter that `tensor` is, or is a view of; '' for all others."""
        name = self._parameters.get(id(tensor))
        if name is None:
            entry = self._views.get(id(tensor))
            name = entry[1] if entry is not None and entry[0]() is tensor else ""
        if name:
            self.used.add(name)
        return name

    def same_parameter(self, tensor: torch.Tensor, name: str) -> None:
        """`tensor` holds the values of the parameter `name`, arranged otherwise."""
        self._views[id(tensor)] = (weakref.ref(tensor), name)

    def behind(self, tensor: torch.Tensor) -> list[int]:
        """The nearest recorded calls behind an unknown tensor, by autograd's graph."""
        found: dict[int, None] = {}
        level, seen = [tensor.grad_fn], {tensor.grad_fn}
        while level and len(seen) < REACH:
            following = []
            for function in level:
                for below in _below(function):
                    if below in self._functions:
                        found[self._functions[below]] = None
                    elif below not in seen:
                        seen.add(below)
                        following.append(below)
            level = following
        return sorted(found)

    def forget(self) -> None:
        """Let go of the autograd graph."""
        self._functions.clear()


def _below(function: Any) -> Iterator[Any]:
    if function is not None:
        yield from (below for below, _ in function.next_functions if below is not None)
