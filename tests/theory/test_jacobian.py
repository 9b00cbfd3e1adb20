"""Spectra of random Jacobians against products of random matrices.

Catches an exchanged L and 2 L, and singular values taken for their squares.
"""

import math

import numpy as np
import pytest

from sounding.theory import (
    activation,
    isometry_defect,
    largest_squared_singular_value,
    log_gain_per_layer,
)

WIDTH = 120


def _squared_singular_values(depth, rng, *, relu, orthogonal):
    product = np.eye(WIDTH)
    for _ in range(depth):
        weight = rng.standard_normal((WIDTH, WIDTH)) / math.sqrt(WIDTH)
        if orthogonal:
            weight, _ = np.linalg.qr(weight)
        if relu:  # at random weights half of the units are on, independently
            weight = math.sqrt(2) * (rng.random(WIDTH) < 0.5)[:, None] * weight
        product = weight @ product
    return np.linalg.svd(product, compute_uv=False) ** 2


@pytest.mark.parametrize(
    ("name", "orthogonal", "per_layer"),
    [("identity", False, 1), ("identity", True, 0), ("relu", False, 2), ("relu", True, 1)],
)
def test_isometry_defect_is_a_multiple_of_the_depth(name, orthogonal, per_layer):
    depth, phi = 8, activation(name)
    assert isometry_defect(depth, phi, orthogonal=orthogonal) == pytest.approx(per_layer * depth)
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            _squared_singular_values(depth, rng, relu=name == "relu", orthogonal=orthogonal)
            for _ in range(12)
        ]
    )
    # over 12 nets the ratio scatters by about 10 %; finite width adds a few per cent
    assert values.var() / values.mean() ** 2 == pytest.approx(per_layer * depth, rel=0.3, abs=1e-9)


def test_orthogonal_tanh_near_its_critical_point_is_nearly_isometric():
    assert isometry_defect(16, activation("tanh"), orthogonal=True, q=0.05) < 0.5
    assert isometry_defect(16, activation("tanh"), orthogonal=True, q=1.0) > 2


def test_largest_singular_value_of_linear_nets():
    assert largest_squared_singular_value(1) == pytest.approx(4)  # Marchenko-Pastur, square
    assert largest_squared_singular_value(64) / 64 == pytest.approx(math.e, rel=0.01)
    rng = np.random.default_rng(0)
    tops = [_squared_singular_values(4, rng, relu=False, orthogonal=False).max() for _ in range(12)]
    # the edge is reached from below: 0.8 to 1 of it at this width
    assert 0.75 < np.mean(tops) / largest_squared_singular_value(4) < 1.02


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("name", ["identity", "relu"])
def test_log_gain_of_a_chain(name, scale):
    phi = activation(name)
    theory = log_gain_per_layer(scale, phi)
    assert theory == pytest.approx(math.log(scale / (2 if name == "relu" else 1)), abs=1e-12)
    rng, width, depth = np.random.default_rng(1), 256, 60
    vector, total = rng.standard_normal(width), 0.0
    for _ in range(depth):
        before = vector @ vector
        vector = math.sqrt(scale / width) * rng.standard_normal((width, width)) @ vector
        if name == "relu":
            vector = vector * (rng.random(width) < 0.5)
        total += math.log(vector @ vector / before)
    # standard error sqrt(5 / 256 / 60) = 0.018 for ReLU; 4 of them, and the stated bias of 2.5 / n
    assert total / depth == pytest.approx(theory, abs=0.085)


def test_a_layer_that_passes_nothing():
    assert log_gain_per_layer(0.0, activation("tanh")) == -math.inf
