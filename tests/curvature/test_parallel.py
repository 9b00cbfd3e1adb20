"""Two processes that hold one model give the matrices of one process.

They run the scenarios of parallel_replicas.py. Only this file sees a wrong weight of a rank, a rank
that waits for another in vain, and draws that depend on who makes them.
"""

import numpy as np
import parallel_data as parallel
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.fisher import empirical_fisher, fisher, gradient_covariance
from sounding.curvature.gauss_newton import gauss_newton
from sounding.curvature.hessian import hessian
from sounding.curvature.sharpness import sharpness

EXACT = {"rtol": 1e-9, "atol": 1e-12}

# -- data parallel --------------------------------------------------------------------------


def test_data_parallel(result, whole):
    for one in result:
        assert torch.allclose(one["dense"], whole, rtol=1e-6, atol=1e-9)
        assert one["reduced"] == [57, 4 * 57]  # one all-reduce, for a vector and for a block
        assert np.allclose(one["values"], parallel.top(whole, 3), rtol=1e-5)
        assert "kept graph" in one["method"]
    first, second = result
    for name in ("dense", "vectors", "start"):
        assert torch.equal(first[name], second[name])
    assert first["products"] == second["products"]


def test_sums(result, whole):
    for one in result:
        assert torch.allclose(one, 24 * whole, rtol=1e-6, atol=1e-8)


def test_in_micro_batches(result, whole):
    for one in result:
        assert torch.allclose(one, whole, rtol=1e-6, atol=1e-9)


def test_wrapped(result, whole):
    for one in result:
        exact, differences = one["products"]
        assert torch.allclose(exact, whole @ parallel.vectors(), rtol=1e-6, atol=1e-9)
        assert torch.allclose(differences, whole @ parallel.vectors(), rtol=1e-5, atol=1e-6)
        assert (one["called"], one["later"]) == (0, 1)  # its hook ran in the training's pass only


def test_alone(result):
    x, y = parallel.data()
    assert torch.allclose(result[0], parallel.dense((x[:14], y[:14])), rtol=1e-6, atol=1e-9)
    assert torch.allclose(result[1], parallel.dense((x[14:], y[14:])), rtol=1e-6, atol=1e-9)


# -- the other matrices ---------------------------------------------------------------------

MATRICES = (gauss_newton, fisher, empirical_fisher, gradient_covariance)


def test_other_matrices(result):
    added_up = nn.CrossEntropyLoss(reduction="sum")
    for matrix in MATRICES:
        mean = matrix(parallel.net(), F.cross_entropy, parallel.data())
        total = matrix(parallel.net(), added_up, parallel.data(), reduction="sum")
        for one in (each[matrix.__name__] for each in result):
            torch.testing.assert_close(one["mean"], mean.to_dense(), **EXACT)
            torch.testing.assert_close(one["sum"], total.to_dense(), **EXACT)
            assert one["reduced"] == [57, 4 * 57]  # one all-reduce, for a vector and for a block
            assert np.allclose(one["values"], parallel.top(mean.to_dense(), 2), rtol=1e-5)
            assert one["name"] == mean.name
    covariance = gradient_covariance(parallel.net(), F.cross_entropy, parallel.data()).to_dense()
    for each in result:
        torch.testing.assert_close(each["differences"], covariance, rtol=1e-5, atol=1e-7)
        assert each["hooks"] == 0  # they belong to the training


def test_other_sharpness(result):
    model = parallel.net()
    alone = sharpness(model, F.cross_entropy, parallel.data(), optimizer=parallel.stepped(model))
    for one in result:
        assert one.largest.values == pytest.approx(alone.largest.values, rel=1e-6)
        assert one.preconditioned.values == pytest.approx(alone.preconditioned.values, rel=1e-6)
        assert one.trace.value == pytest.approx(alone.trace.value, rel=1e-9)
        assert one.ascent == pytest.approx(alone.ascent, rel=1e-9)
        assert one.ratio == pytest.approx(alone.ratio, rel=1e-6)


def test_other_derivative(result):
    first, second = result
    assert first["method"] == second["method"]
    assert first["method"].startswith("central differences of the output")
    assert first["notes"] == second["notes"]
    assert any("not convex" in note for note in first["notes"])
    assert torch.equal(first["dense"], second["dense"])


def test_penalty_elsewhere(result):
    assert result[1].startswith("the loss depends on the parameters not only through the output")
    assert result[0] == f"on rank 1 of 2: {result[1]}"


# -- one rank raises: all do ----------------------------------------------------------------


def test_bad_numbers(result):
    assert result[1].startswith("the input of the batch holds NaN in 1 of 50 numbers")
    assert result[0] == f"on rank 1 of 2: {result[1]}"


def test_wrong_derivative(result):
    assert result[1].startswith("no right second derivative of the loss")
    assert result[0] == f"on rank 1 of 2: {result[1]}"


def test_no_memory(result):
    assert "needs more than the 1 B of memory it may take" in result[0]
    assert result[1] == f"on rank 0 of 2: {result[0]}"


def test_other_parameters(result):
    assert result[0] == result[1]
    assert result[0].startswith("rank 1 holds other parameters than rank 0")


def test_waiting_layer(result):
    for one in result:
        assert one.startswith("SyncBatchNorm in training mode")


def test_other_method(result):
    first, second = result
    assert first["method"] == second["method"] == "central differences of the gradient"
    assert first["notes"] == second["notes"] != ()
    assert torch.equal(first["dense"], second["dense"])


# -- one process ----------------------------------------------------------------------------


def test_a_group_that_this_process_is_not_in():
    with pytest.raises(TypeError, match="group is a int"):
        hessian(parallel.net(), F.cross_entropy, parallel.data(), group=-100)


def test_no_group_costs_nothing():
    H = hessian(parallel.net(), F.cross_entropy, parallel.data())
    assert not H.sharded
    assert H.agreed(0.1) == 0.1
    assert np.allclose(
        eigenpairs(H, 1).values, parallel.top(parallel.dense(parallel.data()), 1), rtol=1e-5
    )
