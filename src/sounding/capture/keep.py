"""Give a model back exactly as it was: gradients, buffers, plain attributes, mode, random state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sounding.randomness import random_state_given_back

__all__ = ["given_back", "random_state_given_back"]

_TABLES = ("_parameters", "_buffers", "_modules")


@contextlib.contextmanager
def given_back(*modules: nn.Module) -> Iterator[None]:
    """Whatever runs inside, the modules and every random generator leave as they came.

    Gradients are set aside (they are ``None`` inside) and put back, with the hooks that run when
    one has been accumulated (an optimiser's step inside the backward pass, for example). Buffers
    and the weights that a forward pass rewrites (``Embedding(max_norm=...)``) are copied and
    restored, attributes that it sets are set back; also after an exception or Ctrl-C. Parameters
    are not copied: a forward and backward pass leaves them alone.
    """
    parts = list(dict.fromkeys(m for root in modules for m in root.modules()))
    own = (p for m in parts for p in m._parameters.values() if p is not None)
    parameters = list(dict.fromkeys(own))
    gradients = [p.grad for p in parameters]
    attributes = [_attributes(m) for m in parts]
    tensors = [(t, t.detach().clone()) for m in parts for t in _rewritten(m)]
    hooks = [(table, dict(table)) for p in parameters if (table := _hooks(p))]
    with random_state_given_back():
        try:
            for table, _ in hooks:
                table.clear()
            for p in parameters:
                p.grad = None
            yield
        finally:
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient
            for table, saved in hooks:
                table.update(saved)
            for module, saved in zip(parts, attributes, strict=True):
                _restore(module, *saved)
            with torch.no_grad():
                for tensor, copy in tensors:
                    if tensor.shape != copy.shape:
                        tensor.data = copy
                    elif not torch.equal(tensor, copy):
                        tensor.copy_(copy)


def _attributes(module: nn.Module) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The module's plain attributes (its mode among them), and what it has registered."""
    tables = {name: getattr(module, name) for name in _TABLES}
    own = {name: dict(table) for name, table in tables.items() if isinstance(table, dict)}
    return dict(module.__dict__), own  # a scripted module keeps its tables out of reach, in C++


def _restore(module: nn.Module, plain: dict[str, Any], tables: dict[str, dict[str, Any]]) -> None:
    _reset(module.__dict__, plain)
    for name, table in tables.items():
        _reset(getattr(module, name), table)


def _reset(table: dict[str, Any], saved: dict[str, Any]) -> None:
    """Make `table` hold the same objects again; it stays untouched where it does already."""
    if list(table) != list(saved) or any(table[key] is not saved[key] for key in saved):
        table.clear()
        table.update(saved)


def _hooks(parameter: torch.Tensor) -> dict[int, Any] | None:
    """The hooks on its accumulated gradient: they belong to the training, not to a look at it."""
    return getattr(parameter, "_post_accumulate_grad_hooks", None)


def _rewritten(module: nn.Module) -> list[torch.Tensor]:
    """Tensors of its own that the forward pass may change in place."""
    found = [b for b in module._buffers.values() if b is not None]
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
        found.append(module.weight)
    return found
