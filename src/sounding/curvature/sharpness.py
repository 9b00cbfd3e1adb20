"""Sharpness, the largest eigenvalue of the Hessian, once and along a training run."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


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
