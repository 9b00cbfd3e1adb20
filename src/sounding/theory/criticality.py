"""The edge of chaos: weights under which gradients neither explode nor vanish with depth."""

from __future__ import annotations

import itertools

import numpy as np

from sounding.theory.activations import Activation
from sounding.theory.gaussian import second_moment, slope_moment
from sounding.theory.mean_field import length_map_slope
from sounding.theory.root import bisect


def critical_variance(phi: Activation, bias_variance: float = 0.0) -> float:
    """sigma_w^2 = fan_in Var(w) at which chi = 1 at a fixed point q* that attracts.

    Solves q = E phi(sqrt(q) z)^2 / E phi'(sqrt(q) z)^2 + sigma_b^2; then sigma_w^2 = 1 / E phi'^2.
    Poole et al., NIPS 2016; Schoenholz et al., "Deep Information Propagation", ICLR 2017.
    Rectifiers have chi = sigma_w^2 (1 + a^2) / 2 at every q, hence 2 / (1 + a^2) with any bias
    (which then adds sigma_b^2 to q in every layer). Without biases tanh gives 1 and erf pi/4, at
    q* = 0. GELU, SiLU and Mish have such a point only with large biases: the one that the equation
    gives for small ones repels, signals grow away from it or die. About 10 ms.

    Args:
        phi: The activation function.
        bias_variance: sigma_b^2, the variance of one bias.

    Raises:
        ValueError: If no weight variance keeps a signal and its gradient.

    Example:
        >>> from sounding.theory.activations import tanh
        >>> round(critical_variance(tanh(), 0.05), 5)
        1.76095
    """
    if phi.homogeneous:
        return 1 / slope_moment(phi, 1.0)
    if bias_variance == 0 and second_moment(phi, 0.0) < 1e-30:
        at_zero = 1 / slope_moment(phi, 0.0)
        # 1e-12: a clipped line is exactly linear for small q
        if all(at_zero * second_moment(phi, q) <= q * (1 + 1e-12) for q in (1e-4, 1e-2, 1.0)):
            return at_zero
    q = _critical_length(phi, bias_variance)
    if q is None or length_map_slope(q, phi, 1 / slope_moment(phi, q)) >= 1:
        raise ValueError(
            f"{phi.name} with bias variance {bias_variance:g} has no critical weight variance: no "
            "stable signal is kept together with its gradient; use required_gain, or a norm layer"
        )
    return 1 / slope_moment(phi, q)


def _critical_length(phi: Activation, bias_variance: float) -> float | None:
    """The smallest q > 0 at which the length map has a fixed point with chi = 1."""

    def excess(q: float) -> float:
        return second_moment(phi, q) / slope_moment(phi, q) + bias_variance - q

    grid = np.geomspace(max(bias_variance, 1e-4), 1e4, 150).tolist()
    for low, high in itertools.pairwise(grid):
        if excess(low) > 0 >= excess(high):
            return bisect(excess, low, high)
    return None
