"""Batch normalisation by hand: forward, and the gradient in parts and in one line.

Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and section 3. Letters: B samples,
D features; g is the gradient with respect to the normalised u = (z - mean) / s, where
s = sqrt(variance + eps) and the variance is that of the batch, divided by B.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def normalised(z: Array, eps: float) -> tuple[Array, Array]:
    """U of shape (B, D), and the scale s (D,) that `z` (B, D) was divided by."""
    scale = np.sqrt(z.var(0) + eps)
    return (z - z.mean(0)) / scale, scale


def gradient(g: Array, z: Array, eps: float) -> Array:
    """The gradient with respect to `z`, in one line: (g - mean g - u mean(g u)) / s, (B, D).

    It sums to zero over the batch, and its product with z - mean is sum(g u) eps / s^2: nothing
    moves a batch up or down, and (for eps = 0) nothing stretches it.
    """
    u, scale = normalised(z, eps)
    return (g - g.mean(0) - u * (g * u).mean(0)) / scale


def gradient_of_variance(g: Array, z: Array, eps: float) -> Array:
    """The gradient with respect to the batch's variance, (D,): -s^-3 / 2 sum g (z - mean)."""
    _, scale = normalised(z, eps)
    return -0.5 * scale**-3 * (g * (z - z.mean(0))).sum(0)


def gradient_of_mean(g: Array, z: Array, eps: float) -> Array:
    """The gradient with respect to the batch's mean, (D,): -sum g / s.

    The path through the variance adds a multiple of sum (z - mean), which is zero.
    """
    _, scale = normalised(z, eps)
    return -g.sum(0) / scale


def gradient_by_parts(g: Array, z: Array, eps: float, of_variance: Array, of_mean: Array) -> Array:
    """The gradient with respect to `z` by the chain rule, out of the two others: (B, D)."""
    count = len(z)
    _, scale = normalised(z, eps)
    return g / scale + of_variance * 2 * (z - z.mean(0)) / count + of_mean / count
