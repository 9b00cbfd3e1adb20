"""What goes into each module during one forward pass: copies, to run a module again on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map


@dataclasses.dataclass(frozen=True, eq=False)
class ModuleCall:
    """The first call of a module, with copies of its inputs."""

    name: str  # its path in the model, '' for the model itself
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def module_calls(model: nn.Module, compute: Callable[[], Any]) -> list[ModuleCall]:
    """The first call of each module in `model` while `compute` runs, in the order of execution.

    What `compute` raises ends it early and is swallowed: the calls up to there are what is asked.
    """
    found: dict[str, ModuleCall] = {}
    handles = []

    def remember(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if name not in found:
                copied = tree_map(_copy, (args, kwargs))
                found[name] = ModuleCall(name, module, *copied)

        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    for name, module in model.named_modules():
        remember(name, module)
    try:
        compute()
    except Exception:  # the model is known to fail somewhere; where is the question
        pass
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value
