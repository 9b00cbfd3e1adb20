"""Give a model back exactly as it was: gradients, buffers, mode, random state."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def given_back(*modules: nn.Module) -> Iterator[None]:
    """Whatever runs inside, the modules and every random generator leave as they came.

    Gradients are set aside (they are ``None`` inside) and put back, buffers and the weights that
    a forward pass rewrites (``Embedding(max_norm=...)``) are copied and restored, also after an
    exception or Ctrl-C. Parameters are not copied: a forward and backward pass leaves them alone.
    """
    parameters = list(dict.fromkeys(p for m in modules for p in m.parameters()))
    gradients = [p.grad for p in parameters]
    modes = [(m, m.training) for root in modules for m in root.modules()]
    tensors = [(t, t.detach().clone()) for root in modules for t in _rewritten(root)]
    buffers = [
        (m, name, b, None if b is None else b.detach().clone())
        for root in modules
        for m in root.modules()
        for name, b in m._buffers.items()
    ]
    with random_state_given_back():
        try:
            for p in parameters:
                p.grad = None
            yield
        finally:
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for tensor, copy in tensors:
                    tensor.copy_(copy)
                for module, name, buffer, copy in buffers:
                    if buffer is not None and not _same(buffer, copy):
                        buffer.copy_(copy)
                    module._buffers[name] = buffer


@contextlib.contextmanager
def random_state_given_back() -> Iterator[None]:
    """The generators of Python, numpy, and torch on every device, restored at the end."""
    python, arrays, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _rewritten(root: nn.Module) -> list[torch.Tensor]:
    """Parameters that the forward pass itself changes in place."""
    return [
        m.weight
        for m in root.modules()
        if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.max_norm is not None
    ]


def _same(buffer: torch.Tensor, copy: torch.Tensor) -> bool:
    return buffer.shape == copy.shape and torch.equal(buffer, copy)
