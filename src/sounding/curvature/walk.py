"""Lanczos from the random starts once more, keeping three vectors of each: enough to be sure.

Whether an eigenvalue was missed is told by T alone (:mod:`sounding.curvature.guard`), and T comes
from a three-term recurrence. Without the basis rounding costs the vectors their orthogonality, but
A V = V T + b q e_m' + F still holds, with nothing but rounding in F (Paige 1980, "Accuracy and
effectiveness of the Lanczos algorithm for the symmetric eigenproblem", Linear Algebra Appl. 34). So
for a unit eigenvector u with eigenvalue x, multiplied from the left by u', from the right by
(x I - T)^-1, the share of u in the first vector is

    u'v_1 = b (q'u) e_m'(x I - T)^-1 e_1 + f = (q'u) / p_m(x) + f,   |q'u| <= 1,

where p_m is the m-th Lanczos polynomial. What rounding adds, f, knows nothing of u'v_1 as long as x
is no eigenvalue of T, and then makes a small sum no more likely. The price is products, as T gets
copies of eigenvalues: once to twice as many as with a basis (spectra of test_eigenpairs.py).
"""

from __future__ import annotations

import math

from sounding.curvature.guard import Gap
from sounding.curvature.operator import Operator
from sounding.curvature.tridiagonal import Process, Processes, work_dtype

HUGE = 1e150  # larger polynomials are scaled down


class Walk:
    """The recurrences of some random starts, side by side."""

    def __init__(self, operator: Operator, starts: int, *, seed: int) -> None:
        """`starts` vectors, ``operator.normal(starts, seed=seed)``: those of a search, again."""
        rows = operator.normal(starts, seed=seed).to(work_dtype(operator))
        self._lengths = [float(operator.total((row @ row)[None])) ** 0.5 for row in rows]
        self._processes = Processes(operator, rows, keep=False)

    @property
    def ended(self) -> bool:
        """Whether every start's T is complete."""
        return self._processes.ended

    def step(self) -> None:
        """A product for each start."""
        self._processes.step()

    def limit(self, gap: Gap) -> float:
        """How long the starts' share of an eigenvector may be, with an eigenvalue in the gap."""
        pairs = zip(self._processes.each, self._lengths, strict=True)
        return math.hypot(*(length * _share(one, gap) for one, length in pairs))


def _share(process: Process, gap: Gap) -> float:
    """1 / |p_m| at most in the gap; infinite where T has an eigenvalue in it."""
    (low, above_low), (high, above_high) = (_polynomial(process, end) for end in gap)
    if above_low != above_high:
        return math.inf
    return 0.0 if process.ended else math.exp(min(-min(low, high), 700.0))


def _polynomial(process: Process, at: float) -> tuple[float, int]:
    """The logarithm of |p_m(at)|; how many eigenvalues of T are larger: the signs that change."""
    if math.isinf(at):
        return math.inf, 0 if at > 0 else process.count
    before, now, below, scale, above = 0.0, 1.0, 0.0, 0.0, 0
    for diagonal, beside in zip(process.diagonal, process.beside, strict=False):
        before, now = now, ((at - diagonal) * now - below * before) / (beside or 1.0)
        above += (now < 0) != (before < 0)
        if abs(now) > HUGE:
            before, now, scale = before / HUGE, now / HUGE, scale + math.log(HUGE)
        below = beside
    return (scale + math.log(abs(now)) if now else -math.inf), above
