"""Extreme eigenpairs with what is known about their error."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch

from sounding.curvature.operator import Operator
from sounding.curvature.search import ENDS, Search
from sounding.result import Result
from sounding.train import Progress, silent

MOST = 400  # products


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Eigenpairs(Result):
    """The k largest or smallest eigenvalues; `vectors` stay with the object, not with the file."""

    which: str  # 'largest' or 'smallest'
    values: np.ndarray  # (k,) from the outermost inwards
    residuals: np.ndarray  # (k,) norms of H v - value v: an eigenvalue lies that near
    errors: np.ndarray  # (k,) bound on |value - that eigenvalue|: min(residual, residual^2 / gap)
    bound: float  # nothing lies beyond this, with probability 1 - miss
    missed: float  # probability, at most, that one farther out than tol allows was missed
    miss: float  # the largest such probability at which `converged` is said
    tol: float  # relative residual asked for
    converged: bool
    size: int  # n
    products: int  # matrix-vector products
    seconds: float
    note: str = ""  # what to do if it did not converge
    vectors: torch.Tensor | None = dataclasses.field(
        default=None, repr=False, metadata={"saved": False}
    )  # (k, n)

    def __str__(self) -> str:
        rows = ", ".join(
            f"{v:.5g} ± {e:.1g}" for v, e in zip(self.values, self.errors, strict=True)
        )
        loud = "" if self.converged else f"  NOT CONVERGED: {self.note}"
        return f"{self.which} eigenvalues {rows}; {self.products} products{loud}"


def eigenpairs(
    operator: Operator,
    k: int = 1,
    *,
    which: str = "largest",
    tol: float = 1e-3,
    miss: float = 1e-3,
    start: torch.Tensor | None = None,
    block: int | None = None,
    basis: int | None = None,
    most: int = MOST,
    host: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Eigenpairs:
    """The k largest or smallest eigenvalues of a symmetric matrix, with residuals.

    `converged` says two things: each residual is at most tol * |value|, and the probability that
    an eigenvalue farther out (by more than tol) was missed is at most `miss`. Eigenvalues smaller
    than 1e-3 of the largest in size are resolved to 1e-3 of that only. Costs 10 to 20 products
    for the top eigenvalues of most nets, 30 to 80 for the most negative one.

    Args:
        operator: From :func:`sounding.hessian` and its kin.
        k: How many.
        which: 'largest' or 'smallest' (the most negative).
        tol: Relative residual asked for.
        miss: Probability of a missed eigenvalue that is put up with; 1 asks for residuals only.
        start: (j, n) vectors to start from, such as earlier `vectors` (a warm start).
        block: Random vectors to start from; by default one for k = 1, else two. An eigenvalue that
            was found as often as that may have further copies: then it begins anew with twice as
            many.
        basis: Vectors kept before a restart; by default as many as half of the free memory holds.
            After a restart it takes products of their own, which keep three vectors, to make sure
            that none was missed.
        most: Products at most.
        host: Keep the vectors in the host's memory.
        seed: Of the random vectors.
        progress: Told the residual, the products made, and `most`.

    Raises:
        ValueError: If more are asked for than there are, or a product is not finite.

    Example:
        >>> H = Operator.dense(torch.diag(torch.tensor([3.0, 1.0, -2.0])))
        >>> eigenpairs(H, which="smallest").values.round(3)
        array([-2.])
    """
    if which not in ENDS:
        raise ValueError(f"which is {which!r}; it is 'largest' or 'smallest'")
    search = Search(
        operator, {which: k}, tol, miss, start=start, block=block, basis=basis, most=most,
        host=host, seed=seed, progress=progress,
    )  # fmt: skip
    search.run()
    return _result(search, which)


def extremes(
    operator: Operator,
    k: int = 1,
    *,
    tol: float = 1e-3,
    miss: float = 1e-3,
    start: torch.Tensor | None = None,
    block: int | None = None,
    basis: int | None = None,
    most: int = MOST,
    host: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Eigenpairs, Eigenpairs]:
    """Both ends at once, (largest, smallest), from the same products; see :func:`eigenpairs`."""
    search = Search(
        operator, {"largest": k, "smallest": k}, tol, miss, start=start, block=block,
        basis=basis, most=most, host=host, seed=seed, progress=progress,
    )  # fmt: skip
    search.run()
    return _result(search, "largest"), _result(search, "smallest")


def negative_curvature(
    operator: Operator,
    *,
    miss: float = 1e-3,
    start: torch.Tensor | None = None,
    most: int = MOST,
    seed: int = 0,
    progress: Progress = silent,
) -> Eigenpairs:
    """A unit vector v with v'Hv < 0, as soon as there is one; or how surely there is none.

    Its value is v'Hv itself, so it proves that the smallest eigenvalue is below zero, whatever its
    residual. Costs 6 to 15 products on most nets that have one. Where none appears, the search ends
    as that of :func:`eigenpairs` for the smallest eigenvalue: `bound` says below what nothing lies.

    Args:
        operator: From :func:`sounding.hessian`.
        miss: Probability of a missed eigenvalue that is put up with where none is found.
        start: (j, n) vectors to start from as well, such as an earlier one.
        most: Products at most.
        seed: Of the random start.
        progress: Told the residual, the products made, and `most`.

    Returns:
        `which` is 'negative' where it was proven, else 'smallest'.

    Example:
        >>> H = Operator.dense(torch.diag(torch.tensor([3.0, 1.0, -2.0])))
        >>> found = negative_curvature(H)
        >>> found.which, bool(found.values[0] < 0)
        ('negative', True)
    """
    search = Search(
        operator, {"smallest": 1}, 1e-3, miss, start=start, block=None, basis=None, most=most,
        host=False, seed=seed, progress=progress, until_negative=True,
    )  # fmt: skip
    search.run()
    pairs = _result(search, "smallest")
    if not search.negative:
        return pairs
    certain = np.array([search.rounding()])
    return dataclasses.replace(
        pairs, which="negative", errors=certain, bound=float("-inf"), missed=0.0, converged=True,
        note="",
    )  # fmt: skip


def _result(search: Search, end: str) -> Eigenpairs:
    values, vectors, residuals = search.ritz
    finest = float(torch.finfo(search.operator.dtype).eps * np.abs(values).max())
    residuals = np.maximum(residuals, finest)  # no product is known any better
    at = search.at(end)
    found = values[at]
    missed = search.missed(end)
    close = len(at) == search.wanted[end] and search.close(end)
    converged = search.settled or (close and missed <= search.miss)
    return Eigenpairs(
        which=end,
        values=found,
        residuals=residuals[at],
        errors=np.maximum(_errors(values, residuals, at), finest),
        bound=_bound(search, end, found),
        missed=0.0 if search.lanczos.count >= search.operator.size else missed,
        miss=search.miss,
        tol=search.tol,
        converged=bool(converged),
        size=search.operator.size,
        products=search.spent,
        seconds=time.perf_counter() - search.begun,
        note="" if converged else _advice(search, close),
        vectors=search.lanczos.basis.combined(
            torch.from_numpy(np.ascontiguousarray(vectors[:, at]))
        ),
    )


def _bound(search: Search, end: str, found: np.ndarray) -> float:
    if search.guard is None or not len(found):
        return float(ENDS[end] * np.inf)
    first = float(search.allowed(found)[0]) or 1e-12
    return search.guard.bound(float(found[0]), search.miss, first, ENDS[end])


def _advice(search: Search, close: bool) -> str:
    if search.interrupted:
        return "interrupted; this is the best so far"
    if not close:
        return f"the residuals are above tol after {search.spent} products; raise most or tol"
    return (
        f"an eigenvalue farther out may have been missed; raise most (now {search.most}), basis "
        f"(now {search.capacity}) or tol"
    )


def _errors(values: np.ndarray, residuals: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(k,) min(r, r^2 / gap), the gap being that to the nearest other Ritz value less its residual.

    Parlett (1998), The Symmetric Eigenvalue Problem, theorem 11.7.1.
    """
    found = []
    for i in at:
        others = np.delete(np.abs(values - values[i]) - residuals, i)
        gap = max(float(others.min()), 0.0) if len(others) else np.inf
        r = float(residuals[i])
        found.append(min(r, r * r / gap) if gap else r)
    return np.array(found)
