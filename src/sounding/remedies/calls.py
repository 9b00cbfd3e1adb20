"""Listen to the calls of some modules while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

Hear = Callable[[nn.Module, Any, Any], None]  # (module, its arguments, its output)


def hearing(
    modules: Iterable[nn.Module], hear: Hear, forward: Callable[[], object], *, times: int = 1
) -> None:
    """Run `forward`; `hear` is told of every call of the modules."""
    handles = [module.register_forward_hook(hear) for module in modules]
    try:
        for _ in range(times):
            forward()
    finally:
        for handle in handles:
            handle.remove()
