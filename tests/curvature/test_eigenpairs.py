"""Extreme eigenvalues against known spectra: near ties, copies, both ends; never wrong and sure."""

import numpy as np
import pytest
import torch

from sounding.curvature.eigenpairs import eigenpairs, extremes, negative_curvature
from sounding.curvature.operator import Operator

N = 500


def _bulk(count, seed=0):
    return np.random.default_rng(seed).uniform(-0.1, 0.4, count)


SPECTRA = {
    "net": np.r_[34, 25, 17, 16, 14, 12, np.random.default_rng(1).laplace(0, 0.1, N - 6)],
    "near tie": np.r_[1, 0.995, _bulk(N - 2)],
    "tie within tol": np.r_[1, 1 - 1e-4, 0.9, 0.8, 0.7, 0.6, _bulk(N - 6)],
    "double": np.r_[1, 1, 0.9, 0.8, 0.7, 0.7, 0.6, _bulk(N - 7)],
    "triple": np.r_[1, 0.9, 0.9, 0.9, 0.7, 0.6, _bulk(N - 6)],
    "ten copies": np.r_[1 + 1e-8 * np.arange(10), 0.9, 0.8, _bulk(N - 12)],
    "geometric": 2.0 ** (-np.arange(N) / 20),
    "all equal": np.ones(N),
    "zero": np.zeros(N),
}


def _operator(values, dtype=torch.float32):
    diagonal = torch.as_tensor(np.asarray(values), dtype=dtype)
    return Operator(lambda block: block * diagonal, len(diagonal), dtype=dtype)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", SPECTRA)
def test_what_is_said_to_have_converged_is_right(name, k):
    true = np.sort(SPECTRA[name])[::-1][:k]
    converged = 0
    for seed in range(10):
        found = eigenpairs(_operator(SPECTRA[name]), k, seed=seed, most=300)
        converged += found.converged
        if found.converged:
            scale = np.maximum(np.abs(true), 1e-3 * np.abs(SPECTRA[name]).max())
            assert np.all(np.abs(found.values - true) <= 1e-3 * scale + 1e-12), (seed, found)
    assert converged >= (0 if name == "near tie" and k == 5 else 10)


@pytest.mark.parametrize("name", ["net", "double"])
def test_the_smallest_eigenvalue(name):
    true = SPECTRA[name].min()
    for seed in range(5):
        found = eigenpairs(_operator(SPECTRA[name]), which="smallest", seed=seed)
        assert found.converged
        assert found.values[0] == pytest.approx(true, rel=1e-3)
        assert found.bound <= true


def test_vectors_residuals_and_errors_are_what_they_say():
    made = torch.randn(80, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = made + made.T
    found = eigenpairs(Operator.dense(matrix), 4, tol=1e-2)
    vectors = found.vectors
    assert torch.allclose(vectors @ vectors.T, torch.eye(4, dtype=torch.float64), atol=1e-10)
    true = (vectors @ matrix - torch.from_numpy(found.values.copy())[:, None] * vectors).norm(dim=1)
    assert np.allclose(true.numpy(), found.residuals, atol=1e-9)
    exact = np.linalg.eigvalsh(matrix.numpy())[::-1][:4]
    assert np.all(np.abs(found.values - exact) <= found.errors + 1e-12)
    assert np.all(found.residuals <= 1e-2 * np.abs(found.values))


def test_both_ends_from_the_same_products():
    operator = _operator(SPECTRA["net"])
    top, bottom = extremes(operator, 2)
    true = np.sort(SPECTRA["net"])
    assert np.allclose(top.values, true[::-1][:2], rtol=1e-3)
    assert np.allclose(bottom.values, true[:2], rtol=1e-3)
    assert top.products == bottom.products == operator.products


def test_a_warm_start_takes_two_or_three_products():
    operator = _operator(SPECTRA["net"])
    before = eigenpairs(operator)
    moved = _operator(SPECTRA["net"] * (1 + 1e-3 * np.sin(np.arange(N))))
    again = eigenpairs(moved, start=before.vectors, miss=1.0)
    assert again.converged
    assert again.products <= 3
    assert again.values[0] == pytest.approx(SPECTRA["net"][0], rel=2e-3)


def test_restarts_reach_the_same_values_in_little_memory():
    true = np.sort(SPECTRA["net"])[::-1]
    found = eigenpairs(_operator(SPECTRA["net"]), 3, basis=12, miss=1.0)
    assert found.converged
    assert np.allclose(found.values, true[:3], rtol=1e-3)


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("name", SPECTRA)
def test_in_little_memory_it_gets_sure_and_is_right(name, which):
    # Over 40 seeds, also for k = 5 and for bases of 20 and 40, none was wrong.
    values, sharp = np.sort(SPECTRA[name]), 1e-3 * np.abs(SPECTRA[name]).max()
    true = values[-1 if which == "largest" else 0]
    for seed in range(3):
        found = eigenpairs(_operator(values), which=which, basis=8, seed=seed, most=500)
        assert found.converged == ((name, which) != ("geometric", "smallest"))
        if found.converged:
            assert abs(found.values[0] - true) <= 1e-3 * max(abs(true), sharp) + 1e-12
            assert (found.bound - true) * (1 if which == "largest" else -1) >= -1e-6 * abs(true)


def test_several_pairs_and_both_ends_in_little_memory():
    # Copies make it begin anew while the basis is full.
    found = eigenpairs(_operator(SPECTRA["double"]), 5, basis=14, most=500)
    assert found.converged
    assert np.allclose(found.values, [1, 1, 0.9, 0.8, 0.7], rtol=1e-3)
    top, bottom = extremes(_operator(SPECTRA["net"]), basis=12)
    assert top.converged
    assert bottom.converged
    assert max(top.missed, bottom.missed) <= 1e-3
    assert bottom.values[0] == pytest.approx(SPECTRA["net"].min(), rel=1e-3)


def test_with_too_few_products_to_be_sure_it_says_so():
    found = eigenpairs(_operator(SPECTRA["net"]), which="smallest", basis=20, most=60)
    assert not found.converged
    assert found.missed > 1e-3
    assert "may have been missed; raise most (now 60)" in found.note
    assert found.products <= 60
    assert found.values[0] == pytest.approx(SPECTRA["net"].min(), rel=1e-3)


def test_negative_curvature_is_proven_in_a_few_products():
    values = SPECTRA["net"]
    for seed in range(5):
        found = negative_curvature(_operator(values), seed=seed)
        assert found.which == "negative"
        assert found.converged
        vector = found.vectors[0].double().numpy()
        assert vector @ (values * vector) == pytest.approx(found.values[0], abs=found.errors[0])
        assert found.values[0] + found.errors[0] < 0
        assert found.products < eigenpairs(_operator(values), which="smallest").products / 2


def test_where_nothing_is_negative_it_says_below_what_nothing_lies():
    found = negative_curvature(_operator(np.linspace(0.5, 2, N)))
    assert found.which == "smallest"
    assert found.converged
    assert 0.49 < found.bound <= 0.5


def test_running_out_of_products_is_loud():
    found = eigenpairs(_operator(SPECTRA["net"]), most=4)
    assert not found.converged
    assert "raise most" in found.note
    assert "NOT CONVERGED" in str(found)


def test_an_interrupt_returns_the_best_so_far():
    operator, calls = _operator(SPECTRA["net"]), []

    def apply(block):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return operator.apply(block)

    found = eigenpairs(Operator(apply, N))
    assert not found.converged
    assert found.note == "interrupted; this is the best so far"
    assert 20 < found.values[0] < 35


@pytest.mark.parametrize(("name", "k"), [("net", 1), ("double", 5)])
def test_values_belong_to_their_vectors_wherever_it_ends(name, k):
    # Out of products or interrupted, in the middle of restarts and of beginning anew.
    values = SPECTRA[name]

    def apply(block):
        calls.append(1)
        if len(calls) == last:
            raise KeyboardInterrupt
        return block * torch.as_tensor(values, dtype=torch.float64)

    for last in range(2, 60, 3):
        calls = []
        operator = Operator(apply, N, dtype=torch.float64)
        try:
            found = [eigenpairs(operator, k, basis=8, seed=1)]
        except KeyboardInterrupt:  # in the first product of all, or of beginning anew
            found = []
        found.append(eigenpairs(_operator(values, torch.float64), k, basis=8, seed=1, most=last))
        for one in found:
            v = one.vectors.numpy()
            away = np.linalg.norm(v * values - one.values[:, None] * v, axis=1)
            assert np.allclose(away, one.residuals, atol=1e-9), last


def test_progress_is_told_products_and_residual():
    told = []
    eigenpairs(_operator(SPECTRA["net"]), progress=lambda *said: told.append(said))
    assert told[-1][0].startswith("residual ")
    assert told[-1][1] > told[0][1]
    assert told[-1][2] == 400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": N + 1}, "501 eigenpairs were asked for, but the matrix has 500"),
        ({"k": 0}, "0 eigenpairs"),
        ({"which": "LA"}, "which is 'LA'; it is 'largest' or 'smallest'"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"miss": 0.0}, "miss is 0.0"),
        ({"block": 0}, "block is 0"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, words):
    with pytest.raises(ValueError, match=words):
        eigenpairs(_operator(SPECTRA["net"]), **arguments)


def test_all_pairs_of_a_tiny_matrix():
    found = eigenpairs(_operator([3.0, 1.0, -2.0], torch.float64), 3)
    assert found.converged
    assert np.allclose(found.values, [3, 1, -2])
    assert found.missed == 0.0
