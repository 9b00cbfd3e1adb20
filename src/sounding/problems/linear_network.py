"""Linear networks of any depth, all of whose stationary points can be written down.

L(W_1..W_H) = 1/2 sum over samples |W_H ... W_1 x - y|^2. Two layers: Baldi and Hornik, 1989. Any
depth: Kawaguchi, "Deep Learning without Poor Local Minima", NIPS 2016, and Achour, Malgouyres and
Gerchinovitz, "The Loss Landscape of Deep Linear Neural Networks: a Second-order Analysis", JMLR
2024, whose classification this follows.

With S_yx, S_xx the moments, M = S_yx S_xx^-1 and S = M S_xy with eigenvectors u_1, u_2, ... to
eigenvalues l_1 > l_2 > ... > 0, the product at a stationary point is U_I U_I' M for a set I of r
eigenvectors, the value 1/2 (tr S_yy - sum_{i in I} l_i). Written out (the U_Q are the others),

    W_1 = [U_I' M; Z_1],  W_h = [1 0; 0 Z_h],  W_H = [U_I, U_Q Z_H],

up to invertible changes of basis between the layers. It is stationary when two of the Z are zero,
for any other Z. If I is not the top set, it is a strict saddle. If it is, and r the largest rank
possible, a global minimum; otherwise a saddle, strict unless three of the Z are zero ("tightened").
"""

from __future__ import annotations

import itertools
from typing import Any, Self

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import DEGENERATE, NON_STRICT_SADDLE, Known, from_spectrum
from sounding.problems.problem import Problem, orthogonal


class LinearNetwork(Problem):
    """The sum of squares over the data; a batch (x, y) gives that over its samples."""

    x: torch.Tensor
    y: torch.Tensor

    spread = 0.5

    def __init__(self, x: Any, y: Any, hidden: tuple[int, ...] = (4,)) -> None:
        """One hidden layer for each entry of `hidden`.

        Args:
            x: (N, d_x), of full column rank.
            y: (N, d_y), with d_y <= d_x.
            hidden: Widths; none for plain regression.

        Raises:
            ValueError: If the data are not of full rank, or eigenvalues coincide.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        self.widths = (x.shape[1], *hidden, y.shape[1])
        shapes = list(itertools.pairwise(self.widths))
        rng = np.random.default_rng(0)
        super().__init__(
            {
                f"W{h + 1}": rng.standard_normal((out, into)) / np.sqrt(into)
                for h, (into, out) in enumerate(shapes)
            }
        )
        self.register_buffer("x", torch.tensor(x))
        self.register_buffer("y", torch.tensor(y))
        self.depth, self.largest_rank = len(shapes), min(self.widths)
        if np.linalg.matrix_rank(x) < x.shape[1]:
            raise ValueError("the inputs are not of full column rank; leave out columns of x")
        self.regression = np.linalg.lstsq(x, y, rcond=None)[0].T  # M
        values, vectors = np.linalg.eigh(self.regression @ x.T @ y)
        self.eigenvalues, self.eigenvectors = values[::-1].copy(), vectors[:, ::-1].copy()
        gaps = np.diff(values, prepend=0.0)
        if gaps.min() <= 1e-9 * values[-1]:
            raise ValueError(
                f"the eigenvalues {values[::-1]} of the explained moments coincide or vanish, so "
                "stationary points cannot be enumerated; change y"
            )
        self.minimum = self._level(range(self.largest_rank))

    @classmethod
    def random(
        cls, d_x: int = 5, d_y: int = 4, hidden: tuple[int, ...] = (4,), *, n: int = 20,
        seed: int = 0,
    ) -> Self:  # fmt: skip
        """Standard normal inputs, and targets linear in them with standard normal weights."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, d_x))
        noise = rng.standard_normal((n, d_y))
        return cls(x, x @ rng.standard_normal((d_x, d_y)) + noise, hidden)

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of W_1 (..., h_1, d_x), ..., W_H (..., d_y, h_{H-1})."""
        x, y = (self.x, self.y) if batch is None else batch
        product = parameters[0]
        for w in parameters[1:]:
            product = w @ product
        return (x @ product.mT - y).square().sum((-2, -1)) / 2

    def sample(self, count: int, *, seed: int = 0) -> Batch:
        """`count` of the samples, with replacement; multiply its loss by N / count."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.x), (count,), generator=generator)
        return self.x[chosen], self.y[chosen]

    # -- stationary points ------------------------------------------------------------------

    def critical_points(self) -> tuple[Known, ...]:
        """For every set I: one point with the outer Z zero, from three layers on one with all.

        With the outer two zero, those between are drawn at random once; a point with all Z zero is
        tightened.
        """
        rng = np.random.default_rng(0)
        everything = frozenset(range(1, self.depth + 1))
        patterns = [frozenset({1, self.depth})] + [everything] * (self.depth > 2)
        return tuple(
            self.critical_point(kept, zeros, rng) for kept in self._sets() for zeros in patterns
        )

    def critical_point(
        self, kept: tuple[int, ...], zeros: frozenset[int], rng: np.random.Generator
    ) -> Known:
        """The point with I = `kept` (from 0) and Z_h = 0 for h in `zeros`, the others random.

        Raises:
            ValueError: If fewer than two layers are in `zeros`, or the rank is too large.
        """
        r = len(kept)
        if len(zeros) < min(2, self.depth) or r > self.largest_rank:
            raise ValueError(f"two zero Z at least, and rank {self.largest_rank} at most")
        weights = self._weights(kept, zeros, rng)
        point = np.concatenate([w.reshape(-1) for w in weights])
        top = tuple(kept) == tuple(range(r))
        flat = DEGENERATE if r == self.largest_rank else NON_STRICT_SADDLE
        eigenvalues = torch.linalg.eigvalsh(self.hessians(point)[0]).cpu().numpy()
        strict = not top or (r < self.largest_rank and len(zeros) < 3)
        if strict != bool(eigenvalues[0] < -1e-9 * eigenvalues[-1]):
            raise AssertionError(f"theory and the dense Hessian disagree at I = {kept}, {zeros}")
        name = "I = {" + ", ".join(str(i + 1) for i in kept) + "}"
        name += f", Z zero in {sorted(zeros)}"
        return from_spectrum(
            name, point, self._level(kept), eigenvalues, minimum=self.minimum, flat=flat
        )

    def draw(self, count: int, *, seed: int = 0) -> tuple[Known, ...]:
        """Random sets I, random patterns of zeros, random Z, random bases between the layers."""
        rng = np.random.default_rng(seed)
        sets = self._sets()
        layers = np.arange(1, self.depth + 1)
        found = []
        for _ in range(count):
            kept = sets[rng.integers(len(sets))]
            many = rng.integers(min(2, self.depth), self.depth + 1)
            zeros = frozenset(rng.choice(layers, many, replace=False).tolist())
            found.append(self._moved(self.critical_point(kept, zeros, rng), rng))
        return tuple(found)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        """The same function with other bases between the layers, of condition 4 at most."""
        parts = self.layout.split(torch.from_numpy(known.parameters))
        weights, back = [], np.eye(self.widths[0])
        for part, width in zip(parts, self.widths[1:], strict=True):
            last = len(weights) == self.depth - 1
            turn = np.eye(width) if last else orthogonal(width, rng)
            scale = np.ones(width) if last else np.exp(rng.uniform(-0.69, 0.69, width))
            weights.append((turn * scale) @ part.numpy() @ back)
            back = (turn / scale).T
        point = np.concatenate([w.reshape(-1) for w in weights])
        return known.moved(point, isometry=self.depth == 1)

    def _weights(
        self, kept: tuple[int, ...], zeros: frozenset[int], rng: np.random.Generator
    ) -> list[np.ndarray]:
        r, widths = len(kept), self.widths
        own = self.eigenvectors[:, list(kept)]
        rest = np.delete(self.eigenvectors, list(kept), axis=1)
        weights = []
        for h in range(1, self.depth + 1):
            rows = widths[h] - r
            columns = widths[h - 1] - (r if h > 1 else 0)
            z = np.zeros((rows, columns)) if h in zeros else rng.standard_normal((rows, columns))
            first, last = h == 1, h == self.depth
            top = own.T @ self.regression if first else np.eye(r, widths[h - 1])
            below = z if first else np.concatenate([np.zeros((rows, r)), z], axis=1)
            # the last layer has the basis of y below it
            weights.append(own @ top + rest @ below if last else np.concatenate([top, below]))
        return weights

    def _sets(self) -> list[tuple[int, ...]]:
        sizes = range(self.largest_rank + 1)
        places = range(self.widths[-1])
        return [kept for r in sizes for kept in itertools.combinations(places, r)]

    def _level(self, kept: Any) -> float:
        explained = self.eigenvalues[list(kept)].sum()
        return float((self.y.square().sum() - explained) / 2)
