"""What takes the place of torch's own operations is the same function, to the second derivative."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.curvature.recomputed import Packing
from sounding.curvature.shortcuts import Shortcuts


def _derivatives(function, inputs, seed=0):
    """The value, the gradient, and a Hessian product, along a fixed random direction."""
    g = torch.Generator().manual_seed(seed)
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = function(*inputs)
    weight = torch.randn(y.shape, generator=g, dtype=y.dtype)
    loss = (weight * (y + 0.3 * y**2)).sum()
    first = torch.autograd.grad(loss, inputs, create_graph=True)
    along = [torch.randn(x.shape, generator=g, dtype=x.dtype) for x in inputs]
    second = torch.autograd.grad(first, inputs, along, allow_unused=True, materialize_grads=True)
    return [y.detach(), *(d.detach() for d in first), *second]


def _same(function, inputs):
    plain = _derivatives(function, inputs)
    with Shortcuts(Packing()):
        quick = _derivatives(function, inputs)
    for one, other in zip(plain, quick, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
    return quick


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "function",
    [F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.silu, F.mish, nn.GELU("tanh"), nn.SiLU()],
)
def test_activations(function):
    _same(function, [torch.linspace(-5, 5, 41, dtype=torch.float64)])


def test_activations_by_their_closed_form():
    # SiLU at 0: x s(x) has slope 1/2 and second derivative 1/2.
    with Shortcuts(Packing()):
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(F.silu(x).sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
    assert float(slope.detach()) == 0.5
    assert float(bend) == 0.5


CONVOLUTIONS = {
    "1d": (F.conv1d, (2, 3, 9), (4, 3, 3), {}),
    "2d": (F.conv2d, (2, 3, 6, 6), (4, 3, 3, 3), {"padding": 1}),
    "2d strided": (F.conv2d, (2, 3, 7, 7), (4, 3, 3, 3), {"stride": 2, "padding": (1, 0)}),
    "2d dilated": (F.conv2d, (2, 3, 7, 7), (4, 3, 2, 2), {"dilation": 2}),
    "2d grouped": (F.conv2d, (2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2}),
    "2d in words": (F.conv2d, (2, 3, 5, 5), (4, 3, 3, 3), {"padding": "same"}),
    "2d without a batch": (F.conv2d, (3, 5, 5), (4, 3, 3, 3), {}),
    "3d": (F.conv3d, (2, 2, 4, 4, 4), (3, 2, 2, 2, 2), {"padding": 1}),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, bias):
    function, of_x, of_weight, settings = CONVOLUTIONS[name]
    inputs = [_random(*of_x), _random(*of_weight, seed=1)]
    if bias:
        inputs.append(_random(of_weight[0], seed=2))
    _same(lambda *tensors: function(*tensors, **settings), inputs)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_a_batch_norm_behind_a_convolution_goes_into_its_weights(affine, bias):
    mean, variance = _random(4, seed=3), _random(4, seed=4).exp()
    inputs = [_random(2, 3, 5, 5), _random(4, 3, 3, 3, seed=1)]
    inputs += [_random(4, seed=5 + i) for i in range(2 * affine + bias)]

    def function(x, weight, *others):
        y = F.conv2d(x, weight, others[2 * affine] if bias else None, padding=1)
        scale, shift = others[:2] if affine else (None, None)
        return F.batch_norm(y, mean, variance, scale, shift, False, 0.1, 1e-5)

    _same(function, inputs)


def test_a_batch_norm_over_batch_statistics_is_left_as_it_is():
    def function(x, weight):
        return F.batch_norm(F.conv2d(x, weight), None, None, training=True)

    _same(function, [_random(3, 2, 4, 4), _random(3, 2, 2, 2, seed=1)])


def test_a_batch_norm_behind_something_else_is_left_as_it_is():
    def function(x, weight):
        y = F.conv2d(x, weight).relu()
        return F.batch_norm(y, torch.zeros(3).double(), torch.ones(3).double())

    _same(function, [_random(3, 2, 4, 4), _random(3, 2, 2, 2, seed=1)])
