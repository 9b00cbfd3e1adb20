"""The libraries that are compared, each behind the same few calls.

A side owns one Hessian. It can be asked for extreme eigenvalues, the trace and the spectral
measure; every answer says how many products it took and whether the library said that it had
converged (None where it has no such word). `search` is a side whose products are remembered: for
finding a setting, not for timing. What a library needs to run at all on today's torch (PyHessian's
``torch.eig``, no attention kernels without a second derivative) is given to it here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from curvature_parts.nets import Problem
from curvature_parts.truth import Measure, Product

PEERS = Path(__file__).resolve().parents[2] / ".venv" / "peers"
sys.path.append(str(PEERS))  # behind .venv: torch, numpy and scipy are ours


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What a library said, and at what price."""

    values: np.ndarray  # eigenvalues from the outermost inwards, or the trace alone
    products: int
    claimed: bool | None = None
    measure: Measure | None = None
    vector: torch.Tensor | None = None  # eigenvector of the first


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Attention in a form that has a second derivative, and no advice about reference cycles."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Counted:
    """A function that counts the vectors it is called with."""

    def __init__(self, product: Any) -> None:
        self.product = product
        self.calls = 0

    def __call__(self, *given: Any) -> Any:
        """The product."""
        self.calls += 1
        return self.product(*given)


# -- PyHessian --------------------------------------------------------------------------------


class PyHessian:
    """Power iteration with deflation, Hutchinson, Lanczos quadrature; a kept graph."""

    name = "PyHessian"

    def __init__(self, problem: Problem, search: Product | None = None) -> None:
        from pyhessian import hessian
        from pyhessian.utils import hessian_vector_product

        with differentiable():
            self._matrix = hessian(problem.model, problem.loss, data=problem.batch, cuda=False)
        self._product = hessian_vector_product if search is None else _in_parts(search)

    @contextlib.contextmanager
    def _asked(self, seed: int) -> Iterator[Counted]:
        counted = Counted(self._product)
        module = sys.modules["pyhessian.hessian"]
        before = module.hessian_vector_product, torch.eig
        module.hessian_vector_product, torch.eig = counted, _eig
        torch.manual_seed(seed)
        try:
            with differentiable():
                yield counted
        finally:
            module.hessian_vector_product, torch.eig = before

    def extreme(self, k: int, which: str, seed: int, **setting: Any) -> Answer:
        """By power iteration, so of largest magnitude: it has no smallest."""
        if which != "largest":
            raise NotImplementedError("PyHessian knows only the largest magnitudes")
        with self._asked(seed) as counted:
            values, _ = self._matrix.eigenvalues(top_n=k, **setting)
        return Answer(np.array(values), counted.calls)

    def trace(self, seed: int, **setting: Any) -> Answer:
        """The mean of its samples."""
        with self._asked(seed) as counted:
            samples = self._matrix.trace(**setting)
        return Answer(np.array([np.mean(samples)]), counted.calls)

    def density(self, seed: int, **setting: Any) -> Answer:
        """Its nodes and weights, before anything is smoothed."""
        with self._asked(seed) as counted:
            nodes, weights = self._matrix.density(**setting)
        found = np.ravel(nodes), np.ravel(weights) / len(weights)
        return Answer(np.array([]), counted.calls, measure=found)


def _eig(matrix: torch.Tensor, eigenvectors: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What torch.eig was, for the symmetric matrices that PyHessian gives it."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


def _in_parts(product: Product) -> Any:
    """A product of flat vectors as one of lists of tensors."""

    def parts(_: Any, parameters: list[torch.Tensor], vector: list[torch.Tensor]) -> Any:
        flat = product(torch.cat([v.reshape(-1) for v in vector]))
        split = flat.split([p.numel() for p in parameters])
        return tuple(s.view_as(p) for s, p in zip(split, parameters, strict=True))

    return parts


# -- hessian-eigenthings ----------------------------------------------------------------------


class Eigenthings:
    """Lanczos of a given length, power iteration, Hutch++; double backward built anew."""

    name = "hessian-eigenthings"

    def __init__(self, problem: Problem, search: Product | None = None) -> None:
        from hessian_eigenthings import HessianOperator
        from hessian_eigenthings.loss_fns import supervised_loss
        from hessian_eigenthings.operators.base import LambdaOperator

        if search is None:
            loss = supervised_loss(problem.loss)
            search = HessianOperator(problem.model, [problem.batch], loss).matvec
        self._counted = Counted(search)
        self._matrix = LambdaOperator(self._counted, problem.size)

    def extreme(self, k: int, which: str, seed: int, **setting: Any) -> Answer:
        """By Lanczos."""
        from hessian_eigenthings.algorithms import lanczos

        short = {"largest": "LA", "smallest": "SA"}[which]
        before = self._counted.calls
        with differentiable():
            found = lanczos(self._matrix, k=k, which=short, seed=seed, **setting)
        return Answer(
            found.eigenvalues.numpy(),
            self._counted.calls - before,
            bool(found.converged.all()),
            vector=found.eigenvectors[0],
        )

    def followed(self, start: torch.Tensor, seed: int, **setting: Any) -> Answer:
        """The largest, by power iteration from a vector."""
        from hessian_eigenthings.algorithms.power_iteration import power_iteration_one

        before = self._counted.calls
        with differentiable():
            value, _, _, _, said = power_iteration_one(
                self._matrix, init=start, seed=seed, **setting
            )
        return Answer(np.array([value]), self._counted.calls - before, said)

    def trace(self, seed: int, **setting: Any) -> Answer:
        """Hutch++ unless the setting says otherwise."""
        from hessian_eigenthings.algorithms import trace

        before = self._counted.calls
        with differentiable():
            found = trace(self._matrix, seed=seed, **setting)
        return Answer(np.array([found.estimate]), self._counted.calls - before)

    def density(self, seed: int, **setting: Any) -> Answer:
        """Its nodes and weights, before anything is smoothed."""
        from hessian_eigenthings.algorithms import spectral_density

        before = self._counted.calls
        with differentiable():
            found = spectral_density(
                self._matrix, seed=1000 * seed, num_grid_points=1000, **setting
            )
        nodes, weights = found.raw_eigenvalues, found.raw_weights
        measure = nodes.numpy().ravel(), weights.numpy().ravel() / len(weights)
        return Answer(np.array([]), self._counted.calls - before, measure=measure)


# -- curvlinops -------------------------------------------------------------------------------


class Curvlinops:
    """An operator for scipy's eigsh, XTrace, Hutch++, Lanczos quadrature; forward over reverse."""

    name = "curvlinops + eigsh"

    def __init__(self, problem: Problem, search: Product | None = None, **made: Any) -> None:
        from curvlinops import HessianLinearOperator

        made.setdefault("check_deterministic", search is None)
        with differentiable():
            self._matrix: Any = HessianLinearOperator(
                problem.model,
                problem.loss,
                problem.parameters,
                [problem.batch],
                **made,
            )
        product = self._matrix.__matmul__ if search is None else search
        self._columns = Columns(product, problem.size)

    def followed(self, start: torch.Tensor, seed: int, **setting: Any) -> Answer:
        """The largest, from a vector."""
        return self.extreme(1, "largest", seed, start=start, **setting)

    def extreme(
        self, k: int, which: str, seed: int, start: torch.Tensor | None = None, **setting: Any
    ) -> Answer:
        """By ARPACK, in single precision like the net (to_scipy's default is double)."""
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        def product(vector: np.ndarray) -> np.ndarray:
            flat = torch.as_tensor(vector.reshape(-1), dtype=torch.float32)
            return (self._columns @ flat).detach().numpy().astype(vector.dtype)

        before, n = self._columns.calls, self._columns.shape[0]
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(n, generator=generator) if start is None else start
        kind = np.dtype(setting.pop("dtype", "float32"))
        matrix = LinearOperator((n, n), matvec=product, dtype=kind)
        short = {"largest": "LA", "smallest": "SA"}[which]
        try:
            with differentiable():
                values, vectors = eigsh(
                    matrix, k, which=short, v0=first.numpy().astype(kind), **setting
                )
            said = True
        except ArpackNoConvergence as stopped:
            values, vectors, said = stopped.eigenvalues, stopped.eigenvectors, False
            values = np.pad(values, (0, k - len(values)), constant_values=np.nan)
        order = np.argsort(values)[:: -1 if which == "largest" else 1]
        vector = torch.as_tensor(vectors[:, order[0]]).float() if said else None
        return Answer(values[order], self._columns.calls - before, said, vector=vector)

    def trace(self, seed: int, method: str, num_matvecs: int) -> Answer:
        """By its function of that name."""
        import curvlinops

        torch.manual_seed(seed)
        before = self._columns.calls
        with differentiable(), torch.no_grad():
            value = float(getattr(curvlinops, method)(self._columns, num_matvecs))
        return Answer(np.array([value]), self._columns.calls - before)

    def density(self, seed: int, starts: int, steps: int) -> Answer:
        """By its Lanczos process, without the two eigenvalues that its smoothing asks for."""
        from curvlinops.papyan2020traces.spectrum import fast_lanczos

        torch.manual_seed(seed)
        before = self._columns.calls
        with differentiable(), torch.no_grad():
            found = [fast_lanczos(self._columns, steps) for _ in range(starts)]
        nodes = np.concatenate([values.numpy() for values, _ in found])
        weights = np.concatenate([vectors[0].numpy() ** 2 / starts for _, vectors in found])
        return Answer(np.array([]), self._columns.calls - before, measure=(nodes, weights))


class Columns:
    """A matrix that multiplies blocks column by column, so that a long block needs no memory."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, product: Any, size: int) -> None:
        self._product = product
        self.shape = (size, size)
        self.calls = 0

    def __matmul__(self, other: torch.Tensor) -> torch.Tensor:
        columns = [other] if other.ndim == 1 else list(other.T)
        self.calls += len(columns)
        found = [self._product(column.contiguous()) for column in columns]
        return found[0] if other.ndim == 1 else torch.stack(found, dim=1)


# -- Sounding ---------------------------------------------------------------------------------


class Sounding:
    """This package, as its users call it."""

    name = "Sounding"

    def __init__(self, problem: Problem, search: Product | None = None, **made: Any) -> None:
        from sounding.curvature.hessian import hessian
        from sounding.curvature.operator import Operator

        if search is None:
            self._matrix = hessian(problem.model, problem.loss, problem.batch, **made)
        else:
            self._matrix = Operator(
                lambda block: torch.stack([search(row) for row in block]), problem.size
            )

    def extreme(self, k: int, which: str, seed: int, **setting: Any) -> Answer:
        """With residuals, and a bound on what may have been missed."""
        from sounding.curvature.eigenpairs import eigenpairs

        found = eigenpairs(self._matrix, k, which=which, seed=seed, **setting)
        vector = None if found.vectors is None else found.vectors[0]
        return Answer(found.values, found.products, found.converged, vector=vector)

    def followed(self, start: torch.Tensor, seed: int, **setting: Any) -> Answer:
        """The largest, from a vector."""
        return self.extreme(1, "largest", seed, start=start[None], **setting)

    def trace(self, seed: int, **setting: Any) -> Answer:
        """With its standard error."""
        from sounding.curvature.trace import trace

        found = trace(self._matrix, seed=seed, **setting)
        return Answer(np.array([found.value]), found.products, found.converged)

    def density(self, seed: int, **setting: Any) -> Answer:
        """Its density on its grid, which says more than its nodes do."""
        from sounding.curvature.density import density

        found = density(self._matrix, seed=seed, **setting)
        cells = np.gradient(found.grid)
        measure = found.grid, found.values * cells
        return Answer(np.array([]), found.products, found.converged, measure=measure)


SIDES = (Sounding, PyHessian, Eigenthings, Curvlinops)
