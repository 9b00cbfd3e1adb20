"""A reduced weight against the weight: size, mean, sketch, and rows that equal one another.

Counting equal rows goes by fingerprints; the oracle compares every pair of rows.
"""

import pytest
import torch

from sounding.capture import matrices as module
from sounding.capture.matrices import matrices


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _pairs(rows):
    """Rows that equal another one, by comparing all pairs."""
    equal = (rows[:, None] == rows[None]).all(2)
    return int((equal.sum(1) > 1).sum())


def _weight(rows, gradient):
    weight = torch.nn.Parameter(rows)
    weight.grad = gradient
    return weight


def test_size_mean_and_sketch():
    weight = torch.randn(50, 4, 3, 3) + 0.3
    found = matrices({"w": weight}, set())["w"]
    rows = weight.flatten(1)
    assert found.norm == pytest.approx(float(rows.norm()), rel=1e-6)
    assert found.mean == pytest.approx(float(rows.mean()), rel=1e-5)
    assert found.shape == (50, 4, 3, 3)
    assert found.longest == 50
    assert found.sketch.shape == (50, module.SKETCHED)
    # The directions have unit variance: the sketch's mean square is that of the rows' norms.
    assert (found.sketch**2).mean() == pytest.approx(float((rows**2).sum(1).mean()), rel=0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_rows_are_counted_exactly(dtype):
    rows = torch.randn(300, 40)
    rows[7] = rows[100] = rows[299]  # three alike
    rows[8] = rows[9]
    rows[20] = rows[21]
    rows[20, 0] += 0.25  # nearly alike is not alike
    rows = rows.to(dtype)
    found = matrices({"w": _weight(rows, None)}, set())["w"]
    assert (found.duplicates, found.symmetric) == (_pairs(rows), 0)
    assert found.duplicates == 5


def test_twins_with_the_same_gradient_are_symmetric():
    rows, gradient = torch.randn(64, 9), torch.randn(64, 9)
    rows[1] = rows[2]
    rows[5] = rows[6]
    gradient[5] = gradient[6] * (1 + 1e-7)  # the same sum in another order
    found = matrices({"w": _weight(rows, gradient)}, set())["w"]
    assert (found.duplicates, found.symmetric) == (4, 2)


@pytest.mark.parametrize("value", [0.0, 0.01, -3.0])
def test_constant_weights_are_all_twins(value):
    weight = _weight(torch.full((5000, 3), value), torch.full((5000, 3), 0.1))
    found = matrices({"w": weight}, set())["w"]
    assert (found.duplicates, found.symmetric) == (5000, 5000)


def test_random_weights_have_no_twins():
    """Also where thousands of fingerprints lie close together: 5,000 rows make many near pairs."""
    weights = {"a": torch.randn(5000, 64), "b": torch.randn(128, 5), "c": torch.rand(128, 2)}
    assert [m.duplicates for m in matrices(weights, set()).values()] == [0, 0, 0]


def test_lookup_tables_are_sampled_and_not_compared():
    table = torch.zeros(3 * module.LOOKED_AT, 4)
    found = matrices({"t": table}, {"t"})["t"]
    assert found.sketch.shape == (module.LOOKED_AT, module.SKETCHED)
    assert found.duplicates == 0


def test_nan_makes_no_twins_and_no_noise():
    weight = torch.full((6, 4), float("nan"))
    found = matrices({"w": _weight(weight, weight.clone())}, set())["w"]
    assert found.duplicates == 0
    assert found.norm != found.norm


def test_infinite_weights_make_no_noise():
    weight = torch.tensor([[float("inf"), 1.0], [-float("inf"), 1.0]])
    found = matrices({"w": weight}, set())["w"]
    assert found.norm == float("inf")
    assert found.mean != found.mean
