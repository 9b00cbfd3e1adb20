"""Standardised inputs: the layer sees mean 0 and deviation 1, as numpy counts them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sounding.remedies import prescribe, treat
from sounding.result import NotApplicable
from sounding.zoo.nets import LeNet, mlp, resnet
from sounding.zoo.sequences import LanguageModel, Recurrent


def given_to(layer, net, x):
    seen = []
    handle = layer.register_forward_hook(lambda _, args, __: seen.append(args[0].detach().numpy()))
    net(x)
    handle.remove()
    return seen[0]


SHAPES = [
    (lambda: mlp(64, 8, 2), lambda n: n[0], (32, 64), (0,)),
    (LeNet, lambda n: n.conv1, (32, 1, 8, 8), (0, 2, 3)),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), lambda n: n[1], (32, 1, 8, 8), (0,)),
    (lambda: Recurrent(nn.GRU), lambda n: n.recurrent, (32, 5, 8), (0, 1)),
    (lambda: nn.Linear(6, 1), lambda n: n, (32, 6), (0,)),
]


@pytest.mark.parametrize(("make", "first", "shape", "over"), SHAPES)
def test_each_feature_has_mean_0_and_deviation_1(cure, make, first, shape, over):
    x = torch.randn(shape) * torch.rand(shape[1:]) * 50 + 7
    net = make()
    cure(net, "standardise_inputs", inputs=x)
    seen = given_to(first(net), net, x)
    np.testing.assert_allclose(seen.mean(over), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(over), 1, rtol=1e-3)


def test_several_batches_count_and_no_other(cure):
    batches = [torch.randn(16, 6) * 3 + 5 for _ in range(4)]
    net, order = mlp(6, 8, 1), iter(batches)
    next(order)  # the one that is traced
    order = iter(batches)
    treat(prescribe("standardise_inputs", batches=3), net, lambda: net(next(order)))
    rows = torch.cat(batches[1:]).numpy()
    seen = given_to(net[0], net, batches[0])
    expected = (batches[0].numpy() - rows.mean(0)) / rows.std(0)
    np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-5)


def test_a_constant_feature_is_only_shifted(cure):
    x = torch.randn(32, 6)
    x[:, 2] = 255.0
    net = cure(mlp(6, 8, 1), "standardise_inputs", inputs=x)
    assert not given_to(net[0], net, x)[:, 2].any()
    assert net(x).isfinite().all()


def test_numbers_are_saved_and_copied_with_the_model(cure):
    x = 9 * torch.randn(32, 6) + 3
    net = cure(mlp(6, 8, 1), "standardise_inputs", inputs=x)
    assert {"0.input_mean", "0.input_deviation"} <= set(net.state_dict())
    torch.testing.assert_close(copy.deepcopy(net)(x), net(x))
    assert net.double()(x.double()).dtype == torch.float64


def test_what_has_no_inputs_to_standardise(cure):
    tokens = torch.randint(0, 32, (4, 7))
    with pytest.raises(NotApplicable, match="no layer is given the inputs"):
        cure(LanguageModel(1), "standardise_inputs", inputs=tokens)
    normal = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 1))
    with pytest.raises(NotApplicable, match="no layer is given the inputs"):
        cure(normal, "standardise_inputs", inputs=torch.randn(4, 6))
    with pytest.raises(ValueError, match="batches is 0"):
        cure(resnet(1), "standardise_inputs", batches=0)
