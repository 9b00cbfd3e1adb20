"""The edge of chaos against the numbers of the reference table, and where there is none."""

import math

import pytest

from sounding.theory import activation, chi, critical_variance, fixed_point

TABLE = {
    "tanh": {
        0.001: (1.18919, 0.1073),
        0.01: (1.42421, 0.2733),
        0.05: (1.76095, 0.5700),
        0.1: (1.98607, 0.8058),
        0.3: (2.50513, 1.4612),
    },
    "erf": {
        0.001: (0.93258, 0.1025),
        0.01: (1.11428, 0.2532),
        0.05: (1.37584, 0.5172),
        0.1: (1.55212, 0.7264),
        0.3: (1.96307, 1.3118),
    },
}


@pytest.mark.parametrize(
    ("name", "bias", "variance", "length"),
    [(name, bias, *row) for name, rows in TABLE.items() for bias, row in rows.items()],
)
def test_reference_table(name, bias, variance, length):
    phi = activation(name)
    critical = critical_variance(phi, bias)
    q = fixed_point(phi, critical, bias)
    assert critical == pytest.approx(variance, abs=5.1e-6)
    assert q == pytest.approx(length, abs=5.1e-5)
    assert chi(phi, q, critical) == pytest.approx(1, abs=1e-9)


def test_without_biases():
    assert critical_variance(activation("tanh")) == pytest.approx(1)
    assert critical_variance(activation("erf")) == pytest.approx(math.pi / 4)
    assert critical_variance(activation("relu")) == pytest.approx(2)
    assert critical_variance(activation("leaky_relu", slope=0.2)) == pytest.approx(2 / 1.04)
    assert critical_variance(activation("hardtanh")) == pytest.approx(1)
    assert fixed_point(activation("tanh"), 1.0, 0.0) == 0.0
    assert fixed_point(activation("erf"), math.pi / 4, 0.0) == 0.0


@pytest.mark.parametrize("name", ["relu", "identity"])
def test_rectifiers_are_critical_whatever_the_bias(name):
    phi = activation(name)
    assert critical_variance(phi, 0.3) == critical_variance(phi)


@pytest.mark.parametrize(("name", "bias"), [("softplus", 0.1), ("gelu", 0.0), ("silu", 0.05)])
def test_where_there_is_none_it_says_so(name, bias):
    with pytest.raises(ValueError, match=f"{name} with bias variance {bias:g} has no critical"):
        critical_variance(activation(name), bias)


def test_a_repelling_point_is_not_offered():
    # at sigma_b^2 = 0.05, sigma_w^2 = 2.3025, q = 0.72, GELU has chi = 1, but from there signals
    # grow by 8 % a layer; with larger biases the point attracts
    gelu = activation("gelu")
    assert chi(gelu, 0.722, 2.3025) == pytest.approx(1, abs=1e-3)
    assert fixed_point(gelu, 2.3025, 0.05, start=0.75) == math.inf
    critical = critical_variance(gelu, 0.3)
    assert fixed_point(gelu, critical, 0.3) == pytest.approx(8.77, abs=0.01)
