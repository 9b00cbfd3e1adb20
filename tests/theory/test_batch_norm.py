"""The gradient through batch normalisation, against finite differences."""

import numpy as np
import pytest

from sounding.theory import batch_norm as closed

EPS = 1e-3


def _numeric(g, z, step=1e-6):
    found = np.zeros_like(z)
    for index in np.ndindex(*z.shape):
        moved = [z.copy(), z.copy()]
        for sign, array in zip((1, -1), moved, strict=True):
            array[index] += sign * step
        up, down = ((g * closed.normalised(array, EPS)[0]).sum() for array in moved)
        found[index] = (up - down) / (2 * step)
    return found


@pytest.fixture
def batch():
    draw = np.random.default_rng(0)
    return draw.normal(size=(7, 3)), 2 + 3 * draw.normal(size=(7, 3))


def test_both_forms_of_the_gradient_are_the_finite_differences(batch):
    g, z = batch
    expected = _numeric(g, z)
    np.testing.assert_allclose(closed.gradient(g, z, EPS), expected, atol=1e-8)
    parts = closed.gradient_of_variance(g, z, EPS), closed.gradient_of_mean(g, z, EPS)
    np.testing.assert_allclose(closed.gradient_by_parts(g, z, EPS, *parts), expected, atol=1e-8)


def test_normalised_features_have_mean_zero_and_variance_one(batch):
    _, z = batch
    u, scale = closed.normalised(z, 0.0)
    np.testing.assert_allclose(u.mean(0), 0, atol=1e-15)
    np.testing.assert_allclose((u**2).mean(0), 1)
    np.testing.assert_allclose(scale**2, z.var(0))
