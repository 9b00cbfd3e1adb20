"""Gaussian moments against scipy's adaptive quadrature, closed forms and Monte Carlo.

Catches a wrong weight of the rules, a kink in the middle of a panel, and lost digits where two
inputs have nearly become one.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from sounding.theory import (
    ACTIVATIONS,
    activation,
    backward_gain,
    cross_moment,
    forward_gain,
    maxout_moments,
    mean,
    pair_spread,
    second_moment,
    slope_cross_moment,
    slope_moment,
)
from sounding.theory.gaussian import slope_fourth_moment


@pytest.mark.parametrize(
    ("name", "parameters", "forward", "backward"),
    [
        ("sigmoid", {}, 1.8462, 4.7226),
        ("tanh", {}, 1.5925, 1.4674),
        ("relu", {}, 1.4142, 1.4142),
        ("leaky_relu", {"slope": 0.1}, 1.4072, 1.4072),
        ("elu", {}, 1.2452, 1.2234),
        ("selu", {}, 1.0000, 0.9660),
        ("gelu", {}, 1.5335, 1.4811),
        ("silu", {}, 1.6765, 1.6233),
    ],
)
def test_gains_of_the_reference_table(name, parameters, forward, backward):
    phi = activation(name, **parameters)
    assert forward_gain(phi) == pytest.approx(forward, abs=5e-5)
    assert backward_gain(phi) == pytest.approx(backward, abs=5e-5)


def test_gains_where_torch_agrees_and_where_it_does_not():
    torch_gain = torch.nn.init.calculate_gain
    assert forward_gain(activation("identity")) == pytest.approx(torch_gain("linear"))
    assert forward_gain(activation("relu")) == pytest.approx(torch_gain("relu"))
    leaky = activation("leaky_relu", slope=0.3)
    assert forward_gain(leaky) == pytest.approx(torch_gain("leaky_relu", 0.3))
    for name in ("tanh", "sigmoid", "selu"):  # conventions, not moments
        assert abs(forward_gain(activation(name)) / torch_gain(name) - 1) > 0.04


def test_maxout_of_two_needs_no_gain():
    assert maxout_moments(2) == pytest.approx((1 / math.sqrt(math.pi), 1.0), abs=1e-12)
    assert maxout_moments(1) == pytest.approx((0.0, 1.0), abs=1e-12)
    # known: E max of three standard normals is 3 / (2 sqrt(pi))
    assert maxout_moments(3)[0] == pytest.approx(1.5 / math.sqrt(math.pi), abs=1e-12)


def test_selu_keeps_mean_zero_and_second_moment_one():
    selu = activation("selu")
    assert mean(selu, 1.0) == pytest.approx(0.0, abs=1e-11)
    assert second_moment(selu, 1.0) == pytest.approx(1.0, abs=1e-11)


def _adaptive(function, q, kinks):
    """scipy's quadrature of E f(sqrt(q) z), piece by piece."""
    scale = math.sqrt(q)
    ends = {-10.0, -1.0, 0.0, 1.0, 10.0, *(kink / scale for kink in kinks)}
    ends.update(sign * edge / scale for sign in (-1, 1) for edge in (1.0, 3.0, 10.0, 40.0))
    ends = sorted(end for end in ends if abs(end) <= 10)

    def integrand(z):
        value = function(np.array([scale * z]))[0]
        return value * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    pieces = [
        quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12)[0] for a, b in itertools.pairwise(ends)
    ]
    return math.fsum(pieces)


@pytest.mark.parametrize("q", [1e-3, 0.7, 30.0, 1e4])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_moments_agree_with_adaptive_quadrature(name, q):
    phi = activation(name)
    for ours, function in (
        (mean, phi.function),
        (second_moment, lambda u: phi.function(u) ** 2),
        (slope_moment, lambda u: phi.derivative(u) ** 2),
        (slope_fourth_moment, lambda u: phi.derivative(u) ** 4),
    ):
        exact = _adaptive(function, q, phi.kinks)
        assert ours(phi, q) == pytest.approx(exact, rel=1e-10, abs=1e-12)


def _by_quadrature(name, **parameters):
    """The same function without its closed forms."""
    return dataclasses.replace(activation(name, **parameters), homogeneous=False)


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.5, 1.0])
@pytest.mark.parametrize("gap", [2.0, 1.7, 1.0, 0.3, 1e-3, 1e-8, 1e-13, 0.0])
def test_closed_forms_of_rectifiers_agree_with_quadrature(slope, gap):
    closed = activation("leaky_relu", slope=slope)
    integrated = _by_quadrature("leaky_relu", slope=slope)
    for q1, q2 in ((1.0, 1.0), (0.04, 9.0)):
        size = math.sqrt(q1 * q2)
        assert cross_moment(closed, q1, q2, 1 - gap) == pytest.approx(
            cross_moment(integrated, q1, q2, 1 - gap), abs=1e-8 * size
        )
        assert slope_cross_moment(closed, q1, q2, 1 - gap) == pytest.approx(
            slope_cross_moment(integrated, q1, q2, 1 - gap), abs=1e-7
        )
    expected = pair_spread(integrated, 4.0, gap)
    assert pair_spread(closed, 4.0, gap) == pytest.approx(expected, rel=1e-6, abs=1e-30)
    assert second_moment(closed, 3.0) == pytest.approx(second_moment(integrated, 3.0), rel=1e-12)
    assert slope_moment(closed, 3.0) == pytest.approx(slope_moment(integrated, 3.0), rel=1e-12)
    assert mean(closed, 3.0) == pytest.approx(mean(integrated, 3.0), abs=1e-12)


def test_relu_is_the_arc_cosine_kernel():
    relu = activation("relu")
    for c in (-0.9, 0.0, 0.4, 0.99):
        kernel = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / (2 * math.pi)
        assert cross_moment(relu, 1.0, 1.0, c) == pytest.approx(kernel, rel=1e-12)


@pytest.mark.parametrize("c", [-0.95, 0.0, 0.5, 0.999, 1 - 1e-9])
@pytest.mark.parametrize(("q1", "q2"), [(1.0, 1.0), (0.01, 4.0), (50.0, 50.0), (1e4, 1e4)])
def test_erf_has_the_arc_sine_kernel(c, q1, q2):
    # Williams, "Computing with infinite networks", NIPS 1997
    erf = activation("erf")
    covariance = c * math.sqrt(q1 * q2)
    product = (1 + 2 * q1) * (1 + 2 * q2)
    kernel = 2 / math.pi * math.asin(2 * covariance / math.sqrt(product))
    assert cross_moment(erf, q1, q2, c) == pytest.approx(kernel, abs=1e-9)
    slopes = 4 / math.pi / math.sqrt(product - 4 * covariance**2)
    assert slope_cross_moment(erf, q1, q2, c) == pytest.approx(slopes, rel=1e-6)


@pytest.mark.parametrize("name", ["tanh", "elu", "gelu", "hardtanh", "hardswish", "sigmoid"])
def test_pairs_agree_with_monte_carlo(name):
    # 400,000 antithetic pairs, fixed seed; 4.5 standard errors: 18 checks, false alarm 1e-4
    phi, q, c = activation(name), 1.7, 0.6
    rng = np.random.default_rng(0)
    z1, z2 = rng.standard_normal((2, 400_000))
    u1 = math.sqrt(q) * z1
    u2 = math.sqrt(q) * (c * z1 + math.sqrt(1 - c * c) * z2)
    for ours, samples in (
        (cross_moment(phi, q, q, c), phi.function(u1) * phi.function(u2)),
        (slope_cross_moment(phi, q, q, c), phi.derivative(u1) * phi.derivative(u2)),
        (pair_spread(phi, q, 1 - c), (phi.function(u1) - phi.function(u2)) ** 2 / 2),
    ):
        error = samples.std() / math.sqrt(len(samples))
        assert abs(ours - samples.mean()) < 4.5 * error


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_spread_of_near_inputs_follows_the_slope(name):
    # kinks add a share of order sqrt(gap)
    phi = activation(name)
    for gap in (1e-10, 1e-13, 1e-16, 1e-40):
        expected = 2.0 * gap * slope_moment(phi, 2.0)
        assert pair_spread(phi, 2.0, gap) == pytest.approx(expected, rel=1e-4)
    assert pair_spread(phi, 2.0, 0.0) == 0.0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_spread_is_the_difference_of_moments(name):
    phi = activation(name)
    for gap in (0.05, 0.9, 1.8, 2.0):
        difference = second_moment(phi, 3.0) - cross_moment(phi, 3.0, 3.0, 1 - gap)
        assert pair_spread(phi, 3.0, gap) == pytest.approx(difference, rel=1e-7)


def test_zero_is_the_limit_from_above():
    assert slope_moment(activation("relu"), 0.0) == 0.5
    assert slope_moment(_by_quadrature("relu"), 0.0) == pytest.approx(0.5)
    assert second_moment(activation("sigmoid"), 0.0) == pytest.approx(0.25)


def test_impossible_arguments_are_named():
    for q in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="finite and >= 0"):
            second_moment(activation("tanh"), q)
        with pytest.raises(ValueError, match="finite and >= 0"):
            slope_moment(activation("relu"), q)
    with pytest.raises(ValueError, match=r"lies in \[-1, 1\], got 1.5"):
        cross_moment(activation("tanh"), 1.0, 1.0, 1.5)
