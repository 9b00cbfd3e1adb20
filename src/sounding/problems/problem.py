"""A loss whose landscape is known, as a module: calling it gives the loss at its parameters.

Letters: n parameters in all, B points evaluated at once. A point is a flat vector (n,), in the
order of the parameters; many points are rows, (B, n).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from sounding.objective import Batch, Objective
from sounding.problems.known import Known
from sounding.result import NotApplicable
from sounding.vectors import Layout, normal


class Problem(nn.Module):
    """The base of all problems; a kind of problem says its `value`.

    Every tool takes one as it takes a network, with the loss and the batches that it brings along:
    ``sounding.hessian(problem, problem.loss, problem.batches)``. A batch of None is the whole
    loss; problems that are sampled also take a batch from :meth:`sample`.

    Attributes:
        minimum: The global minimum of the loss; nan where it is not known.
        spread: Standard deviation of each coordinate of a random start.
    """

    loss = Objective(lambda model, batch: model(batch))
    minimum: float = math.nan
    spread: float = 1.0

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        for name, start in parameters.items():
            tensor = torch.as_tensor(start, dtype=torch.float64).clone()
            self.register_parameter(name, nn.Parameter(tensor))

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss, of parameters each of shape (..., *its own), as a tensor (...)."""
        raise NotImplementedError

    def forward(self, batch: Batch = None) -> torch.Tensor:
        """The loss at the present parameters."""
        return self.value(*self.parameters(), batch=batch)

    # -- where it stands --------------------------------------------------------------------

    @property
    def batches(self) -> list[Batch]:
        """What a tool is to be given as batches: the whole loss, once."""
        return [None]

    @property
    def layout(self) -> Layout:
        """Where each parameter lies in a point."""
        return Layout(dict(self.named_parameters()))

    @property
    def size(self) -> int:
        """Number of coordinates of a point, n."""
        return sum(p.numel() for p in self.parameters())

    def point(self) -> np.ndarray:
        """(n,) the present parameters."""
        return self.layout.join([p.detach() for p in self.parameters()]).cpu().double().numpy()

    def place(self, point: Known | np.ndarray | torch.Tensor) -> Self:
        """Set the parameters to a point, and return the problem itself.

        Raises:
            ValueError: If the point has another size.
        """
        row = self._rows(point.parameters if isinstance(point, Known) else point)[0]
        with torch.no_grad():
            for parameter, part in zip(self.parameters(), self.layout.split(row), strict=True):
                parameter.copy_(part)
        return self

    # -- many points at once ----------------------------------------------------------------

    def losses(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n) -> (B,), with the graph if `points` wants a gradient."""
        return self.value(*self.layout.split(self._rows(points)), batch=batch)

    def gradients(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n) -> (B, n), through one backward pass: the points do not see one another."""
        rows = self._rows(points).detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.losses(rows, batch).sum(), rows)[0]

    def hessians(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n) -> (B, n, n), dense; n backward passes through the gradient, for all points."""
        rows = self._rows(points).detach().requires_grad_()
        with torch.enable_grad():
            first = torch.autograd.grad(self.losses(rows, batch).sum(), rows, create_graph=True)[0]
            if not first.requires_grad:  # a linear loss
                return rows.new_zeros(*rows.shape, self.size)
            columns = [
                torch.autograd.grad(one.sum(), rows, retain_graph=True, materialize_grads=True)[0]
                for one in first.unbind(1)
            ]
        return torch.stack(columns, dim=1)

    def starts(self, count: int, *, seed: int = 0, spread: float | None = None) -> torch.Tensor:
        """(count, n) random starts, each coordinate N(0, spread^2), from a generator of its own."""
        like = next(self.parameters())
        drawn = normal(count, self.size, seed=seed, dtype=like.dtype, device=like.device)
        return (self.spread if spread is None else spread) * drawn

    def _rows(self, points: Any) -> torch.Tensor:
        like = next(self.parameters())
        rows = torch.as_tensor(points, dtype=like.dtype, device=like.device)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise ValueError(
                f"points of shape {tuple(rows.shape)} do not fit {type(self).__name__}, whose "
                f"points are rows of {self.size} numbers"
            )
        return rows

    # -- what is known ----------------------------------------------------------------------

    def critical_points(self) -> tuple[Known, ...]:
        """Stationary points, one of each orbit under the symmetries of the loss."""
        return ()

    def draw(self, count: int, *, seed: int = 0) -> tuple[Known, ...]:
        """Random stationary points: classes uniformly, then a random place on the orbit.

        Raises:
            NotApplicable: If no stationary point of the problem is known.
        """
        known = self.critical_points()
        if not known:
            raise NotApplicable(f"no stationary point of {type(self).__name__} is known exactly")
        rng = np.random.default_rng(seed)
        return tuple(self._moved(known[rng.integers(len(known))], rng) for _ in range(count))

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        """The point at a random place on its orbit; without symmetries where it was."""
        return known

    def sample(self, count: int, *, seed: int = 0) -> Batch:
        """A random batch, on which the loss estimates the whole.

        Raises:
            NotApplicable: If the loss is no expectation.
        """
        raise NotApplicable(f"the loss of {type(self).__name__} is no mean over samples")


def orthogonal(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) an orthogonal matrix, uniform by Haar's measure (Mezzadri 2007)."""
    if size == 0:
        return np.zeros((0, 0))
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))
