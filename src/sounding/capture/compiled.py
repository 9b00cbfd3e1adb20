"""A compiled model runs as it was written while it is watched: hooks do not reach compiled code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled models eagerly inside; nothing happens where none was compiled."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def is_compiled(model: nn.Module) -> bool:
    """Whether the model or a part of it was given to torch.compile."""
    if "torch._dynamo" not in sys.modules:
        return False
    wrapper = sys.modules["torch._dynamo"].OptimizedModule
    return any(
        isinstance(m, wrapper) or getattr(m, "_compiled_call_impl", None) is not None
        for m in model.modules()
    )
