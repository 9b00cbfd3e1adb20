"""Our values and slopes against torch.nn.functional and its autograd.

Catches a wrong formula, a wrong branch at a kink, and overflow far out; the Gaussian moments are
tested in test_gaussian.py.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sounding.theory import ACTIVATIONS, activation, saturated

CASES = {
    "identity": ({}, lambda z: 1.0 * z),
    "relu": ({}, F.relu),
    "leaky_relu": ({"slope": 0.1}, lambda z: F.leaky_relu(z, 0.1)),
    "prelu": ({}, lambda z: F.prelu(z, torch.tensor([0.25], dtype=z.dtype))),
    "elu": ({"alpha": 0.7}, lambda z: F.elu(z, 0.7)),
    "selu": ({}, F.selu),
    "celu": ({"alpha": 0.5}, lambda z: F.celu(z, 0.5)),
    "gelu": ({}, F.gelu),
    "gelu_tanh": ({}, lambda z: F.gelu(z, approximate="tanh")),
    "silu": ({}, F.silu),
    "mish": ({}, F.mish),
    "softplus": ({}, lambda z: F.softplus(z, threshold=50)),  # 20: off by 2e-9 from there on
    "sigmoid": ({}, torch.sigmoid),
    "tanh": ({}, torch.tanh),
    "hardtanh": ({}, F.hardtanh),
    "relu6": ({}, F.relu6),
    "hardsigmoid": ({}, F.hardsigmoid),
    "hardswish": ({}, F.hardswish),
    "softsign": ({}, F.softsign),
    "logsigmoid": ({}, F.logsigmoid),
    "erf": ({}, torch.erf),
}
# integers and halves: every kink is on the grid
GRID = np.concatenate([np.arange(-8, 8.25, 0.25), [-30.0, -12.3, 1e-9, 12.3, 30.0]])


def test_every_activation_has_an_oracle():
    assert CASES.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_slope_agree_with_torch(name):
    parameters, oracle = CASES[name]
    phi = activation(name, **parameters)
    z = torch.tensor(GRID, requires_grad=True)
    value = oracle(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    np.testing.assert_allclose(phi.function(GRID), value.detach().numpy(), rtol=1e-12, atol=1e-14)
    # torch rounds the 1/6 of hardsigmoid to float32; it forms 1 - tanh^2, and loses digits (1e-12)
    rtol = 1e-7 if name == "hardsigmoid" else 1e-9
    np.testing.assert_allclose(phi.derivative(GRID), slope.numpy(), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_stated_facts_hold_on_a_fine_grid(name):
    phi = activation(name, **CASES[name][0])
    z = np.linspace(-40, 40, 800_001)
    slopes = np.abs(phi.derivative(z))
    assert slopes.max() <= phi.max_slope * (1 + 1e-12)
    assert slopes.max() > phi.max_slope * (1 - 1e-3)
    assert phi.homogeneous == np.allclose(phi.function(3 * z), 3 * phi.function(z), atol=1e-12)
    ends = np.abs(phi.function(np.array([-1e6, 1e6])))
    assert phi.saturates == bool((ends < 10).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_out_nothing_overflows(name):
    phi = activation(name)
    z = np.array([-1e4, -800.0, 800.0, 1e4])
    assert np.isfinite(phi.function(z)).all()
    assert np.isfinite(phi.derivative(z)).all()


def test_saturation_thresholds_of_the_textbook():
    tanh, sigmoid, relu = activation("tanh"), activation("sigmoid"), activation("relu")
    assert saturated(tanh, [2.98, 3.0, -3.0]).tolist() == [False, True, True]
    assert saturated(sigmoid, [4.58, 4.60, -4.60]).tolist() == [False, True, True]
    assert saturated(relu, [-0.1, 0.1]).tolist() == [True, False]
    assert saturated(tanh, [1.0], threshold=0.5).tolist() == [True]
    assert sigmoid.max_slope**10 == pytest.approx(9.5e-7, rel=0.01)


def test_minima_and_slopes_of_the_self_gated():
    z = np.linspace(-6, 6, 1_200_001)
    for name, low, at, slope_low, slope_high in (
        ("gelu", -0.1700, -0.7518, -0.1289, 1.1289),
        ("silu", -0.2785, -1.2785, -0.0998, 1.0998),
    ):
        phi = activation(name)
        value, slope = phi.function(z), phi.derivative(z)
        assert value.min() == pytest.approx(low, abs=5e-5)
        assert z[value.argmin()] == pytest.approx(at, abs=5e-5)
        assert slope.min() == pytest.approx(slope_low, abs=5e-5)
        assert slope.max() == pytest.approx(slope_high, abs=5e-5)


def test_tanh_is_a_stretched_sigmoid():
    z = np.linspace(-5, 5, 101)
    sigmoid = activation("sigmoid").function
    np.testing.assert_allclose(np.tanh(z), 2 * sigmoid(2 * z) - 1, atol=1e-15)


def test_slope_of_tanh_keeps_its_digits_far_out():
    # 1 - tanh(20)^2 is 0 in float64; the true value is 4 e^-40 to 17 digits
    assert activation("tanh").derivative(np.array([20.0]))[0] == pytest.approx(4 * math.exp(-40))


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'leaky_relu'"):
        activation("leakyrelu")
    with pytest.raises(ValueError, match="known are identity, relu"):
        activation("xyz")
    with pytest.raises(ValueError, match="elu has no parameter 'slope'; its parameters: alpha"):
        activation("elu", slope=0.1)
    with pytest.raises(ValueError, match="its parameters: none"):
        activation("relu", slope=0.1)


def test_theory_is_imported_without_scipy():
    code = "import sys, sounding.theory; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
