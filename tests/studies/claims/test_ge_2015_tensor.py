"""Tensors: curvatures on the sphere by hand, the squared error by its tensor, counts that refute.

No other test would see the squared error of another tensor.
"""

import numpy as np
import pytest
import torch

from sounding.studies import study
from sounding.studies.claims import ge_2015_tensor as tensor


def test_curvatures_are_those_of_the_sphere():
    """In an orthonormal basis of the tangent space: P (-12 diag(u^2)) P + 4 sum u^4."""
    table = tensor.curvatures(4)
    for k, lowest in zip(table["k"], table["lowest"], strict=True):
        u = np.zeros(4)
        u[:k] = k**-0.5
        tangent = np.linalg.svd(u[None])[2][1:]
        hessian = tangent @ np.diag(-12 * u**2) @ tangent.T + 4 * (u**4).sum() * np.eye(3)
        assert lowest == pytest.approx(np.linalg.eigvalsh(hessian)[0])
    assert table["together"].shape == (5,)  # partitions of four
    assert table["best"].sum() == 1


def test_the_squared_error_is_that_of_the_tensors():
    problem = tensor.SquaredError(3)
    u = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    off = -sum(torch.einsum("a,b,c,d->abcd", row, row, row, row) for row in u)
    for k in range(3):
        off[k, k, k, k] += 1
    assert float(problem.losses(u.reshape(-1))) == pytest.approx(float(off.square().sum()))


def test_a_few_runs_decompose_from_anywhere():
    random, worst = (tensor.decompositions(3, 4, saddle, seed=0) for saddle in (False, True))
    assert max(random["losses"].max(), worst["losses"].max()) < tensor.SOLVED
    assert tensor.decomposition_verdict(worst).outcome == "supported"
    assert tensor.components(3, 5, seed=0)["gaps"].max() < tensor.SOLVED


@pytest.mark.parametrize(
    ("failing", "outcome"), [(0, "supported"), (1, "supported"), (2, "refuted")]
)
def test_one_run_in_fifty_may_fail(failing, outcome):
    losses = np.where(np.arange(50) < failing, 1.0, 0.0)
    run = {"d": 5, "saddle": False, "losses": losses, "steps": np.full(50, 9)}
    assert tensor.decomposition_verdict(run).outcome == outcome


def test_wrong_curvatures_and_ends_refute():
    tables = [tensor.curvatures(3)]
    assert {v.outcome for v in tensor.curvature_verdicts(tables)} == {"supported"}
    wrong = [dict(tables[0], formula=2 * tables[0]["formula"])]
    assert tensor.curvature_verdicts(wrong)[0].outcome == "refuted"
    assert tensor.component_verdict([{"gaps": np.array([0.5])}]).outcome == "refuted"
    ends = {"losses": np.array([0.0, 0.4]), "gradients": np.array([0.0, 0.0])}
    assert tensor.naive_verdict(ends).outcome == "supported"
    assert tensor.naive_verdict(dict(ends, losses=np.zeros(2))).outcome == "refuted"
    assert len(tensor.curvature_chart(tables[0]).lines) == 2


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Twenty seconds."""
    result = study("ge-2015-tensor")
    assert {verdict.outcome for verdict in result.verdicts[:-1]} == {"supported"}
