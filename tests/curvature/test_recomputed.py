"""Checkpointed layers: the same matrix as without checkpoints, and a product leaves no trace.

The other tests would not see that the pass which a product makes anew moves running statistics, nor
that it runs by other operations than the first one, so that a slower method has to take over.
"""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sounding.curvature.fisher import gradient_covariance
from sounding.curvature.gauss_newton import gauss_newton
from sounding.curvature.hessian import hessian

MATRICES = (hessian, gauss_newton, gradient_covariance)


class Part(nn.Module):
    """A block whose activations may be computed anew."""

    def __init__(self, inner, anew):
        super().__init__()
        self.inner, self.anew = inner, anew

    def forward(self, h):
        return checkpoint(self.inner, h, use_reentrant=False) if self.anew else self.inner(h)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inwards = nn.Linear(6, 18)

    def forward(self, h):
        q, k, v = self.inwards(h).view(-1, 1, 2, 9).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v).flatten(1)


class Normed(nn.Module):
    """Batch norm by a plain function, which no module's call gives away."""

    def __init__(self, anew):
        super().__init__()
        self.anew = anew
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("variance", torch.ones(6))

    def normed(self, h):
        return F.batch_norm(h, self.mean, self.variance, training=True)

    def forward(self, h):
        return checkpoint(self.normed, h, use_reentrant=False) if self.anew else self.normed(h)


KINDS = {
    "batch norm": lambda anew: Part(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)), anew),
    "shortcuts": lambda anew: Part(
        nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 1, 3, padding=1), nn.Flatten(),
                      nn.BatchNorm1d(6), nn.GELU()), anew,
    ),
    "dropout": lambda anew: Part(nn.Sequential(nn.Linear(6, 6), nn.SiLU(), nn.Dropout(0.3)), anew),
    "attention": lambda anew: Part(nn.Sequential(nn.Linear(6, 6), Attention()), anew),
    "function": Normed,
}  # fmt: skip


def _net(kind, anew):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = KINDS[kind](anew)
        layers = nn.Linear(4, 6), nn.Tanh(), middle, nn.Tanh(), nn.LazyLinear(3)
        net = nn.Sequential(*layers).double()
        with torch.no_grad():
            net(_data()[0])
        return net


def _data():
    g = torch.Generator().manual_seed(1)
    return torch.randn(12, 4, generator=g).double(), torch.arange(12) % 3


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_without_checkpoints_and_leaves_no_trace(kind, matrix):
    plain = matrix(_net(kind, False), F.cross_entropy, _data())
    net = _net(kind, True)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    held, state = dict(net.named_buffers()), torch.get_rng_state()
    found = matrix(net, F.cross_entropy, _data())
    vectors = torch.eye(found.size, dtype=torch.float64)
    for rows in (vectors[:, 0], vectors[:, :3], vectors):
        torch.testing.assert_close(found @ rows, plain @ rows, rtol=1e-9, atol=1e-12)
    assert found.method == plain.method
    assert "kept graph" in found.method
    assert torch.equal(state, torch.get_rng_state())
    for name, buffer in net.named_buffers():
        assert buffer is held[name]
        assert torch.equal(buffer, before[name])


def test_torchs_hooks_are_as_they_were():
    enter, leave = saved_tensors_hooks.__enter__, saved_tensors_hooks.__exit__
    hessian(_net("batch norm", True), F.cross_entropy, _data())
    assert (saved_tensors_hooks.__enter__, saved_tensors_hooks.__exit__) == (enter, leave)
