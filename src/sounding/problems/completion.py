"""Completing a matrix of low rank from some of its entries.

f(U) = 1/(4p) |P(UU' - M)|^2 + lambda sum_i (|U_i| - alpha)_+^4, P keeping the observed entries, a
share p of them. Ge, Lee and Ma, "Matrix Completion has No Spurious Local Minimum", NIPS 2016: with
incoherent M and enough entries all minima are global and all saddles strict.
"""

from __future__ import annotations

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem, orthogonal


class MatrixCompletion(Problem):
    """M = TT' with Gaussian T (d, r), entries observed at random and symmetrically."""

    U: torch.Tensor
    matrix: torch.Tensor
    seen: torch.Tensor

    minimum = 0.0
    spread = 0.1

    def __init__(
        self,
        d: int = 40,
        r: int = 2,
        *,
        observed: float = 0.5,
        spiky: bool = False,
        weight: float = 0.0,
        alpha: float | None = None,
        seed: int = 0,
    ) -> None:
        """The truth has rows of length about 1.

        Args:
            d: Rows of the matrix.
            r: Its rank.
            observed: The share p of entries.
            spiky: Whether one row of the truth has length sqrt(d): a coherent matrix.
            weight: lambda, of the regulariser.
            alpha: Length of a row from where it acts; twice the longest row of the truth.
            seed: Of truth and entries.

        Raises:
            ValueError: If `observed` is no share.
        """
        if not 0 < observed <= 1:
            raise ValueError(f"observed is {observed}; it is a share above 0, at most 1")
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal((d, r)) / np.sqrt(r)
        if spiky:
            truth[0] *= np.sqrt(d) / np.linalg.norm(truth[0])
        upper = np.triu(rng.random((d, d)) < observed)
        super().__init__({"U": np.zeros((d, r))})
        self.register_buffer("matrix", torch.tensor(truth @ truth.T))
        self.register_buffer("seen", torch.tensor(upper | upper.T).double())
        longest = float(np.linalg.norm(truth, axis=1).max())
        self.observed, self.weight = observed, weight
        self.alpha = 2 * longest if alpha is None else alpha
        if weight and self.alpha < longest:
            raise ValueError(f"alpha is {alpha}, but the truth has a row of length {longest:.3g}")
        self._truth = truth

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of U (..., d, r)."""
        (u,) = parameters
        misfit = (self.seen * (u @ u.mT - self.matrix)).square().sum((-2, -1))
        loss = misfit / (4 * self.observed)
        if self.weight:
            # of the square, which has a second derivative at zero; below alpha all is zero anyway
            length = u.square().sum(-1).clamp(min=self.alpha**2).sqrt()
            loss = loss + self.weight * (length - self.alpha).pow(4).sum(-1)
        return loss

    def error(self, points: torch.Tensor) -> torch.Tensor:
        """(B, n) -> (B,) |UU' - M| / |M| over all entries, seen or not."""
        (u,) = self.layout.split(self._rows(points))
        return (u @ u.mT - self.matrix).flatten(1).norm(dim=1) / self.matrix.norm()

    def critical_points(self) -> tuple[Known, ...]:
        """The origin and the truth; the regulariser acts at neither."""
        (d, r), u = self._truth.shape, self._truth
        seen = self.seen.cpu().numpy()
        matrix = seen * self.matrix.cpu().numpy()
        origin = np.repeat(np.linalg.eigvalsh(-matrix / self.observed), r)
        value = (matrix**2).sum() / (4 * self.observed)
        # |P(UZ' + ZU')|^2 / (2p), entry by entry
        slopes = np.zeros((d, d, d, r))
        rows = np.arange(d)
        slopes[rows, :, rows] += u[None, :, :]
        slopes[:, rows, rows] += u[:, None, :]
        slopes = (seen[:, :, None, None] * slopes).reshape(d * d, d * r)
        truth = np.linalg.eigvalsh(slopes.T @ slopes / (2 * self.observed))
        return (
            from_spectrum("origin", np.zeros(d * r), value, origin, minimum=0.0),
            from_spectrum("truth", u, 0.0, truth, minimum=0.0),
        )

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        u = known.parameters.reshape(self._truth.shape)
        return known.moved((u @ orthogonal(u.shape[1], rng)).reshape(-1))
