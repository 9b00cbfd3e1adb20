"""Which module is running, and what a call inside it is named."""

from __future__ import annotations

from collections import Counter

from torch import nn


class Scope:
    """The stack of the model's modules that are running; modules of nobody's are left out."""

    def __init__(self, model: nn.Module, prefix: str = "") -> None:
        self._model = model
        self._names = {
            id(m): ".".join(part for part in (prefix, name) if part)
            for name, m in model.named_modules()
        }
        self._running: list[tuple[str, nn.Module]] = []  # names with their call, modules
        self._calls: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()

    def restart(self) -> None:
        """Another pass begins."""
        self._running.clear()
        self._calls.clear()
        self._labels.clear()

    @property
    def inside(self) -> bool:
        """Whether a module of the model is running."""
        return bool(self._running)

    @property
    def module(self) -> str:
        """Qualified name of the innermost module that is running."""
        return self._running[-1][0].partition("@")[0] if self._running else ""

    def knows(self, module: nn.Module) -> bool:
        """Whether it is one of the model's."""
        return id(module) in self._names

    def enter(self, module: nn.Module) -> bool:
        """A module begins; False if it is none of the model's."""
        name = self._names.get(id(module))
        if name is None:
            return False
        self._calls[name] += 1
        count = self._calls[name]
        self._running.append((name if count == 1 else f"{name}@{count}", module))
        return True

    def running(self, module: nn.Module) -> bool:
        """Whether `module` is the innermost that runs."""
        return bool(self._running) and self._running[-1][1] is module

    def leave(self) -> None:
        """The innermost module has ended."""
        self._running.pop()

    @property
    def running_name(self) -> str:
        """The innermost module and its call, 'fc@2'."""
        return self._running[-1][0] if self._running else ""

    def label(self, operation: str) -> str:
        """What a call of `operation` is named.

        'fc' and 'fc@2' where a layer of torch's is its one operation, 'block#relu' for an operation
        inside a module.
        """
        if not self._running:
            return operation
        running, module = self._running[-1]
        return running if running and _is_layer(module) else f"{running}#{operation}"

    def unique(self, label: str) -> str:
        """The label, with a count from its second use on: 'block#relu.2'."""
        self._labels[label] += 1
        count = self._labels[label]
        return label if count == 1 else f"{label}.{count}"

    def never_ran(self, used: set[str]) -> list[str]:
        """Modules with parameters of their own that neither ran nor lent them to a call."""
        idle = []
        for name, module in self._model.named_modules():
            known = self._names.get(id(module))
            if known is None or self._calls[known]:  # or it was made in this very pass
                continue
            own = [p for p, tensor in module._parameters.items() if tensor is not None]
            if own and not any((f"{name}.{p}" if name else p) in used for p in own):
                idle.append(name or type(module).__name__)
        return idle


def _is_layer(module: nn.Module) -> bool:
    """Whether the forward is torch's own and calls no other module but parametrisations."""
    written = getattr(getattr(type(module), "forward", None), "__module__", None) or ""
    children = (name for name, _ in module.named_children())
    return written.startswith("torch.nn") and all(n == "parametrizations" for n in children)
