"""Factorising a matrix: the simplest landscapes without bad minima, with every eigenvalue known.

Symmetric: f(U) = 1/4 |UU' - M|^2 (the example of Jin et al., ICML 2017). Asymmetric:
f(U, V) = 1/2 |UV' - M|^2 + balance |U'U - V'V|^2 (Ge, Jin and Zheng, ICML 2017, with 1/8). All
minima are global, all other stationary points strict saddles (or the maximum at the origin).

Letters: M has eigenvalues or singular values s_1 >= s_2 >= ...; U has r columns. A stationary
point keeps a set S of at most r of them: U = Q_S diag(sqrt(s_S)) R for any orthogonal R. In the
basis of M the Hessian falls into blocks of at most four coordinates, written down below.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem, orthogonal


class SymmetricFactorisation(Problem):
    """1/4 |UU' - M|^2 for a positive semidefinite M, U of shape (d, r)."""

    matrix: torch.Tensor
    spread = 0.1

    def __init__(self, matrix: Any, rank: int) -> None:
        """`matrix` is (d, d); `rank` the number of columns of U.

        Raises:
            ValueError: If the matrix is not symmetric and positive semidefinite.
        """
        self._matrix = np.asarray(matrix, dtype=np.float64)
        values, vectors = _spectrum(self._matrix)
        super().__init__({"U": np.zeros((len(values), rank))})
        self.register_buffer("matrix", torch.tensor(self._matrix))
        self.rank, self.eigenvalues, self.eigenvectors = rank, values, vectors
        self.minimum = float((values[rank:] ** 2).sum() / 4)

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of U (..., d, r); there are no batches."""
        (u,) = parameters
        return (u @ u.mT - self.matrix).square().sum((-2, -1)) / 4

    def critical_points(self) -> tuple[Known, ...]:
        """One for each set of at most r positive eigenvalues: complete up to rotation R."""
        positive = [i for i, s in enumerate(self.eigenvalues) if s > 0]
        return tuple(self._kept(kept) for kept in _subsets(positive, self.rank))

    def _kept(self, kept: tuple[int, ...]) -> Known:
        s = self.eigenvalues
        u = np.zeros((len(s), self.rank))
        u[:, : len(kept)] = self.eigenvectors[:, list(kept)] * np.sqrt(s[list(kept)])
        unused = [i for i in range(len(s)) if i not in kept]
        value = (s[unused] ** 2).sum() / 4
        spectrum = _symmetric_spectrum(s[list(kept)], s[unused], self.rank - len(kept))
        return from_spectrum(_named(kept), u, value, spectrum, minimum=self.minimum)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        u = known.parameters.reshape(-1, self.rank)
        return known.moved((u @ orthogonal(self.rank, rng)).reshape(-1))


class AsymmetricFactorisation(Problem):
    """1/2 |UV' - M|^2 + balance |U'U - V'V|^2, U of shape (d1, r) and V of shape (d2, r).

    With `balance` positive the stationary points of :meth:`critical_points` are all there are, up
    to rotation; with 0 each is moved further by any invertible G, as (UG, VG^-T), and there are
    others with U and V out of balance.
    """

    U: nn.Parameter
    V: nn.Parameter
    matrix: torch.Tensor
    spread = 0.1

    def __init__(self, matrix: Any, rank: int, *, balance: float = 0.0) -> None:
        """`matrix` is (d1, d2) with 2-norm s_1; 1/8 is the balance of the literature.

        Raises:
            ValueError: If `balance` is negative.
        """
        if balance < 0:
            raise ValueError(f"balance is {balance}; a negative one has no minimum")
        matrix = np.asarray(matrix, dtype=np.float64)
        rows, columns = matrix.shape
        super().__init__({"U": np.zeros((rows, rank)), "V": np.zeros((columns, rank))})
        self.register_buffer("matrix", torch.tensor(matrix))
        self.rank, self.balance = rank, float(balance)
        left, self.singular_values, right = np.linalg.svd(matrix)
        self._left, self._right = left, right.T
        self.minimum = float((self.singular_values[rank:] ** 2).sum() / 2)

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of U (..., d1, r) and V (..., d2, r); there are no batches."""
        u, v = parameters
        misfit = (u @ v.mT - self.matrix).square().sum((-2, -1)) / 2
        return misfit + self.balance * (u.mT @ u - v.mT @ v).square().sum((-2, -1))

    def critical_points(self) -> tuple[Known, ...]:
        """The balanced ones, one for each set of at most r positive singular values."""
        s = self.singular_values
        positive = [i for i in range(len(s)) if s[i] > 1e-12 * s[0]]
        return tuple(self._kept(kept) for kept in _subsets(positive, self.rank))

    def _kept(self, kept: tuple[int, ...]) -> Known:
        s, own = self.singular_values, list(kept)
        unused = np.array([s[i] for i in range(len(s)) if i not in kept])
        u = np.zeros((len(self._left), self.rank))
        v = np.zeros((len(self._right), self.rank))
        u[:, : len(own)] = self._left[:, own] * np.sqrt(s[own])
        v[:, : len(own)] = self._right[:, own] * np.sqrt(s[own])
        spectrum = _asymmetric_spectrum(
            s[own], unused, self.rank - len(own), abs(len(u) - len(v)), self.balance
        )
        point = np.concatenate([u.reshape(-1), v.reshape(-1)])
        value = (unused**2).sum() / 2
        return from_spectrum(_named(kept), point, value, spectrum, minimum=self.minimum)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        u, v = (known.parameters[: self.U.numel()], known.parameters[self.U.numel() :])
        turn = orthogonal(self.rank, rng)
        there, back = turn, turn
        if self.balance == 0:  # condition number 4 at most
            scale = np.exp(rng.uniform(-np.log(2), np.log(2), self.rank))
            there, back = (scale * turn) @ turn.T, (turn / scale) @ turn.T
        moved = [u.reshape(-1, self.rank) @ there, v.reshape(-1, self.rank) @ back]
        point = np.concatenate([part.reshape(-1) for part in moved])
        return known.moved(point, isometry=self.balance > 0)


# -- spectra ------------------------------------------------------------------------------------


def _symmetric_spectrum(kept: np.ndarray, unused: np.ndarray, empty: int) -> list[float]:
    """The Hessian's eigenvalues at U = Q_S diag(sqrt(kept)), `empty` columns being zero."""
    found = [s - u for s in kept for u in unused]  # row of u, column of s
    found += [-u for u in unused for _ in range(empty)]
    found += [0.0] * (len(kept) * empty)
    found += [2 * s for s in kept]
    for s, t in itertools.combinations(kept, 2):
        found += [0.0, s + t]  # along R, and across
    return found


def _asymmetric_spectrum(
    kept: np.ndarray, unused: np.ndarray, empty: int, longer: int, balance: float
) -> list[float]:
    """The same for (U, V); `longer` rows of one factor have no partner in the other."""
    found = [s + sign * u for s in kept for u in unused for sign in (1, -1)]
    found += [sign * u for u in unused for _ in range(empty) for sign in (1, -1)]
    found += [s for s in kept for _ in range(longer)] + [0.0] * (longer * empty)
    for s in kept:
        found += [2 * s, 16 * balance * s]
        found += [0.0, 8 * balance * s] * empty
    for s, t in itertools.combinations(kept, 2):
        a, b = np.sqrt(s), np.sqrt(t)
        forms = np.array(
            [[b, 0, 0, a], [0, a, b, 0], np.sqrt(4 * balance) * np.array([a, b, -a, -b])]
        )  # in the coordinates U_st, U_ts, V_st, V_ts
        found += list(np.linalg.eigvalsh(forms.T @ forms))
    return found


# -- names and sets -----------------------------------------------------------------------------


def _spectrum(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, with tiny ones set to zero; eigenvectors as columns."""
    if matrix.ndim != 2 or not np.allclose(matrix, matrix.T, rtol=1e-12):
        raise ValueError("the matrix must be symmetric; pass (M + M.T) / 2 if that is meant")
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-12 * abs(values[-1]):
        raise ValueError(f"the matrix has the negative eigenvalue {values[0]:.3g}")
    values = np.where(values > 1e-12 * values[-1], values, 0.0)
    return values[::-1].copy(), vectors[:, ::-1].copy()


def _subsets(items: list[int], most: int) -> list[tuple[int, ...]]:
    sizes = range(min(most, len(items)) + 1)
    return [subset for size in sizes for subset in itertools.combinations(items, size)]


def _named(kept: tuple[int, ...]) -> str:
    return "S = {" + ", ".join(str(i + 1) for i in kept) + "}"
