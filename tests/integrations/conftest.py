"""After every test here torch is as it was before."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))  # tests import what they share, from loops.py


def _traces():
    """What a watch wraps or hooks in torch."""
    from torch.nn.modules import module
    from torch.optim import optimizer

    hooks = [
        getattr(module, name)
        for name in vars(module)
        if name.startswith("_global_") and isinstance(getattr(module, name), dict)
    ]
    hooks += [optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks]
    wrapped = (
        torch.autograd.backward,
        nn.Module.__init__,
        torch.optim.Optimizer.__init__,
        nn.utils.clip_grad_norm_,
        torch.no_grad.__enter__,
    )
    return [len(one) for one in hooks], wrapped


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """After each test torch is as it was before."""
    before = _traces()
    yield
    assert _traces() == before
