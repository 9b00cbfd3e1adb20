"""Variances and fans against torch.nn.init and against convolutions that count for themselves.

Catches a wrong factor, a fan taken for the other one, and a scheme not recognised in real layers.
"""

import math

import pytest
import torch
from torch import nn

from sounding.theory import (
    SCHEMES,
    activation,
    bias_variance,
    closest_scheme,
    fans,
    required_gain,
    weight_variance,
)


@pytest.mark.parametrize("shape", [(7, 5), (8, 3, 3), (64, 3, 5, 5), (2, 4, 3, 2, 5)])
def test_plain_fans_are_torchs(shape):
    expected = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert tuple(fans(shape)) == expected


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("groups", "stride", "kernel"), [(1, 1, 3), (4, 1, 3), (2, 2, 4), (8, 3, 6)]
)
def test_fans_are_what_a_convolution_counts(transposed, groups, stride, kernel):
    # all weights and inputs 1: an output is the number of inputs summed, and the gradient of the
    # sum of all outputs is the number of outputs fed; averaged over one period, far from borders
    make = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = make(8, 16, kernel, stride=stride, groups=groups, bias=False).double()
    nn.init.ones_(layer.weight)
    x = torch.ones(1, 8, 42, 42, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    (fed,) = torch.autograd.grad(out.sum(), x)
    inner = slice(12, 12 + 6)  # a multiple of both strides
    summed = out if not transposed else out[:, :, inner, inner]
    counted = fans(layer.weight.shape, transposed=transposed, groups=groups, stride=stride)
    assert counted.fan_in == pytest.approx(summed.mean().item())
    assert counted.fan_out == pytest.approx(fed[:, :, inner, inner].mean().item())


def test_a_bias_has_no_fans():
    with pytest.raises(ValueError, match=r"shape \(10,\) sums no inputs"):
        fans((10,))


def _filled(initialise, rows=300, columns=700):
    torch.manual_seed(0)
    return initialise(torch.empty(rows, columns, dtype=torch.float64))


INITIALISERS = {
    ("zero", None): nn.init.zeros_,
    ("constant", None): lambda w: nn.init.constant_(w, 0.3),
    ("normal", 0.05): lambda w: nn.init.normal_(w, std=0.05),
    ("pytorch default", None): lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    ("xavier", None): nn.init.xavier_uniform_,
    ("xavier", 5 / 3): lambda w: nn.init.xavier_normal_(w, gain=5 / 3),
    ("kaiming", None): lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    ("kaiming fan_out", None): lambda w: nn.init.kaiming_uniform_(
        w, mode="fan_out", nonlinearity="relu"
    ),
    ("lecun", None): lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    ("orthogonal", None): nn.init.orthogonal_,
    ("orthogonal", 2.0): lambda w: nn.init.orthogonal_(w, gain=2.0),
}


def test_every_scheme_has_an_oracle():
    assert {scheme for scheme, _ in INITIALISERS} == set(SCHEMES)


@pytest.mark.parametrize(("scheme", "gain"), INITIALISERS)
def test_variance_is_what_torch_draws(scheme, gain):
    # 210,000 weights: standard error 0.3 % at most; 4 of them
    weights = _filled(INITIALISERS[scheme, gain])
    expected = weight_variance(scheme, 700, 300, gain)
    assert weights.var(correction=0).item() == pytest.approx(expected, rel=0.0125, abs=1e-30)


def test_biases_of_torchs_default():
    torch.manual_seed(0)
    layer = nn.Linear(50, 20_000)
    measured = layer.bias.var().item()
    assert bias_variance("pytorch default", 50) == pytest.approx(measured, rel=0.04)
    assert bias_variance("kaiming", 50) == 0.0


def test_names_are_read_leniently_but_not_guessed():
    for name, expected in {
        "He": 2 / 50,
        "kaiming-fan-in": 2 / 50,
        "kaiming_fan_out": 2 / 10,
        "pytorch_default": 1 / 150,
        "glorot": 2 / 60,
    }.items():
        assert weight_variance(name, 50, 10) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no scheme is called 'kaimin'; known are zero, constant"):
        weight_variance("kaimin", 3, 3)
    with pytest.raises(ValueError, match="has no gain"):
        weight_variance("zero", 3, 3, 2.0)


def _closest(weight, **options):
    variance = weight.detach().var(correction=0).item()
    counted = fans(weight.shape)
    return closest_scheme(variance, *counted, weight.numel(), **options)


@pytest.mark.parametrize("seed", range(5))
def test_real_layers_are_recognised(seed):
    torch.manual_seed(seed)
    assert _closest(nn.Linear(200, 120).weight) == ("pytorch default",)
    assert _closest(nn.Conv2d(16, 40, 3).weight) == ("pytorch default",)
    linear = nn.Linear(200, 120)
    assert _closest(nn.init.kaiming_normal_(linear.weight)) == ("kaiming",)
    assert _closest(nn.init.kaiming_normal_(linear.weight, mode="fan_out"))[0] == "kaiming fan_out"
    assert _closest(nn.init.xavier_uniform_(linear.weight)) == ("xavier",)
    assert _closest(nn.init.normal_(linear.weight, std=0.02)) == ("normal(0.02)",)
    assert "orthogonal" in _closest(nn.init.orthogonal_(linear.weight))
    assert _closest(nn.init.zeros_(linear.weight)) == ("zero", "constant")
    assert _closest(nn.init.normal_(linear.weight, std=0.3)) == ()


def test_a_square_layer_cannot_tell_three_schemes_apart():
    torch.manual_seed(0)
    weight = nn.init.xavier_normal_(torch.empty(300, 300))
    assert set(_closest(weight)) == {"xavier", "lecun", "orthogonal"}


def test_uniform_weights_are_known_more_sharply():
    # 4.5 % off; 4 standard errors of 10,000 weights are 5.7 % if normal, 3.6 % if uniform
    variance = 1.045 / (3 * 100)
    assert closest_scheme(variance, 100, 100, 10_000) == ("pytorch default",)
    assert closest_scheme(variance, 100, 100, 10_000, kurtosis=1.8) == ()


def test_the_error_bar_is_right():
    # of 2,000 layers of 400 weights, those refused at 2 standard errors: 4.55 % normally
    # distributed variances, a little more for the chi-square's tail; 3.5 standard errors of count
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2000, 400, generator=generator, dtype=torch.float64) / math.sqrt(20)
    refused = sum(
        "lecun" not in closest_scheme(float(v), 20, 20, 400, errors=2.0)
        for v in weights.pow(2).mean(1)
    )
    assert 0.03 < refused / 2000 < 0.065


def test_a_senseless_variance_is_refused():
    for variance, size in ((-1.0, 5), (math.nan, 5), (1.0, 0)):
        with pytest.raises(ValueError, match="need a finite variance"):
            closest_scheme(variance, 3, 3, size)


def test_required_gain_closed_form_and_conventions():
    for slope in (0.0, 0.01, 0.25, 1.0):
        phi = activation("leaky_relu", slope=slope)
        expected = torch.nn.init.calculate_gain("leaky_relu", slope)
        assert required_gain(phi) == pytest.approx(expected, rel=1e-12)
    assert required_gain(activation("identity")) == 1.0
    assert required_gain(activation("tanh")) == pytest.approx(1.5925, abs=5e-5)
