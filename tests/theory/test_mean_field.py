"""Mean-field theory against the reference table, and against real nets with autograd.

The nets catch what no formula can: a factor of two in a layer, a forward factor used backwards, a
width on the wrong side. The table catches wrong depth scales.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from sounding.theory import (
    activation,
    chi,
    correlation_fixed_point,
    correlation_map,
    depth_scales,
    fixed_point,
    length_map,
    length_map_slope,
    predict,
)

TANH, RELU = activation("tanh"), activation("relu")


# -- fixed points and depth scales ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "q", "slope", "length", "c", "correlation"),
    [
        (1.0, 0.1936, 0.7590, 1.75, 1, 3.63),
        (1.5, 0.4180, 0.9386, 1.68, 1, 15.8),
        (1.7, 0.5331, 0.9867, 1.56, 1, 74.9),
        (2.0, 0.7218, 1.0477, 1.39, 0.744, 25.2),
        (2.5, 1.0640, 1.1335, 1.18, 0.447, 11.8),
        (4.0, 2.1955, 1.3424, 0.87, 0.165, 6.98),
    ],
)
def test_reference_table_of_tanh(weight, q, slope, length, c, correlation):
    found = fixed_point(TANH, weight, 0.05)
    assert found == pytest.approx(q, abs=5.1e-5)
    assert chi(TANH, found, weight) == pytest.approx(slope, abs=5.1e-5)
    assert correlation_fixed_point(TANH, found, weight, 0.05) == pytest.approx(c, abs=5.1e-4)
    scales = depth_scales(TANH, weight, 0.05)
    assert scales.length == pytest.approx(length, abs=5.1e-3)
    assert scales.correlation == pytest.approx(correlation, rel=2e-3)
    assert scales.gradient == pytest.approx(1 / abs(math.log(slope)), rel=4e-3)


def test_fixed_point_that_dies_stays_or_explodes():
    assert fixed_point(TANH, 0.9, 0.0) == 0.0
    assert fixed_point(RELU, 1.9, 0.0) == 0.0
    assert fixed_point(RELU, 2.0, 0.0) == 1.0
    assert fixed_point(RELU, 2.0, 0.0, start=7.0) == 7.0
    assert fixed_point(RELU, 2.0, 0.1) == math.inf
    assert fixed_point(RELU, 2.1, 0.0) == math.inf
    assert fixed_point(RELU, 1.0, 0.3) == pytest.approx(0.6)
    assert fixed_point(activation("gelu"), 3.0, 0.1) == math.inf
    assert fixed_point(activation("selu"), 1.0, 0.0, start=2.0) == pytest.approx(1.0, rel=1e-9)


def test_length_map_slope_is_the_derivative():
    for name, q in itertools.product(("tanh", "elu", "sigmoid", "gelu", "relu"), (0.3, 4.0)):
        phi, step = activation(name), 1e-5 * q
        upper, lower = (length_map(q + sign * step, phi, 1.7, 0.1) for sign in (1, -1))
        expected = (upper - lower) / (2 * step)
        assert length_map_slope(q, phi, 1.7) == pytest.approx(expected, rel=1e-7)


def test_relu_forgets_differences_by_a_power_law():
    # 1 - c_l -> 9 pi^2 / (2 l^2): no finite depth scale at the critical point
    c = 0.0
    for _ in range(1000):
        c = correlation_map(c, RELU, 1.0, 2.0, 0.0)
    assert 1 - c == pytest.approx(4.31e-5, rel=2e-3)
    assert 1 - c == pytest.approx(9 * math.pi**2 / (2 * 1000**2), rel=0.04)
    assert depth_scales(RELU, 2.0, 0.0) == (math.inf, math.inf, math.inf)
    assert depth_scales(RELU, 1.0, 0.0).gradient == pytest.approx(1 / math.log(2))


def test_correlation_map_of_relu_is_the_arc_cosine_map():
    for c in (-0.5, 0.0, 0.3, 0.9):
        expected = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
        assert correlation_map(c, RELU, 3.0, 2.0, 0.0) == pytest.approx(expected, rel=1e-12)


def test_correlation_map_of_tanh_against_monte_carlo():
    # 1,000,000 pairs, fixed seed: standard error of the new correlation below 1e-3; 4 of them
    q, c, weight, bias = 0.9, 0.35, 2.2, 0.1
    z1, z2 = np.random.default_rng(0).standard_normal((2, 1_000_000))
    u1, u2 = math.sqrt(q) * z1, math.sqrt(q) * (c * z1 + math.sqrt(1 - c * c) * z2)
    covariance = weight * np.mean(np.tanh(u1) * np.tanh(u2)) + bias
    expected = covariance / (weight * np.mean(np.tanh(u1) ** 2) + bias)
    assert correlation_map(c, TANH, q, weight, bias) == pytest.approx(expected, abs=4e-3)


def test_odd_functions_without_bias_keep_uncorrelated_inputs_so():
    q = fixed_point(TANH, 2.0, 0.0)
    assert correlation_fixed_point(TANH, q, 2.0, 0.0) == 0.0


def test_what_has_no_answer_says_so():
    with pytest.raises(ValueError, match="signal of finite size, got q = inf"):
        correlation_fixed_point(RELU, math.inf, 3.0, 0.0)
    with pytest.raises(ValueError, match="gelu with weight variance 5 explodes"):
        depth_scales(activation("gelu"), 5.0, 0.1)


# -- real nets ------------------------------------------------------------------------------------


def _pair(samples, width, q, c, generator):
    """Two inputs per sample with exactly these second moments and this correlation."""
    z1 = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    z2 = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    z1 = z1 / z1.pow(2).mean(1, keepdim=True).sqrt()
    z2 = z2 - (z1 * z2).mean(1, keepdim=True) * z1
    z2 = z2 / z2.pow(2).mean(1, keepdim=True).sqrt()
    return math.sqrt(q) * torch.stack([z1, c * z1 + math.sqrt(1 - c * c) * z2])


def _measure(widths, weight_variance, bias_variance, function, *, q0, c0, samples, seed):
    """q, spread and gradient second moment of every layer of one random net, by autograd."""
    generator = torch.Generator().manual_seed(seed)
    h = _pair(samples, widths[0], q0, c0, generator)
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        weight = torch.randn(fan_out, fan_in, generator=generator, dtype=torch.float64)
        bias = torch.randn(fan_out, generator=generator, dtype=torch.float64)
        weight, bias = weight * (weight_variance / fan_in) ** 0.5, bias * bias_variance**0.5
        z = torch.nn.functional.linear(h, weight, bias).requires_grad_()
        layers.append(z)
        h = function(z)
    cotangent = torch.randn(layers[-1].shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(layers[-1], layers, cotangent)
    q = [z.detach().pow(2).mean().item() for z in layers]
    spread = [(z[0] - z[1]).detach().pow(2).mean().item() / 2 for z in layers]
    gradient = [g.pow(2).mean().item() for g in gradients]
    return np.array([q, spread, gradient])


@pytest.mark.parametrize("weight", [1.2, 1.76, 2.5])
def test_a_tanh_net_of_width_600_and_depth_40(weight):
    # Four nets, 40 pairs each. One layer's q scatters by sqrt(2 / 600) = 6 % and remembers about
    # two layers, so by 4 % over four nets, and its mean over 30 layers by about 1 %; spread and
    # gradient are products of 40 factors. A factor two in one layer would be 2^40 in these.
    depth, q0, c0 = 40, 0.8, 0.6
    measured = np.mean(
        [
            _measure(
                [600] * (depth + 1), weight, 0.05, torch.tanh, q0=q0, c0=c0, samples=40, seed=seed
            )
            for seed in range(4)
        ],
        axis=0,
    )
    theory = predict([(weight, 0.05, TANH)] * depth, q0, c0)
    np.testing.assert_allclose(measured[0], theory.second_moment, rtol=0.16)
    assert np.mean(measured[0] / theory.second_moment) == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(1 - measured[1] / measured[0], theory.correlation, atol=0.03)
    np.testing.assert_allclose(measured[1], theory.spread, rtol=0.2)
    ratio = measured[2] / measured[2][-1]
    np.testing.assert_allclose(ratio, theory.gradient, rtol=0.2)
    slope = np.polyfit(np.arange(depth), np.log(ratio), 1)[0]
    expected = np.polyfit(np.arange(depth), np.log(theory.gradient), 1)[0]
    assert slope == pytest.approx(expected, abs=0.01)


def test_relu_with_xavier_loses_half_in_every_layer():
    # eight nets of width 256, depth 30: the log10 of the ratio scatters by 0.16 per net
    theory = predict([(1.0, 0.0, RELU)] * 30)
    drop = np.log10(theory.second_moment[-1] / theory.second_moment[0])
    assert drop == pytest.approx(-29 * math.log10(2), rel=1e-12)
    assert np.log10(theory.gradient[0]) == pytest.approx(drop, rel=1e-12)
    measured = [
        _measure([256] * 31, 1.0, 0.0, torch.relu, q0=1.0, c0=0.0, samples=4, seed=seed)
        for seed in range(8)
    ]
    forward = np.mean([np.log10(m[0][-1] / m[0][0]) for m in measured])
    backward = np.mean([np.log10(m[2][0] / m[2][-1]) for m in measured])
    assert forward == pytest.approx(drop, abs=0.3)
    assert backward == pytest.approx(drop, abs=0.3)


@pytest.mark.parametrize("name", ["tanh", "relu", "elu"])
def test_changing_widths(name):
    # a gradient per component carries the ratio of widths: here up to a factor 4
    function = {"tanh": torch.tanh, "relu": torch.relu, "elu": torch.nn.functional.elu}[name]
    widths, phi = [300, 800, 200, 500, 400], activation(name)
    measured = np.mean(
        [
            _measure(widths, 1.8, 0.02, function, q0=0.5, c0=0.3, samples=30, seed=seed)
            for seed in range(6)
        ],
        axis=0,
    )
    theory = predict([(1.8, 0.02, phi)] * 4, 0.5, 0.3, widths=widths[1:])
    np.testing.assert_allclose(measured[0], theory.second_moment, rtol=0.1)
    np.testing.assert_allclose(measured[1], theory.spread, rtol=0.1)
    np.testing.assert_allclose(measured[2] / measured[2][-1], theory.gradient, rtol=0.1)


# -- predict, without nets ------------------------------------------------------------------------


def test_prediction_follows_the_maps_layer_by_layer():
    layers = [(1.3, 0.1, TANH), (2.0, 0.0, activation("elu")), (0.7, 0.2, None), (1.0, 0.0, RELU)]
    found = predict(layers, q0=0.4, c0=-0.2)
    q = 1.3 * 0.4 + 0.1
    c = (1.3 * 0.4 * -0.2 + 0.1) / q
    slope = 1.0
    for layer, (weight, _, phi) in enumerate(layers):
        assert found.second_moment[layer] == pytest.approx(q, rel=1e-9)
        assert found.correlation[layer] == pytest.approx(c, rel=1e-7)
        assert found.spread[layer] == pytest.approx(q * (1 - c), rel=1e-7)
        assert found.chi[layer] == pytest.approx(weight * slope, rel=1e-9)
        phi = phi or activation("identity")
        slope = chi(phi, q, 1.0)
        assert found.activation_second_moment[layer] == pytest.approx(
            length_map(q, phi, 1.0, 0.0), rel=1e-9
        )
        if layer + 1 < len(layers):
            weight, bias, _ = layers[layer + 1]
            c = correlation_map(c, phi, q, weight, bias)
            q = length_map(q, phi, weight, bias)


def test_spread_keeps_its_digits_when_inputs_have_become_one():
    # ordered: chi = 0.25 a layer; 1 - c would be rounded to 0 after 27 layers
    layers = [(0.5, 1.0, activation("gelu"))] * 60
    found = predict(layers, 1.0, 0.0)
    np.testing.assert_allclose(found.spread[41:] / found.spread[40:-1], found.chi[41:], rtol=1e-6)
    assert 0 < found.spread[-1] < 1e-20
    assert found.correlation[-1] == 1.0


def test_no_activation_no_layer_and_overflow():
    assert predict([]).second_moment.shape == (0,)
    dead = predict([(0.0, 0.0, RELU), (2.0, 0.0, None)])
    assert dead.second_moment.tolist() == [0.0, 0.0]
    assert np.isnan(dead.correlation).all()
    huge = predict([(1e200, 0.0, RELU)] * 3)
    assert huge.second_moment[0] == 1e200
    assert not np.isfinite(huge.second_moment[1:]).any()
    with pytest.raises(ValueError, match="2 layers need as many widths, got 3"):
        predict([(1.0, 0.0, None)] * 2, widths=[1, 2, 3])
