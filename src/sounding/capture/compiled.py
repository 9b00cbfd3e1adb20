"""A compiled model runs as it was written while it is watched: hooks do not reach compiled code."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled models eagerly inside; nothing happens where none was compiled."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with without_hook_warning(), torch.compiler.set_stance("force_eager"):
        yield


@contextlib.contextmanager
def without_hook_warning() -> Iterator[None]:
    """Silence torch's warning to compiled models of global hooks: ours are gone after the step."""
    filters = list(warnings.filters)
    warnings.filterwarnings("ignore", message=".*when there are global hooks on modules")
    try:
        yield
    finally:
        warnings.filters[:] = filters  # type: ignore[index]


def is_compiled(model: nn.Module) -> bool:
    """Whether the model or a part of it was given to torch.compile."""
    if "torch._dynamo" not in sys.modules:
        return False
    wrapper = sys.modules["torch._dynamo"].OptimizedModule
    return any(
        isinstance(m, wrapper) or getattr(m, "_compiled_call_impl", None) is not None
        for m in model.modules()
    )
