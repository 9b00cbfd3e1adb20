"""Singular values of a random net's input-output Jacobian: their growth and their scatter.

J is the product of L factors, (diagonal of slopes) times (weights), at one input.
"""

from __future__ import annotations

import math

from sounding.theory.activations import Activation
from sounding.theory.gaussian import slope_fourth_moment, slope_moment


def log_gain_per_layer(weight_variance: float, phi: Activation, q: float = 1.0) -> float:
    """Expected log of ||J v||^2 per layer: log(sigma_w^2 E phi'(sqrt(q) z)^2).

    log s for linear nets with Var(w) = s / width, log(s / 2) for ReLU; -inf if nothing passes.
    At width n the mean log is lower by half the relative variance of one layer: 1 / n for linear
    nets, 2.5 / n for ReLU.
    """
    factor = weight_variance * slope_moment(phi, q)
    return math.log(factor) if factor > 0 else -math.inf


def isometry_defect(
    depth: int, phi: Activation, *, orthogonal: bool = False, q: float = 1.0
) -> float:
    """Variance over squared mean of the squared singular values of J; 0 is perfect isometry.

    Formula: L (m2 / m1^2 - 1 + 1 for Gaussian weights, + 0 for orthogonal ones), with
    mk = E phi'(sqrt(q) z)^(2 k). Linear: L Gaussian, 0 orthogonal; ReLU: 2 L Gaussian, L orthogonal
    at every weight variance, so no ReLU net is isometric. Pennington, Schoenholz & Ganguli,
    "Resurrecting the sigmoid in deep learning through dynamical isometry", NIPS 2017; infinite
    width.
    """
    scatter = slope_fourth_moment(phi, q) / slope_moment(phi, q) ** 2 - 1
    return depth * (scatter if orthogonal else scatter + 1)


def largest_squared_singular_value(depth: int) -> float:
    """Upper end of the squared singular values of a linear Gaussian net, their mean being 1.

    Formula: (L + 1)^(L + 1) / L^L, about e (L + 1/2); the support of the Fuss-Catalan law that
    the product of L square Gaussian matrices has at infinite width.
    """
    return math.exp((depth + 1) * math.log(depth + 1) - depth * math.log(depth))
