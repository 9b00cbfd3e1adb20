"""Sharpness along a training run: each search starts from the eigenvectors of the one before."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.hessian import hessian
from sounding.objective import Loss, Objective
from sounding.result import Result

CERTIFY = 10  # of so many searches one starts from a random vector too


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SharpnessSeries(Result):
    """Largest eigenvalues over the steps of a training, each with its residual and its cost."""

    steps: np.ndarray  # (T,)
    values: np.ndarray  # (T, k) the k largest eigenvalues, from the largest down
    residuals: np.ndarray  # (T, k)
    certified: np.ndarray  # (T,) bool: searched from a random start, not only followed
    products: np.ndarray  # (T,) matrix-vector products of each
    seconds: np.ndarray  # (T,)
    lr: np.ndarray  # (T,) learning rate, nan where it is not known
    momentum: float = 0.0  # heavy-ball momentum: stable below 2 (1 + momentum) / lr


class SharpnessMonitor:
    """Measures the k largest eigenvalues of the Hessian whenever it is asked to.

    ``monitor.measure(step)`` inside a training loop costs two or three products, because it starts
    from the eigenvectors of the time before; that follows known eigenvalues and can miss one that
    rises from below. So every tenth time a random vector is added, as in a search of its own: these
    are marked as certified. The model, its gradients and random state are left alone.

    >>> net = nn.Linear(4, 1)
    >>> data = torch.eye(4), torch.zeros(4, 1)
    >>> monitor = SharpnessMonitor(net, nn.functional.mse_loss, data)
    >>> round(monitor.measure(0, lr=0.1), 2)
    2.5
    >>> monitor.series().values.shape
    (1, 1)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | Objective,
        batches: Any,
        *,
        k: int = 1,
        tol: float = 1e-3,
        certify: int = CERTIFY,
        momentum: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Arguments as of :func:`hessian` and :func:`eigenpairs`; `certify` counts searches."""
        self._of = (model, loss, batches)
        self._k, self._tol, self._certify, self._seed = k, tol, certify, seed
        self._momentum = momentum
        self._vectors: torch.Tensor | None = None
        self._rows: list[tuple[Any, ...]] = []

    def measure(self, step: int, *, lr: float = math.nan) -> float:
        """The largest eigenvalue now; it is added to the series."""
        begun = time.perf_counter()
        count = len(self._rows)
        certain = count % self._certify == 0
        matrix = hessian(*self._of, check=count == 0, seed=self._seed)
        found = eigenpairs(
            matrix,
            self._k,
            tol=self._tol,
            miss=1e-3 if certain else 1.0,
            start=self._vectors,
            seed=self._seed + count,
        )
        self._vectors = found.vectors
        spent = time.perf_counter() - begun
        certified = certain and found.converged
        row = (step, found.values, found.residuals, certified, matrix.products, spent, lr)
        self._rows.append(row)
        return float(found.values[0])

    def series(self) -> SharpnessSeries:
        """Everything measured so far."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 7
        shape = (-1, self._k)
        return SharpnessSeries(
            steps=np.array(columns[0], dtype=np.int64),
            values=np.array(columns[1], dtype=np.float64).reshape(shape),
            residuals=np.array(columns[2], dtype=np.float64).reshape(shape),
            certified=np.array(columns[3], dtype=bool),
            products=np.array(columns[4], dtype=np.int64),
            seconds=np.array(columns[5], dtype=np.float64),
            lr=np.array(columns[6], dtype=np.float64),
            momentum=self._momentum,
        )
