"""Extreme eigenpairs with what is known about their error."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch

from sounding.curvature.guard import Guard
from sounding.curvature.lanczos import Lanczos
from sounding.curvature.memory import SHARE, free_bytes
from sounding.curvature.operator import Operator
from sounding.result import Result
from sounding.train import Progress, silent
from sounding.vectors import normal

MOST = 400  # products
LOOKING = 0.1  # of the time of the products may go into looking whether it is enough
FLAT = 1e-3  # of the spectral norm: smaller eigenvalues are resolved to tol * FLAT * norm
ENDS = {"largest": 1, "smallest": -1}


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
            After a restart the probability of a miss does not fall any further.
        most: Products at most.
        host: Keep the vectors in the host's memory.
        seed: Of the random vectors.
        progress: Told the residual, the products made, and `most`.

    Raises:
        ValueError: If more are asked for than there are, or a product is not finite.

    Example:
        >>> H = Operator.dense(torch.diag(torch.tensor([3.0, 1.0, -2.0])))
        >>> eigenpairs(H, which="smallest").values
        array([-2.])
    """
    if which not in ENDS:
        raise ValueError(f"which is {which!r}; it is 'largest' or 'smallest'")
    search = _Search(
        operator, {which: k}, tol, miss, start=start, block=block, basis=basis, most=most,
        host=host, seed=seed, progress=progress,
    )  # fmt: skip
    search.run()
    return search.pairs(which)


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
    search = _Search(
        operator, {"largest": k, "smallest": k}, tol, miss, start=start, block=block,
        basis=basis, most=most, host=host, seed=seed, progress=progress,
    )  # fmt: skip
    search.run()
    return search.pairs("largest"), search.pairs("smallest")


class _Search:
    """One Lanczos process that goes on until the wanted ends are settled."""

    def __init__(
        self,
        operator: Operator,
        wanted: dict[str, int],
        tol: float,
        miss: float,
        *,
        start: torch.Tensor | None,
        block: int | None,
        basis: int | None,
        most: int,
        host: bool,
        seed: int,
        progress: Progress,
    ) -> None:
        _check(operator, wanted, tol, miss, block)
        self.operator, self.wanted, self.tol, self.miss = operator, wanted, tol, miss
        self.most, self.host, self.seed, self.progress = most, host, seed, progress
        self.random = (1 if max(wanted.values()) == 1 else 2) if block is None else block
        self.random = min(self.random, operator.size)
        self.capacity = _capacity(operator, host) if basis is None else basis
        self.capacity = min(max(self.capacity, 2 * sum(wanted.values()) + 4), operator.size)
        self.begun, self.before = time.perf_counter(), operator.products
        self.note = ""
        self.guard: Guard | None = None
        self.start = start
        self.lanczos = self._start(start)
        self.settled = False
        self.next_look, self.step_time = 0, 0.0

    def _start(self, warm: torch.Tensor | None) -> Lanczos:
        """From warm vectors and random ones; where no guard is asked for, from the warm ones."""
        operator, rows = self.operator, []
        width = operator.width
        if warm is not None:
            rows.append(warm.to(operator.device, operator.dtype).reshape(-1, width))
        if warm is None or self.miss < 1:
            made = normal(
                self.random, width, seed=self.seed, dtype=operator.dtype, device=operator.device
            )
            rows.append(made / operator.size**0.5)
        self.warm = 0 if warm is None else len(rows[0])
        return Lanczos(operator, torch.cat(rows), host=self.host)

    @property
    def spent(self) -> int:
        return self.operator.products - self.before

    def run(self) -> None:
        """Step until settled, out of products, or interrupted."""
        try:
            while not self._step():
                pass
        except KeyboardInterrupt:
            if not self.lanczos.count:
                raise
            self.note = "interrupted; this is the best so far"

    def _step(self) -> bool:
        """One block; whether the search is over."""
        lanczos = self.lanczos
        if lanczos.exhausted:
            if lanczos.count >= self.operator.size:
                self.settled = True
                return True
            lanczos.refresh(self.seed + 1 + lanczos.count)
            if lanczos.exhausted:  # nothing is left outside but rounding
                self.settled = True
                return True
        start = time.perf_counter()
        lanczos.step()
        self.step_time = time.perf_counter() - start
        full = lanczos.basis.count + self.random > self.capacity
        over = self.spent >= self.most
        if lanczos.count < self.next_look and not (full or over or lanczos.exhausted):
            return False
        self._look()
        if full and not (self.settled or over or lanczos.exhausted):
            self._restart()
        return self.settled or over

    def _look(self) -> None:
        """Read the Ritz pairs; sets `settled`, and when to look again.

        So that looking costs at most LOOKING of the time, but never less often than after an
        eighth more products.
        """
        start = time.perf_counter()
        self._read()
        spent = time.perf_counter() - start
        m = self.lanczos.count
        wait = spent / (LOOKING * self.step_time) * self.random
        self.next_look = m + int(min(max(wait, 1), max(m / 8, 1)))

    def _read(self) -> None:
        lanczos = self.lanczos
        self.ritz = values, vectors, residuals = lanczos.ritz()
        if lanczos.restarts == 0:
            first = lanczos.first[:, self.warm :]
            self.guard = Guard(values, vectors, lanczos.coupling, first, self.operator.size)
        enough = all(len(values) >= k for k in self.wanted.values())
        close = enough and all(self._close(end) for end in self.wanted)
        worst = max((residuals[self._at(e)].max() for e in self.wanted), default=0.0)
        self.progress(f"residual {worst:.1e}", self.spent, self.most)
        if not close or any(self._missed(end) > self.miss for end in self.wanted):
            return
        if self.miss < 1 and any(self._crowded(end) for end in self.wanted):
            self._widen()
        else:
            self.settled = True

    def _crowded(self, end: str) -> bool:
        """Whether an eigenvalue was found as often as the start block could see it at most.

        Then there may be further copies of it, which would push the ones behind it out of the k.
        """
        found = self.ritz[0][self._at(end)]
        allowed = self._allowed(found)
        copies = (np.abs(found[:, None] - found) <= 2 * allowed).sum(1)
        before_last = np.abs(found - found[-1]) > 2 * allowed
        return bool(np.any(copies[before_last] >= self.random))

    def _widen(self) -> None:
        """Begin anew with twice as many random vectors."""
        self.random = min(2 * self.random, self.operator.size)
        self.seed += 1
        self.next_look = 0
        self.guard = None
        self.lanczos = self._start(self.start)

    def _at(self, end: str) -> np.ndarray:
        """Places of the wanted Ritz values, the outermost first."""
        values, k = self.ritz[0], self.wanted[end]
        order = np.argsort(values)
        return order[::-1][:k] if end == "largest" else order[:k]

    def _allowed(self, values: np.ndarray) -> np.ndarray:
        """How far off each of these eigenvalues may be."""
        norm = np.abs(self.ritz[0]).max()
        return self.tol * np.maximum(np.abs(values), FLAT * norm)

    def _close(self, end: str) -> bool:
        at = self._at(end)
        values, _, residuals = self.ritz
        return bool(np.all(residuals[at] <= self._allowed(values[at])))

    def _missed(self, end: str) -> float:
        """The largest probability for any place outside the tolerance of those that were found."""
        if self.guard is None:
            return 1.0
        found = self.ritz[0][self._at(end)]
        allowed = self._allowed(found)
        edges = np.concatenate([found + ENDS[end] * allowed, (found - ENDS[end] * allowed)[:-1]])
        inside = np.abs(edges[:, None] - found) < 0.999 * allowed
        return self.guard.worst(edges[~inside.any(1)])

    def _restart(self) -> None:
        values, vectors, _ = self.ritz
        order = np.argsort(values)
        room = self.capacity // 2
        keep = set()
        for end, k in self.wanted.items():
            share = max(k + 2, room // len(self.wanted))
            keep |= set((order[::-1] if end == "largest" else order)[:share].tolist())
        self.lanczos.restart(vectors[:, sorted(keep)])

    # -- what came out ----------------------------------------------------------------------

    def pairs(self, end: str) -> Eigenpairs:
        """The result for one end."""
        values, vectors, residuals = self.ritz
        at = self._at(end)
        found = values[at]
        missed = self._missed(end)
        good = len(at) == self.wanted[end] and self._close(end)
        converged = self.settled or (good and missed <= self.miss)
        note = self.note if not converged else ""
        if not converged and not note:
            note = self._advice(good)
        bound = float(ENDS[end] * np.inf)
        if self.guard is not None and len(found):
            scale = float(self._allowed(found)[0]) or 1e-12
            bound = self.guard.bound(float(found[0]), self.miss, scale, ENDS[end])
        return Eigenpairs(
            which=end,
            values=found,
            residuals=residuals[at],
            errors=_errors(values, residuals, at),
            bound=bound,
            missed=0.0 if self.lanczos.count >= self.operator.size else missed,
            miss=self.miss,
            tol=self.tol,
            converged=bool(converged),
            size=self.operator.size,
            products=self.spent,
            seconds=time.perf_counter() - self.begun,
            note=note,
            vectors=self._vectors(vectors[:, at]),
        )

    def _vectors(self, chosen: np.ndarray) -> torch.Tensor:
        return self.lanczos.basis.combined(torch.from_numpy(np.ascontiguousarray(chosen)))

    def _advice(self, good: bool) -> str:
        if not good:
            return f"the residuals are above tol after {self.spent} products; raise most or tol"
        return (
            f"an eigenvalue farther out may have been missed; raise most (now {self.most}), basis "
            f"(now {self.capacity}) or tol"
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


def _check(
    operator: Operator, wanted: dict[str, int], tol: float, miss: float, block: int | None
) -> None:
    for k in wanted.values():
        if not 1 <= k <= operator.size:
            raise ValueError(
                f"{k} eigenpairs were asked for, but the matrix has {operator.size}; ask for 1 to "
                f"{operator.size}"
            )
    if not tol > 0:
        raise ValueError(f"tol is {tol}; it is a relative residual above 0, such as 1e-3")
    if not 0 < miss <= 1:
        raise ValueError(f"miss is {miss}; it is a probability above 0, at most 1")
    if block is not None and block < 1:
        raise ValueError(f"block is {block}; it is a number of vectors, 1 at least")


def _capacity(operator: Operator, host: bool) -> int:
    """Vectors that half of the free memory holds."""
    each = operator.width * torch.empty(0, dtype=operator.dtype).element_size()
    free = free_bytes(torch.device("cpu") if host else operator.device)
    return int(min(operator.size, SHARE * free / each))
