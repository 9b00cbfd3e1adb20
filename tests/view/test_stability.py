"""The stable limit. Oracle: gradient descent itself, on a parabola just below and just above it."""

import dataclasses

import numpy as np
import pytest

from sounding.view.stability import largest, limit, logarithmic, ranked


def _descend(curvature, lr, momentum):
    x, v = 1.0, 0.0
    for _ in range(4000):
        v = momentum * v - lr * curvature * x
        x = x + v
        if abs(x) > 1e6:
            break
    return abs(x)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_descent_settles_below_the_limit_and_diverges_above_it(examples, momentum):
    series = examples.curvature.sharpness(momentum=momentum)
    edge = limit(series)[0]
    assert _descend(0.99 * edge, series.lr[0], momentum) < 1e-3
    assert _descend(1.01 * edge, series.lr[0], momentum) > 1e3


def test_no_learning_rate_no_limit(examples):
    series = dataclasses.replace(examples.curvature.sharpness(3), lr=np.array([0.1, 0.0, np.nan]))
    assert np.array_equal(limit(series), [20.0, np.nan, np.nan], equal_nan=True)


def test_an_empty_series_has_no_eigenvalues_whatever_its_shape(examples):
    empty = examples.curvature.empty_series()
    for series in (empty, dataclasses.replace(empty, values=np.zeros(0))):
        assert ranked(series).size == 0
        assert largest(series).shape == (0,)
        assert not logarithmic(series)


def test_a_logarithmic_axis_only_where_all_is_positive_and_far_apart(examples):
    assert logarithmic(examples.curvature.broken_series())
    assert not logarithmic(examples.curvature.sharpness())
    wide = examples.curvature.broken_series()
    assert not logarithmic(dataclasses.replace(wide, values=-wide.values))
