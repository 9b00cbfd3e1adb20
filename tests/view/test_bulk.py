"""What a density says: a share on the wrong side of zero, or a bulk without end, shows only here.

Oracle: the examples' matrices are diagonal, so how many eigenvalues lie where is known.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch

from sounding.curvature.density import density
from sounding.curvature.operator import Operator
from sounding.view.bulk import CLEAR, bulk, core, sides


def _of_nodes(examples, nodes, weights, **changes):
    made = examples.curvature.density()
    table = {"nodes": np.array([nodes], dtype=float), "weights": np.array([weights], dtype=float)}
    changes = {"values": np.zeros(len(made.grid)), "degree": 3, **table, **changes}
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("nodes", "weights", "below", "above"),
    [
        ([-1, -0.1, 2], [0.2, 0.3, 0.5], 0.2, 0.0),
        ([-1, 0.0, 2], [0.2, 0.3, 0.5], 0.2, 0.5),
        ([-1, 1e-9, 2], [0.2, 0.3, 0.5], 0.2, 0.5),
        ([0.0, 1.0, 2.0], [0.6, 0.3, 0.1], 0.0, 0.4),
        ([2, -1, 0.1, -3, math.nan], [0.1, 0.2, 0.3, 0.4, math.nan], 0.4, 0.1),
    ],
)
def test_the_node_next_to_zero_counts_on_neither_side(examples, nodes, weights, below, above):
    found = sides(_of_nodes(examples, nodes, weights))
    assert [side.certain for side in found] == pytest.approx([below, above])


def test_where_all_eigenvalues_were_computed_all_count(examples):
    found = sides(_of_nodes(examples, [-1, -0.1, 2], [0.25, 0.25, 0.5], size=3))
    assert [side.certain for side in found] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("degree", [10, 30, 60, 120])
def test_certain_shares_are_lower_bounds_of_the_true_ones(examples, degree):
    """Six starts of 4,000 numbers: the sampling error of a share is 0.3 %, three of it allowed."""
    values = examples.curvature.eigenvalues()
    below, above = sides(examples.curvature.quadrature(values, degree=degree))
    assert below.certain <= np.mean(values < 0) + 0.01
    assert above.certain <= np.mean(values > 0) + 0.01
    if degree == 120:
        assert below.certain == pytest.approx(0.12, abs=0.03)
        assert above.certain == pytest.approx(0.28, abs=0.05)


def test_clear_shares_are_those_beyond_three_widths(examples):
    values, made = examples.curvature.eigenvalues(), examples.curvature.density()
    below, above = sides(made)
    edge = CLEAR * made.width
    assert below.clear == pytest.approx(np.mean(values < -edge), abs=0.01)
    assert above.clear == pytest.approx(np.mean(values > edge), abs=0.01)


def test_of_a_positive_semidefinite_matrix_no_share_is_told_below_zero(examples):
    """Its smoothed curve leaks there all the same."""
    below, above = sides(examples.curvature.one_sided().density)
    assert below.certain == 0
    assert not below.told
    mirrored = sides(examples.curvature.all_negative().density)
    assert mirrored[0].clear == pytest.approx(above.clear, abs=0.02)
    assert not mirrored[1].told


@pytest.mark.parametrize("degree", [None, 80])
def test_shares_of_a_measured_density_hold_the_true_ones_within_three_errors(examples, degree):
    values = torch.tensor(examples.curvature.eigenvalues())
    matrix = Operator(lambda block: block * values, len(values), dtype=torch.float64)
    starts = None if degree is None else 4
    for seed in range(3 if degree is None else 1):
        measured = density(matrix, degree=degree, starts=starts, seed=seed)
        edge = CLEAR * measured.width
        truth = float((values < -edge).double().mean()), float((values > edge).double().mean())
        for side, share in zip(sides(measured), truth, strict=True):
            assert side.clear == pytest.approx(share, abs=3 * side.error)
            assert side.certain <= share + 0.01


def test_the_bulk_ends_where_eigenvalues_stand_alone(examples):
    """Oracle: 3,000 evenly in [-1, 2], and four outliers far apart."""
    values = np.concatenate([np.linspace(-1, 2, 3000), [-4, 6, 9, 14]])
    made = examples.curvature.quadrature(values, degree=20)
    low, high = bulk(made, list(values))
    assert low == pytest.approx(-1, abs=5 * made.width)
    assert high == pytest.approx(2, abs=5 * made.width)
    wider = examples.curvature.quadrature(values, degree=20, width=3 * made.width)
    assert bulk(wider, list(values)) == pytest.approx((low, high), abs=0.1)


def test_the_bulk_is_held_within_the_eigenvalues_known(examples):
    made = examples.curvature.quadrature(np.linspace(-1, 2, 3000), degree=20)
    assert bulk(made, [-1.0, 2.0]) == (-1.0, 2.0)


def test_few_eigenvalues_have_no_bulk(examples):
    values = np.array([-1.0, 0.5, 3.0])
    assert bulk(examples.curvature.quadrature(values, degree=3, width=0.01), list(values)) is None


def test_the_core_holds_nine_in_ten(examples):
    values = np.concatenate([np.linspace(-1, 1, 2000), [100.0, 200.0]])
    made = examples.curvature.quadrature(values, degree=20, width=0.01)
    assert core(made) == pytest.approx(0.9, abs=0.03)
