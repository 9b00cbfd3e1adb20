"""The search for extreme eigenpairs: one Lanczos process, and when it may stop."""

from __future__ import annotations

import time

import numpy as np
import torch

from sounding.curvature.guard import Guard, beyond, by_basis
from sounding.curvature.lanczos import Lanczos
from sounding.curvature.memory import SHARE, free_bytes
from sounding.curvature.operator import Operator
from sounding.curvature.walk import Walk
from sounding.train import Progress

LOOKING = 0.1  # of the time of the products may go into looking whether it is enough
FLAT = 1e-3  # of the spectral norm: smaller eigenvalues are resolved to tol * FLAT * norm
ROUNDING = 100  # times eps times the norm: how far rounding may put a value v'Hv off
ENDS = {"largest": 1, "smallest": -1}


class Search:
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
        until_negative: bool = False,
    ) -> None:
        """Arguments as of `eigenpairs`; `until_negative` ends it at the first negative value."""
        _check(operator, wanted, tol, miss, block)
        self.operator, self.wanted, self.tol, self.miss = operator, wanted, tol, miss
        self.most, self.host, self.seed, self.progress = most, host, seed, progress
        self.random = (1 if max(wanted.values()) == 1 else 2) if block is None else block
        self.random = min(self.random, operator.size)
        self.capacity = _capacity(operator, host) if basis is None else basis
        self.capacity = min(max(self.capacity, 2 * sum(wanted.values()) + 4), operator.size)
        self.begun, self.before = time.perf_counter(), operator.products
        self.until_negative, self.negative = until_negative, False
        self.interrupted = False
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
            rows.append(operator.normal(self.random, seed=self.seed) / operator.size**0.5)
        self.warm = 0 if warm is None else len(rows[0])
        return Lanczos(operator, torch.cat(rows), host=self.host)

    @property
    def spent(self) -> int:
        """Products so far."""
        return self.operator.products - self.before

    def run(self) -> None:
        """Step until settled, out of products, or interrupted."""
        try:
            while not self._step():
                pass
        except KeyboardInterrupt:
            if not self.lanczos.count:
                raise
            self.interrupted = True

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
        grown = lanczos.basis.count + self.random > self.capacity
        full = grown and self.capacity < self.operator.size  # a basis of everything is the end
        over = self.spent >= self.most
        if lanczos.count < self.next_look and not (full or over or lanczos.exhausted):
            return False
        self._look()
        begun_anew = self.lanczos is not lanczos
        if full and not (self.settled or over or begun_anew or lanczos.exhausted):
            self._restart()
        return self.settled or self.spent >= self.most

    def _look(self) -> None:
        """Read the Ritz pairs; sets `settled`, and when to look again.

        So that looking costs at most LOOKING of the time, but never less often than after an
        eighth more products.
        """
        start = time.perf_counter()
        self._read()
        spent = time.perf_counter() - start
        m = self.lanczos.count
        wait = self.operator.agreed(spent / (LOOKING * self.step_time) * self.random)
        self.next_look = m + int(min(max(wait, 1), max(m / 8, 1)))

    def _read(self) -> None:
        lanczos = self.lanczos
        self.ritz = values, vectors, residuals = lanczos.ritz()
        if lanczos.restarts == 0:
            first = lanczos.first[:, self.warm :]
            limit = by_basis(values, vectors, lanczos.coupling, first, self.operator.size)
            self.guard = Guard(limit, first.shape[1])
        if self.until_negative and values[0] < -self.rounding():
            self.negative = self.settled = True
            return
        enough = all(len(values) >= k for k in self.wanted.values())
        close = enough and all(self.close(end) for end in self.wanted)
        worst = max((residuals[self.at(e)].max() for e in self.wanted), default=0.0)
        self.progress(f"residual {worst:.1e}", self.spent, self.most)
        if not close:
            return
        if lanczos.restarts and self._worst() > self.miss:
            self._walk()  # as the guard is of before the restarts, more steps do not help
        if self._worst() > self.miss:
            return
        if self.miss == 1 or not any(self._crowded(end) for end in self.wanted):
            self.settled = True
        elif self.spent < self.most:
            self._widen()

    def _worst(self) -> float:
        return max(self.missed(end) for end in self.wanted)

    def _walk(self) -> None:
        """Products that tell more of the random start, until it is sure that nothing was missed."""
        before, walk = self.guard, Walk(self.operator, self.random, seed=self.seed)
        assert before is not None
        self.guard = Guard(lambda gap: min(before.limit(gap), walk.limit(gap)), self.random)
        while (worst := self._worst()) > self.miss and self.spent < self.most and not walk.ended:
            self.progress(f"missed with probability {worst:.0e}", self.spent, self.most)
            walk.step()

    def _crowded(self, end: str) -> bool:
        """Whether an eigenvalue was found as often as the start block could see it at most.

        Then there may be further copies of it, which would push the ones behind it out of the k.
        """
        found = self.ritz[0][self.at(end)]
        allowed = self.allowed(found)
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

    def at(self, end: str) -> np.ndarray:
        """Places of the wanted Ritz values, the outermost first."""
        values, k = self.ritz[0], self.wanted[end]
        order = np.argsort(values)
        return order[::-1][:k] if end == "largest" else order[:k]

    def allowed(self, values: np.ndarray) -> np.ndarray:
        """How far off each of these eigenvalues may be."""
        norm = np.abs(self.ritz[0]).max()
        return self.tol * np.maximum(np.abs(values), FLAT * norm)

    def rounding(self) -> float:
        """How far rounding may put a value v'Hv off."""
        eps = torch.finfo(self.operator.dtype).eps
        return ROUNDING * eps * float(np.abs(self.ritz[0]).max())

    def close(self, end: str) -> bool:
        """Whether the residuals are within the tolerance."""
        at = self.at(end)
        values, _, residuals = self.ritz
        return bool(np.all(residuals[at] <= self.allowed(values[at])))

    def missed(self, end: str) -> float:
        """The largest probability for any gap between those that were found, and beyond them."""
        if self.guard is None:
            return 1.0
        found = self.ritz[0][self.at(end)]
        allowed, out = self.allowed(found), ENDS[end]
        gaps = [beyond(found[0] + out * allowed[0], out)]
        ends = zip(found[:-1] - out * allowed[:-1], found[1:] + out * allowed[1:], strict=True)
        gaps += [(min(e), max(e)) for e in ends if out * (e[0] - e[1]) > 0]
        return self.guard.worst(gaps)

    def _restart(self) -> None:
        values, vectors, residuals = self.ritz
        order = np.argsort(values)
        room = self.capacity // 2
        keep = set()
        for end, k in self.wanted.items():
            share = max(k + 2, room // len(self.wanted))
            keep |= set((order[::-1] if end == "largest" else order)[:share].tolist())
        kept = sorted(keep)
        self.lanczos.restart(vectors[:, kept])
        self.ritz = values[kept], np.eye(len(kept)), residuals[kept]  # in terms of the new basis


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
    """Vectors that half of the free memory holds, on the rank that has least."""
    each = operator.width * torch.empty(0, dtype=operator.dtype).element_size()
    free = free_bytes(torch.device("cpu") if host else operator.device)
    own = min(operator.size, SHARE * free / each) if each else operator.size
    return int(-operator.agreed(-own))
