"""Mean-field theory of random deep nets: how size, correlation and gradients change with depth.

Sources: Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli, "Exponential expressivity in deep neural
networks through transient chaos", NIPS 2016; Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, "Deep
Information Propagation", ICLR 2017. Exact for infinite width; at width n a layer's second moment
scatters by about sqrt(5 / n) (ReLU) or less around it, and depth adds these up.

Letters: L weighted layers, in order. `weight_variance` is sigma_w^2 = fan_in Var(w) (not the
variance of one weight), `bias_variance` is sigma_b^2. q is the second moment of a layer's
pre-activations over its units, c the correlation of two inputs' pre-activations (with the mean
left in: E z z' / q), chi = sigma_w^2 E phi'(sqrt(q) z)^2 the factor on small differences, and on
gradients, from one layer's pre-activations to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sounding.theory.activations import Activation, Array, identity
from sounding.theory.gaussian import (
    expectation,
    pair_spread,
    second_moment,
    slope_cross_moment,
    slope_moment,
)
from sounding.theory.root import bisect

_IDENTITY = identity()


# -- one layer ------------------------------------------------------------------------------------


def length_map(q: float, phi: Activation, weight_variance: float, bias_variance: float) -> float:
    """Next layer's q: sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2."""
    return weight_variance * second_moment(phi, q) + bias_variance


def length_map_slope(q: float, phi: Activation, weight_variance: float) -> float:
    """Derivative of `length_map` in q: chi_1 + sigma_w^2 E phi''(u) phi(u), with u = sqrt(q) z.

    Computed as sigma_w^2 E z phi(u) phi'(u) / sqrt(q), the same number by Stein's identity, so
    that no second derivative is needed. The limit at q = 0 is chi if phi(0) = 0.
    """
    if phi.homogeneous or q == 0:
        return chi(phi, q, weight_variance)
    moment = expectation(lambda u: u * phi.function(u) * phi.derivative(u), q, phi.kinks)
    return weight_variance * moment / q


def chi(phi: Activation, q: float, weight_variance: float) -> float:
    """sigma_w^2 E phi'(sqrt(q) z)^2: below 1 gradients vanish with depth, above 1 they explode."""
    return weight_variance * slope_moment(phi, q)


def correlation_map(
    c: float, phi: Activation, q: float, weight_variance: float, bias_variance: float
) -> float:
    """Next layer's correlation of two inputs with second moments q and correlation c.

    (sigma_w^2 E phi(u1) phi(u2) + sigma_b^2) / q', with q' the next layer's second moment.
    """
    return 1 - _gap_map(1 - c, phi, q, weight_variance, bias_variance)


def _gap_map(
    gap: float, phi: Activation, q: float, weight_variance: float, bias_variance: float
) -> float:
    after = length_map(q, phi, weight_variance, bias_variance)
    return weight_variance * pair_spread(phi, q, gap) / after if after > 0 else math.nan


# -- infinitely many layers -----------------------------------------------------------------------


def fixed_point(
    phi: Activation, weight_variance: float, bias_variance: float, start: float = 1.0
) -> float:
    """The q that depth leads to from q = `start`: 0 when signals die, math.inf when they explode.

    Homogeneous functions: sigma_b^2 / (1 - g) with g = sigma_w^2 (1 + a^2) / 2 < 1; at g = 1
    without bias every q is kept, and `start` comes back. For the others a walk in the map's
    direction, in steps of 25 %, brackets the next fixed point, to a relative error of 1e-12.
    0.1-5 ms.
    """
    if phi.homogeneous:
        growth = weight_variance * second_moment(phi, 1.0)
        if abs(growth - 1) < 1e-12:
            return start if bias_variance == 0 else math.inf
        return bias_variance / (1 - growth) if growth < 1 else math.inf

    def change(q: float) -> float:
        return length_map(q, phi, weight_variance, bias_variance) - q

    grows = change(start) > 0
    step = 1.25 if grows else 0.8
    q = start
    while 1e-12 < q < 1e12:
        if abs(change(q)) < 1e-13 * q:  # kept up to rounding: a clipped line, at small q
            return q
        if (change(q * step) > 0) != grows:
            return bisect(change, min(q, q * step), max(q, q * step))
        q *= step
    return math.inf if grows else 0.0


def correlation_fixed_point(
    phi: Activation, q: float, weight_variance: float, bias_variance: float
) -> float:
    """The correlation that two different inputs reach with depth, q being its own fixed point.

    1 in the ordered phase (chi <= 1: all inputs look alike in the end), less in the chaotic one.

    Raises:
        ValueError: If q is infinite or 0, where there is no correlation to speak of.
    """
    if not 0 < q < math.inf:
        raise ValueError(f"a correlation needs a signal of finite size, got q = {q}")
    after = length_map(q, phi, weight_variance, bias_variance)
    if chi(phi, q, weight_variance) * q / after <= 1 + 1e-12:
        return 1.0

    def change(gap: float) -> float:
        return _gap_map(gap, phi, q, weight_variance, bias_variance) - gap

    # odd functions without bias keep uncorrelated inputs so, up to the error of the quadrature
    if change(1.0) > -1e-8:
        return 0.0
    return 1 - bisect(change, 1e-12, 1.0)


class DepthScales(NamedTuple):
    """Numbers of layers over which a deviation changes by a factor e; math.inf: by a power law."""

    length: float  # xi_q: q approaches its fixed point
    correlation: float  # xi_c: so does the correlation; trainable depth is at most about 6 xi_c
    gradient: float  # xi_grad = 1 / |log chi|: gradients vanish or explode


def depth_scales(phi: Activation, weight_variance: float, bias_variance: float) -> DepthScales:
    """The three depth scales of a random net at its fixed point q*.

    1/xi_q = -log(chi + sigma_w^2 E phi'' phi), 1/xi_c = -log(sigma_w^2 E phi'(u1) phi'(u2)) at the
    fixed point of the correlation, 1/xi_grad = |log chi| (Schoenholz et al. 2017). "At most 6 xi_c"
    is their empirical limit of trainable depth, on MNIST. About 1 ms in the ordered phase, up to
    100 ms in the chaotic one.

    Raises:
        ValueError: If the signal explodes, unless phi is homogeneous (chi is then the same at
            every size, and the biases no longer count).
    """
    q = fixed_point(phi, weight_variance, bias_variance)
    if math.isinf(q):
        if not phi.homogeneous:
            raise ValueError(
                f"{phi.name} with weight variance {weight_variance:g} explodes, so there is no "
                "fixed point to approach; take a smaller weight variance"
            )
        q, bias_variance = 1.0, 0.0
    gradient = chi(phi, q, weight_variance)
    correlation = gradient
    if q > 0:
        c = correlation_fixed_point(phi, q, weight_variance, bias_variance)
        after = length_map(q, phi, weight_variance, bias_variance)
        correlation = weight_variance * slope_cross_moment(phi, q, q, c) * q / after
    return DepthScales(
        length=_scale(length_map_slope(q, phi, weight_variance)),
        correlation=_scale(correlation),
        gradient=_scale(gradient),
    )


def _scale(factor: float) -> float:
    if factor == 0:
        return 0.0
    rate = abs(math.log(abs(factor)))
    return 1 / rate if rate > 1e-12 else math.inf


# -- a given net ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What theory says about each weighted layer of a random net, before anything is measured."""

    second_moment: Array  # (L,) q: mean square of a pre-activation
    spread: Array  # (L,) q (1 - c): half the mean squared difference between two inputs
    correlation: Array  # (L,) c; nan where q is 0
    activation_second_moment: Array  # (L,) mean square after the layer's activation
    activation_spread: Array  # (L,) half the mean squared difference after it
    chi: Array  # (L,) sigma_w^2 of the layer times the slope moment of the activation before it
    gradient: Array  # (L,) E (dLoss/dz)^2 per component, relative to the last layer's


def predict(
    layers: Iterable[tuple[float, float, Activation | None]],
    q0: float = 1.0,
    c0: float = 0.0,
    *,
    widths: Sequence[float] | None = None,
) -> Prediction:
    """Second moments, spreads and gradients in every layer of a random feed-forward net.

    Forward: q_l = sigma_w^2 E phi(z_{l-1})^2 + sigma_b^2 and spread_l = sigma_w^2 E (phi(u1) -
    phi(u2))^2 / 2; the spread is carried by itself and not as q - q c, so it keeps its digits when
    inputs become alike. Backward, per component: E delta_l^2 = E delta_{l+1}^2 sigma_w^2_{l+1}
    (n_{l+1} / n_l) E phi'(z_l)^2, where n fan_out Var(w) / fan_in Var(w) is the ratio of widths.
    So chi_l is the one factor of layer l, forwards on small differences and backwards on
    gradients. Under 1 ms a layer; under 0.1 ms for rectifiers.

    Args:
        layers: For each weighted layer sigma_w^2 = fan_in Var(w), sigma_b^2, and the activation
            after it (None: none).
        q0: Mean square of one component of the first layer's input, as measured on the data.
        c0: Correlation of two inputs, E x x' / E x^2.
        widths: Units of each layer's output, (L,); all the same where left out. For convolutions
            the channels times the positions.

    Raises:
        ValueError: If `widths` is not one number a layer.

    Example:
        >>> from sounding.theory.activations import relu
        >>> net = [(1.0, 0.0, relu())] * 4  # Xavier before ReLU: half is lost in every layer
        >>> predict(net).second_moment
        array([1.   , 0.5  , 0.25 , 0.125])
        >>> predict(net).gradient
        array([0.125, 0.25 , 0.5  , 1.   ])
    """
    layers = tuple(layers)
    if widths is not None and len(widths) != len(layers):
        raise ValueError(f"{len(layers)} layers need as many widths, got {len(widths)}")
    rows = []
    moment, spread, slope = q0, q0 * (1 - c0), 1.0
    for weight_variance, bias_variance, phi in layers:
        q, difference = weight_variance * moment + bias_variance, weight_variance * spread
        factor = weight_variance * slope
        moment, spread, slope = _activate(phi or _IDENTITY, q, difference)
        correlation = 1 - difference / q if q > 0 else math.nan
        rows.append((q, difference, correlation, moment, spread, factor))
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 6).T
    return Prediction(
        second_moment=columns[0],
        spread=columns[1],
        correlation=columns[2],
        activation_second_moment=columns[3],
        activation_spread=columns[4],
        chi=columns[5],
        gradient=_gradients(columns[5], widths),
    )


def _activate(phi: Activation, q: float, spread: float) -> tuple[float, float, float]:
    """Second moment and spread after an activation, and its slope moment; nan if q overflowed."""
    if not math.isfinite(q):
        return math.nan, math.nan, math.nan
    gap = min(spread / q, 2.0) if q > 0 else 0.0
    return second_moment(phi, q), pair_spread(phi, q, gap), slope_moment(phi, q)


def _gradients(factors: Array, widths: Sequence[float] | None) -> Array:
    """Product of the factors of all later layers, corrected for the change of width."""
    later = np.append(factors[1:], 1.0)[: len(factors)]
    products = np.asarray(np.cumprod(later[::-1])[::-1], dtype=np.float64)
    if widths is None:
        return products
    return products * (widths[-1] / np.asarray(widths, dtype=np.float64))
