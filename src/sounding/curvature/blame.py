"""Which layer has no right second derivative: each is tried on its own, inner ones first."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from sounding.capture.calls import ModuleCall, module_calls
from sounding.curvature.check import verify
from sounding.curvature.setting import Subject
from sounding.objective import Batch, Objective


class _Alone(nn.Module):
    """One call of a module, its real inputs made into parameters."""

    def __init__(self, call: ModuleCall) -> None:
        super().__init__()
        self.module = call.module
        leaves, self._tree = tree_flatten((call.args, call.kwargs))
        self._fixed = leaves
        self.inputs = nn.ParameterDict(
            {
                str(i): nn.Parameter(leaf)
                for i, leaf in enumerate(leaves)
                if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
            }
        )

    def forward(self) -> Any:
        leaves = [self.inputs.get(str(i), leaf) for i, leaf in enumerate(self._fixed)]
        args, kwargs = tree_unflatten(leaves, self._tree)
        return self.module(*args, **kwargs)


def culprits(subject: Subject, batch: Batch, methods: tuple[str, ...]) -> list[str]:
    """Names of the innermost modules for which no method is right; [] where every one is.

    Then it is what the loss, or a function between modules, does. Costs a few passes a module;
    `subject` and `batch` are a small copy.
    """

    def compute() -> None:
        with subject.prepared():
            subject.loss(batch)

    found: list[str] = []
    for call in sorted(module_calls(subject.model, compute), key=lambda c: -c.name.count(".")):
        inside = any(name.startswith(f"{call.name}.") for name in found)
        if call.module is subject.model or inside:
            continue
        if not _right(call, methods):
            found.append(call.name)
    types = dict(subject.model.named_modules())
    return [f"{name} ({type(types[name]).__name__})" for name in found]


def _right(call: ModuleCall, methods: tuple[str, ...]) -> bool:
    alone = _Alone(call)
    if not any(p.requires_grad for p in alone.parameters()):
        return True
    subject = Subject(alone, Objective(lambda model, _: _mixed(model())))
    tried = [verify(subject, None, method) for method in methods]
    return any(v.outcome in ("right", "undecided") for v in tried)


def _mixed(output: Any) -> torch.Tensor:
    """A scalar of any output: curved, so that first derivatives enter its Hessian too."""
    leaves = [
        leaf
        for leaf in tree_flatten(output)[0]
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.requires_grad
    ]
    total = 0.0
    for leaf in leaves:
        weight = torch.linspace(0.5, 1.5, leaf.numel(), dtype=leaf.dtype, device=leaf.device)
        total = total + (weight * (leaf + 0.5 * leaf.square()).reshape(-1)).sum()
    return total if isinstance(total, torch.Tensor) else torch.zeros((), requires_grad=True)
