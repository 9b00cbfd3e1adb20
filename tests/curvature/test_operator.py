"""An Operator behaves as the matrix that it stands for, whatever kind of vector it is given."""

import numpy as np
import pytest
import torch

from sounding.curvature.operator import Operator
from sounding.vectors import Layout

N = 7


@pytest.fixture
def matrix():
    made = torch.randn(N, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return made + made.T


@pytest.fixture
def operator(matrix):
    return Operator.dense(matrix)


@pytest.mark.parametrize("shape", [(N,), (N, 3)])
def test_products_with_tensors_and_arrays(operator, matrix, shape):
    vectors = torch.arange(np.prod(shape), dtype=torch.float64).reshape(shape)
    assert torch.allclose(operator @ vectors, matrix @ vectors)
    product = operator @ vectors.numpy()
    assert isinstance(product, np.ndarray)
    assert np.allclose(product, matrix.numpy() @ vectors.numpy())
    assert operator.products == 2 * (shape[1] if len(shape) == 2 else 1)


def test_dtype_of_the_vector_comes_back(operator):
    assert (operator @ torch.ones(N)).dtype == torch.float32


def test_arithmetic(operator, matrix):
    other = operator * 3.0 - operator + 0.5 - 0.25
    assert torch.allclose(other.to_dense(), 2 * matrix + 0.25 * torch.eye(N, dtype=torch.float64))
    assert torch.allclose((-operator).to_dense(), -matrix)
    assert torch.allclose((operator + operator).to_dense(), 2 * matrix)


def test_preconditioned(operator, matrix):
    diagonal = torch.arange(1.0, N + 1, dtype=torch.float64)
    expected = matrix / (diagonal.sqrt()[:, None] * diagonal.sqrt())
    assert torch.allclose(operator.preconditioned(diagonal).to_dense(), expected)


def test_restricted_is_the_block_of_the_names(matrix):
    layout = Layout({"a.weight": torch.zeros(2, 2), "b": torch.zeros(3)})
    operator = Operator(lambda block: block @ matrix, N, dtype=matrix.dtype, layout=layout)
    assert torch.allclose(operator.restricted("a").to_dense(), matrix[:4, :4])
    assert torch.allclose(operator.restricted("b").to_dense(), matrix[4:, 4:])
    with pytest.raises(ValueError, match=r"no parameter matches 'c'; there are a\.weight, b"):
        operator.restricted("c")
    with pytest.raises(ValueError, match="no parameter names"):
        Operator.dense(matrix).restricted("a")


def test_scipy_agrees(operator, matrix):
    from scipy.sparse.linalg import eigsh

    top = eigsh(operator.to_scipy(), k=2, which="LA", return_eigenvectors=False)
    assert np.allclose(np.sort(top), np.linalg.eigvalsh(matrix.numpy())[-2:])


@pytest.mark.parametrize("bad", [torch.ones(N + 1), torch.ones(2, N), torch.ones(())])
def test_a_vector_that_does_not_fit_is_one_sentence(operator, bad):
    with pytest.raises(ValueError, match=r"does not fit an Operator of size 7; pass \(7,\)"):
        operator @ bad


def test_what_is_no_vector_or_matrix(operator):
    with pytest.raises(TypeError, match="not a list"):
        operator @ [1.0]
    with pytest.raises(ValueError, match="not symmetric"):
        Operator.dense(torch.arange(4.0).reshape(2, 2))
    with pytest.raises(ValueError, match="not square"):
        Operator.dense(torch.ones(2, 3))
    with pytest.raises(ValueError, match="sizes 7 and 2"):
        operator + Operator.dense(torch.eye(2))
